"""Where the project's files are, and the one check of a name that becomes part of a path."""

from __future__ import annotations

import os
import re
from pathlib import Path

from harness.errors import UsageError

ROOT = Path(__file__).resolve().parent.parent
"""The checkout (or, installed, the folder of the packages): ``cases/``, ``matrices/`` and ``reports/`` lie in it."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]*")
_LONGEST_NAME = 150
"""Characters; a file system allows 255 bytes, and suffixes are added."""


def reports_folder() -> Path:
    """Return the folder for runs and reports: ``PROMPT_BENCH_REPORTS``, or ``reports/`` in the checkout."""
    named = os.environ.get("PROMPT_BENCH_REPORTS")
    return Path(named) if named else ROOT / "reports"


def file_name(name: str, what: str) -> str:
    """Return ``name`` if it is safe as one part of a path, on every system.

    ``what`` says what is named ("run id"). Raises :class:`UsageError` for anything that could lead
    out of its folder or name the folder itself: an empty name, ``.``, ``..``, a separator, a blank.
    """
    if not _NAME.fullmatch(name) or len(name) > _LONGEST_NAME:
        message = (
            f"{what} {name[:60]!r} cannot be part of a path; use letters, digits and . _ @ + -, "
            f"beginning with a letter or a digit, such as nightly-20261124 (at most {_LONGEST_NAME} characters)"
        )
        raise UsageError(message)
    return name
