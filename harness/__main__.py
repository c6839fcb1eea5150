"""``prompt-bench``, or ``python -m harness``: measure, judge and explain prompt learning over releases."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from harness.paths import reports_folder
from harness.program import PROGRAM, start


def main() -> None:
    """Run a command; ``here`` runs in the environment that is active now, beside torch.

    ``here`` needs nothing but the packages of a cell, and nothing of the other side may be
    imported with it: it is handed over to a program of its own.
    """
    if sys.argv[1:2] == ["here"]:
        program = Path(__file__).parent / "cell" / "here.py"
        os.environ.setdefault("PROMPT_BENCH_REPORTS", str(reports_folder()))
        os.execv(sys.executable, [sys.executable, "-P", str(program), PROGRAM, *sys.argv[2:]])  # noqa: S606
    start(PROGRAM, "harness.cli", "cli")


if __name__ == "__main__":
    main()
