"""Run scripts in the environment of a cell, and say what each of them showed."""

from __future__ import annotations

import json
import os
import re
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.environments.index import clean_environment
from harness.paths import ROOT

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from harness.environments.build import Environment

DRIVER = """
import json, os, runpy, sys, traceback
overlays, behind, scripts = (one.split(os.pathsep) for one in sys.argv[1:4])
sys.path[:0] = overlays
sys.path += [*behind, sys.argv[4]]
import torch, transformers
torch.set_num_threads(1)
try:
    import peft, transformers.generation.utils, transformers.models.llama.modeling_llama
except Exception:
    pass  # the scripts will say so themselves
from harness.kit.outcomes import classify, message
for script in scripts:
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        for stream, name in ((1, "out"), (2, "err")):
            os.dup2(os.open(f"{script}.{name}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC), stream)
        sys.argv = [script]
        status = 99
        try:
            status = 0
            runpy.run_path(script, run_name="__main__")
        except SystemExit as end:
            status = end.code
        except Exception as error:
            traceback.print_exc()
            status = 1
            outcome, signed = ("wrong", None) if isinstance(error, AssertionError) else classify(error)
            with open(f"{script}.raised", "w", encoding="utf-8") as told:
                json.dump({"outcome": outcome, "signature": signed, "words": message(error)}, told)
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status if isinstance(status, int) else 1)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""
"""Imports the libraries once; each script then runs as a program of its own, in a fork."""

_QUIET = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error", "TOKENIZERS_PARALLELISM": "false"}


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What a script showed: an outcome, the signature of an error, its words, and the exit status."""

    outcome: str
    signature: str | None
    words: str
    status: int


def run_scripts(paths: Sequence[Path], environment: Environment) -> list[int]:
    """Run scripts in an environment, one after the other; give their exit statuses.

    What each one prints is kept beside it, as ``NAME.py.out`` and ``NAME.py.err``, and what it raises as
    ``NAME.py.raised``.
    """
    lists = [os.pathsep.join(map(str, one)) for one in (environment.overlays, environment.behind, paths)]
    done = subprocess.run(  # noqa: S603 - the interpreter of an environment that we built
        [str(environment.python), "-P", "-c", DRIVER, *lists, str(ROOT)],
        stdout=subprocess.PIPE,
        text=True,
        env={**clean_environment(os.environ), **_QUIET},
        cwd=paths[0].parent,
        check=True,
    )
    return [int(status) for status in re.findall(r"^-?\d+$", done.stdout, re.MULTILINE)]


def seen_of_whole(path: Path, status: int) -> Seen:
    """Return what a script showed that names its outcome itself, by its output."""
    outcome, signature, words = read_verdict(path.with_suffix(".py.out").read_text(encoding="utf-8"))
    return Seen(outcome=outcome, signature=signature, words=words, status=status)


def seen_of_short(path: Path, status: int) -> Seen:
    """Return what a short script showed: it says nothing of outcomes, and ends in what the libraries raise."""
    raised = path.with_suffix(".py.raised")
    if status == 0:
        return Seen(outcome="passed", signature=None, words="", status=0)
    if not raised.is_file():
        return Seen(outcome="crashed", signature=None, words=f"exit status {status}", status=status)
    return Seen(**json.loads(raised.read_text(encoding="utf-8")), status=status)


def read_verdict(output: str) -> tuple[str, str | None, str]:
    """Read outcome, signature and words out of what a script printed; ``nothing`` when it did not come to an end."""
    seen = re.search(r"^seen: ([\w-]+): (.*)$", output, re.MULTILINE)
    signature = re.search(r"^signature: (.*)$", output, re.MULTILINE)
    return (seen[1] if seen else "nothing", signature[1] if signature else None, seen[2] if seen else "")
