"""``prompt-bench``, or ``python -m harness``: measure, judge and explain prompt learning over releases."""

from __future__ import annotations

import sys

from harness.program import PROGRAM, start


def main() -> None:
    """Run a command. ``here`` needs nothing but the packages of a cell: no other command is imported with it."""
    if sys.argv[1:2] == ["here"]:
        from harness.here import main as here

        raise SystemExit(here(sys.argv[2:]))
    start(PROGRAM, "harness.cli", "cli")


if __name__ == "__main__":
    main()
