"""``prompt-bench``, or ``python -m harness``: measure, judge and explain prompt learning over releases."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from harness.errors import ExitStatus
from harness.paths import ROOT, is_checkout, reports_folder
from harness.program import PROGRAM


def main() -> None:
    """Run a command; ``here`` runs in the environment that is active now, beside torch.

    ``here`` needs nothing but the packages of a cell, and nothing of the other side may be
    imported with it: it is handed over to a program of its own.
    """
    if sys.argv[1:2] == ["here"]:
        program = Path(__file__).parent / "cell" / "here.py"
        os.environ.setdefault("PROMPT_BENCH_REPORTS", str(reports_folder()))
        os.execv(sys.executable, [sys.executable, "-P", str(program), PROGRAM, *sys.argv[2:]])  # noqa: S606
    try:
        from harness.cli import cli

        cli(prog_name=PROGRAM)
    except ModuleNotFoundError as error:
        name = (error.name or "").partition(".")[0]
        if name in {"", "harness"}:
            raise
        source = ROOT if is_checkout() else "prompt-learning-bench"
        print(f"{PROGRAM}: {name} is missing; run: {sys.executable} -m pip install {source}", file=sys.stderr)
        sys.exit(int(ExitStatus.BAD_USAGE))


if __name__ == "__main__":
    main()
