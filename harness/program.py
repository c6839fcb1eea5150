"""The name of the program, as it was called: what messages tell a person to type."""

from __future__ import annotations

import sys
from pathlib import Path

CONSOLE_SCRIPT = "prompt-bench"

PROGRAM = CONSOLE_SCRIPT if Path(sys.argv[0]).stem == CONSOLE_SCRIPT else "python -m harness"
"""``prompt-bench`` where it is installed and was typed, else what runs in a checkout without installation."""


def example(*commands: str) -> str:
    """Return the epilog of a command's help: lines to copy, each the words after the program's name."""
    heading = "Example:" if len(commands) == 1 else "Examples:"
    # click wraps no paragraph that begins with this sign.
    return "\n".join(["\b", heading, *(f"  {PROGRAM} {one}" for one in commands)])
