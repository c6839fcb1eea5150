"""``python -m harness``: measure, report and judge prompt learning over releases."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def main() -> None:
    """Run a command; ``here`` runs in the environment that is active now, beside torch.

    ``here`` needs nothing but the packages of a cell, and nothing of the other side may be
    imported with it: it is handed over to a program of its own.
    """
    if sys.argv[1:2] == ["here"]:
        program = Path(__file__).parent / "cell" / "here.py"
        os.execv(sys.executable, [sys.executable, "-P", str(program), *sys.argv[2:]])  # noqa: S606
    from harness.cli import cli

    cli(prog_name="python -m harness")


if __name__ == "__main__":
    main()
