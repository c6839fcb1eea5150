"""The program: its name as it was called, how it starts, and the examples in its help."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path

from harness.errors import ExitStatus
from harness.paths import ROOT, is_checkout

CONSOLE_SCRIPT = "prompt-bench"

PROGRAM = CONSOLE_SCRIPT if Path(sys.argv[0]).stem == CONSOLE_SCRIPT else "python -m harness"
"""``prompt-bench`` where it is installed and was typed, else what runs in a checkout without installation.

Whatever a message tells a person to type begins with it.
"""


def start(program: str, module: str, group: str) -> None:
    """Run a group of commands, ``module.group``; where a package is missing, say in one line what to run."""
    try:
        getattr(import_module(module), group)(prog_name=program)
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package in {"", "harness"}:
            raise
        source = ROOT if is_checkout() else "prompt-learning-bench"
        print(f"{program}: {package} is not installed; run: {sys.executable} -m pip install {source}", file=sys.stderr)
        sys.exit(int(ExitStatus.BAD_USAGE))


def example(*commands: str) -> str:
    """Return the epilog of a command's help: lines to copy, each the words after the program's name."""
    heading = "Example:" if len(commands) == 1 else "Examples:"
    # click wraps no paragraph that begins with this sign.
    return "\n".join(["\b", heading, *(f"  {PROGRAM} {one}" for one in commands)])
