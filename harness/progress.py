"""Say where long work stands: one plain line for each step, on a terminal and in a log alike."""

from __future__ import annotations

import sys
import threading
import time
from typing import TextIO

from harness.escape import printable


class Progress:
    """Count variants to measure; print steps with what is done, elapsed and estimated."""

    def __init__(
        self, total: int, *, reused: int = 0, unit: str = "variants to measure", stream: TextIO | None = None
    ) -> None:
        """``total`` things are to be done, beside ``reused`` that are known already."""
        self._unit = unit
        self._total, self._reused, self._done = total, reused, 0
        self._stream = stream or sys.stderr
        self._begin = time.monotonic()
        self._lock = threading.Lock()

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
        if self._total:
            share = f"{done:4d}/{self._total} {100 * done // self._total:3d}%"
            left = (
                f", about {clock(elapsed / done * (self._total - done))} to go" if done and done < self._total else ""
            )
        else:
            share, left = "        ", ""
        self._print(f"[{share} {clock(elapsed)}{left}] {where}: {what}")

    def end(self, *, seconds: float, peak: int) -> None:
        """Say what it took: wall time in seconds, and the peak memory of all processes together in bytes."""
        text = f"{self._done} variants in {clock(seconds)}, at most {peak / (1 << 30):.1f} GiB of memory"
        self._print(text)

    def say(self, text: str) -> None:
        """Print a line that belongs to no cell."""
        self._print(text)

    def _print(self, text: str) -> None:
        with self._lock:
            print(printable(text), file=self._stream, flush=True)


def clock(seconds: float) -> str:
    """Write a duration as ``m:ss``."""
    whole = round(seconds)
    return f"{whole // 60}:{whole % 60:02d}"
