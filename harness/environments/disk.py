"""What environments take on disk, and which to give up when they take too much.

Packages are hard links into uv's own cache and cost nothing twice; what an environment adds is
its byte code. Both are told apart by the number of links.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.environments.build import is_complete, marker_of, use_of
from harness.errors import UsageError
from harness.paths import cache_folder, write_whole

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from harness.progress import Progress

KINDS = ("bases", "overlays", "layers", "tools")
DEFAULT_BUDGET_GIB = 20.0
_BLOCK = 512


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One built folder. ``own`` and ``linked`` are bytes; ``used`` is a time in seconds since 1970."""

    folder: Path
    own: int
    linked: int
    used: float
    complete: bool

    @property
    def kind(self) -> str:
        """Return whether it is a base, an overlay, a layer or the tools."""
        return self.folder.parent.name


def entries(*, measure: bool = True) -> list[Entry]:
    """List every folder of the cache, the one longest unused first.

    Sizes are measured, which walks through all files, or with ``measure=False`` taken from the
    folder's marker where they were measured before.
    """
    folders = [folder for kind in KINDS for folder in sorted((cache_folder() / kind).glob("*/"))]
    known = (_entry(folder, measure=measure) for folder in folders)
    return sorted((one for one in known if one is not None), key=lambda one: one.used)


def _entry(folder: Path, *, measure: bool) -> Entry | None:
    """Look at one folder; None when another process removes it, or builds it anew, at this very moment."""
    try:
        return _looked_at(folder, measure=measure)
    except FileNotFoundError:
        return None


def _looked_at(folder: Path, *, measure: bool) -> Entry:
    marker = marker_of(folder)
    if not is_complete(folder):
        own, linked = size_of(folder)
        return Entry(folder=folder, own=own, linked=linked, used=folder.stat().st_mtime, complete=False)
    used = marker.stat().st_mtime
    facts = json.loads(marker.read_text(encoding="utf-8"))
    if measure or "own" not in facts:
        facts["own"], facts["linked"] = size_of(folder)
        # Other processes read it at any moment.
        write_whole(marker, json.dumps(facts))
        # To look is not to use.
        os.utime(marker, (used, used))
    return Entry(folder=folder, own=facts["own"], linked=facts["linked"], used=used, complete=True)


def size_of(folder: Path) -> tuple[int, int]:
    """Return the bytes on disk that a folder alone holds, and those that it shares by hard links.

    What goes while it is looked at, because another process builds or removes the folder, takes no room.
    """
    own = linked = 0
    waiting = [str(folder)]
    while waiting:
        with contextlib.suppress(FileNotFoundError), os.scandir(waiting.pop()) as listed:
            for one in listed:
                if one.is_dir(follow_symlinks=False):
                    waiting.append(one.path)
                    continue
                with contextlib.suppress(FileNotFoundError):
                    facts = one.stat(follow_symlinks=False)
                    if facts.st_nlink > 1:
                        linked += facts.st_blocks * _BLOCK
                    else:
                        own += facts.st_blocks * _BLOCK
    return own, linked


def to_give_up(known: Sequence[Entry], budget: int) -> list[Entry]:
    """Choose what to remove so that the rest holds at most ``budget`` bytes of its own.

    Half-built folders go first, then the longest unused; no more than needed.
    """
    left = sum(one.own for one in known)
    chosen = []
    for one in sorted(known, key=lambda one: (one.complete, one.used)):
        if one.complete and left <= budget:
            break
        chosen.append(one)
        left -= one.own
    return chosen


def remove(chosen: Sequence[Entry]) -> list[Entry]:
    """Remove folders, but none that a process is using; give those that are gone."""
    gone = []
    for one in chosen:
        with _alone(one.folder) as alone:
            if alone:
                # The marker first: what a kill leaves behind counts as half-built.
                marker_of(one.folder).unlink(missing_ok=True)
                shutil.rmtree(one.folder, ignore_errors=True)
                gone.append(one)
    return gone


def budget_bytes() -> int:
    """Return the size budget: ``PROMPT_BENCH_CACHE_GB``, in GiB of the environments' own files."""
    text = os.environ.get("PROMPT_BENCH_CACHE_GB", str(DEFAULT_BUDGET_GIB))
    try:
        return int(float(text) * (1 << 30))
    except ValueError:
        message = f"PROMPT_BENCH_CACHE_GB={text!r} is no number of GiB, such as 20"
        raise UsageError(message) from None


def keep_within_budget(progress: Progress) -> None:
    """After a run, remove what was longest unused when the cache is over its budget; say so."""
    gone = remove(to_give_up(entries(measure=False), budget_bytes()))
    if gone:
        freed = sum(one.own for one in gone) / (1 << 30)
        progress.say(
            f"removed {len(gone)} environments longest unused, {freed:.1f} GiB; PROMPT_BENCH_CACHE_GB is the budget"
        )


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[bool]:
    """Hold a folder alone; False when another process uses it or is building it."""
    with use_of(folder).open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True
