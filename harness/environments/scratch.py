"""Folders for what a process needs for a moment, in the cache; those of processes that were killed are removed.

Each folder has a file beside it that its process holds locked. A lock ends with its process, however that ends, so
what nobody holds is left over. The process id in the name is for people.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from filelock import FileLock

from harness.paths import cache_folder

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def scratch_folder(purpose: str) -> Iterator[Path]:
    """Make an empty folder that is removed at the end; first remove what killed processes have left."""
    remove_left_over()
    folder = _place() / f"{purpose}-{os.getpid()}-{secrets.token_hex(4)}"
    mark = folder.with_suffix(".held")
    with ExitStack() as stack:
        with _changing():
            held = stack.enter_context(mark.open("w"))
            fcntl.flock(held, fcntl.LOCK_EX)
            folder.mkdir()
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            mark.unlink(missing_ok=True)


def remove_left_over() -> list[str]:
    """Remove the folders whose processes are gone; return their names."""
    gone = []
    with _changing():
        for mark in sorted(_place().glob("*.held")):
            try:
                with mark.open("r+") as held:
                    fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(mark.with_suffix(""), ignore_errors=True)
                    mark.unlink(missing_ok=True)
                    gone.append(mark.stem)
            except (BlockingIOError, FileNotFoundError):
                continue
    return gone


def _place() -> Path:
    place = cache_folder() / "scratch"
    place.mkdir(parents=True, exist_ok=True)
    return place


def _changing() -> FileLock:
    """Return the lock under which folders are made and removed, so that none is removed while it is made."""
    return FileLock(_place() / "lock")
