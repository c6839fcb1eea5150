"""The end of every script, as text: where a check writes, and the verdict.

It is read like a module of its own and joined to the case; the names in capitals are filled in.
"""

from __future__ import annotations

ENDING = '''
import atexit
import importlib.metadata
import shutil
import tempfile
import traceback
import warnings
from pathlib import Path

import torch

from harness.cell.outcomes import classify, message

SCRATCH = Path(tempfile.mkdtemp(prefix="repro-"))
EVIDENCE = {}
COUNTERS = {}
LATENCY = {}


def main():
    """Print what is expected and what is seen; 1: the defect is there, 0: it is not, 2: no telling."""
    atexit.register(shutil.rmtree, SCRATCH, ignore_errors=True)
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    print(*(f"{name} {importlib.metadata.version(name)}" for name in SHOWN), sep=", ")
    print(f"expected: {EXPECTED}")
    outcome, signed, words = "passed", None, "as expected"
    try:
        check()
    except Exception as error:
        outcome, signed = classify(error)
        words = message(error)
        if signed:
            traceback.print_exc()
    for name, value in EVIDENCE.items():
        print(f"  {name}: {value}")
    print(f"seen: {outcome}: {words}")
    if signed:
        print(f"signature: {signed}")
    return {"passed": 0, "wrong": 1, "error": 1}.get(outcome, 2)
'''

UNPACK = '''

# The weights of the tiny model, {size:,} bytes of safetensors: lzma, then base64.
WEIGHTS = """
{text}
"""
(SCRATCH / "{name}").write_bytes(lzma.decompress(base64.b64decode(WEIGHTS)))
'''

LAST = """

if __name__ == "__main__":
    raise SystemExit(main())
"""
