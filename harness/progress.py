"""Say where long work stands: each step on a terminal; in a log a line for every few hundredths of the work."""

from __future__ import annotations

import re
import sys
import textwrap
import threading
import time
from typing import TYPE_CHECKING, TextIO

from harness.escape import printable

if TYPE_CHECKING:
    from collections.abc import Callable

WIDTH = 100
LOG_LINES = 20
"""Lines of progress in a log, about, however long the work is; what went amiss comes besides."""


class Progress:
    """Count variants to measure; print steps with what is done, elapsed and estimated."""

    def __init__(
        self,
        total: int,
        *,
        reused: int = 0,
        unit: str = "variants to measure",
        stream: TextIO | None = None,
        elsewhere: Callable[[], int] | None = None,
        whole: int = 0,
    ) -> None:
        """``total`` things are to be done, beside ``reused`` that are known already.

        Where this is a part of a run of ``whole`` things, ``elsewhere`` counts all that the run has done.
        """
        self._unit = unit
        self._total, self._reused, self._done = total, reused, 0
        self._stream = stream or sys.stderr
        self._begin = time.monotonic()
        self._lock = threading.Lock()
        self._elsewhere, self._whole = elsewhere, whole
        self._at_begin = elsewhere() if elsewhere else 0
        self._told = -1

    def start(self) -> None:
        """Say what is to come."""
        kept = f", {self._reused} known from earlier runs" if self._reused else ""
        self._print(f"{self._total} {self._unit}{kept}")

    def advance(self) -> None:
        """Count one variant; a step prints the count."""
        with self._lock:
            self._done += 1

    def step(self, where: str, what: str) -> None:
        """Print one line: the share done, the time, the cell and its step."""
        elapsed = time.monotonic() - self._begin
        with self._lock:
            done = self._done
        share = f"{done:4d}/{self._total} {100 * done // self._total:3d}%" if self._total else "        "
        text = f"[{share} {clock(elapsed)}{self._to_go(done, elapsed)}] "
        self._print("\n".join(fitted(text, where, what)))

    def passing(self, where: str, what: str) -> None:
        """Print a step that a terminal shows as it happens, and a log does without."""
        if self._stream.isatty():
            self.step(where, what)

    def milestone(self, where: str, what: str) -> None:
        """Print a step that ends something; a log has one for each twentieth of the work."""
        with self._lock:
            reached = LOG_LINES * self._done // self._total if self._total else 0
            new, self._told = reached > self._told, max(reached, self._told)
        if new or self._stream.isatty():
            self.step(where, what)

    def end(self, *, seconds: float, peak: int) -> None:
        """Say what it took: wall time in seconds, and the peak memory of all processes together in bytes."""
        text = f"{self._done} variants in {clock(seconds)}, at most {peak / (1 << 30):.1f} GiB of memory"
        self._print(text)

    def say(self, text: str) -> None:
        """Print a line that belongs to no cell."""
        self._print(text)

    def _to_go(self, done: int, elapsed: float) -> str:
        """Return the estimate; for a part of a run, the share that the whole run has done and its estimate."""
        if self._elsewhere is None:
            return estimate(done, self._total, elapsed)
        everywhere = self._elsewhere()
        share = 100 * min(everywhere, self._whole) // self._whole if self._whole else 100
        left = self._whole - everywhere
        new = everywhere - self._at_begin
        return f"; run {share}%{estimate(new, new + max(left, 0), elapsed)}"

    def _print(self, text: str) -> None:
        with self._lock:
            print(printable(text), file=self._stream, flush=True)


def estimate(done: int, total: int, elapsed: float) -> str:
    """Return how long the rest takes at the speed so far, "" where nothing is done or left; seconds."""
    return f", about {clock(elapsed / done * (total - done))} to go" if 0 < done < total else ""


def fitted(head: str, where: str, what: str) -> list[str]:
    """Break a step into lines of at most 100 columns, the cell's id without what cells mostly share if need be."""
    shorter = re.sub(r"-py3\.\d+(?=@|$)", "", where)
    for name in (where, shorter, re.sub(r"-torch[\w.+]+(?=@|-|$)", "", shorter)):
        line = f"{head}{name}: {what}"
        if len(line) <= WIDTH and "\n" not in line:
            return [line]
    return textwrap.wrap(line, WIDTH, subsequent_indent="    ", break_on_hyphens=False)


def clock(seconds: float) -> str:
    """Write a duration as ``m:ss``."""
    whole = round(seconds)
    return f"{whole // 60}:{whole % 60:02d}"
