"""Where the project's files are, and the one check of a name that becomes part of a path."""

from __future__ import annotations

import os
import re
import threading
from pathlib import Path

from harness.errors import UsageError

ROOT = Path(__file__).resolve().parent.parent
"""The checkout, or the folder of an installation: ``cases/``, ``matrices/`` and ``reports/reference/`` lie in it."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]*")
_LONGEST_NAME = 150
"""Characters; a file system allows 255 bytes, and suffixes are added."""


def is_checkout() -> bool:
    """Return whether this is a checkout of the project, and not a copy that was installed."""
    return (ROOT / "pyproject.toml").is_file()


def reports_folder() -> Path:
    """Return the folder for runs and reports, absolute: workers have another working folder.

    It is ``PROMPT_BENCH_REPORTS``, else ``reports/`` in the checkout or, where the project is installed, in the folder
    that is current.
    """
    named = os.environ.get("PROMPT_BENCH_REPORTS")
    return Path(named).absolute() if named else (ROOT if is_checkout() else Path.cwd()) / "reports"


def cache_folder() -> Path:
    """Return the cache folder: ``PROMPT_BENCH_CACHE``, or the platform's own place for caches."""
    # Imported here: `here` runs where this package is not installed.
    from platformdirs import user_cache_path

    named = os.environ.get("PROMPT_BENCH_CACHE")
    return Path(named) if named else user_cache_path("prompt-learning-bench")


def write_whole(path: Path, data: str | bytes) -> None:
    """Write a file whole or not at all: who reads it meanwhile, or after a kill, has the one before.

    Its folder is made where it is missing. Each thread has a partial file of its own; the last one that ends wins.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(f".{os.getpid()}-{threading.get_ident()}")
    partial.write_bytes(data.encode() if isinstance(data, str) else data)
    partial.replace(path)


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
