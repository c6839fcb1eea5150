"""What a run costs: its wall time, and the memory of all its processes together."""

from __future__ import annotations

import json
import os
import threading
import time
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import psutil

INTERVAL_S = 0.5
PARTS = 10
_SHARE = 50
MEBIBYTE = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Cost:
    """``seconds`` of wall time; ``peaks`` are the peak bytes of each tenth of the run, in order."""

    seconds: float
    peaks: tuple[int, ...]

    @property
    def peak(self) -> int:
        """Return the peak over the whole run, in bytes."""
        return max(self.peaks, default=0)

    def write(self, path: Path) -> None:
        """Keep the cost beside the records: seconds and mebibytes."""
        peaks = [round(one / MEBIBYTE) for one in self.peaks]
        text = json.dumps({"seconds": round(self.seconds, 1), "peak_mib": max(peaks, default=0), "tenths_mib": peaks})
        path.write_text(text + "\n", encoding="utf-8")


class MemoryWatch:
    """Sample the memory of this process and all below it, twice a second at most, until the block ends.

    The kernel walks through all pages of a process to sum up what it shares, which takes a tenth of a second where many
    run beside each other: no more than a fiftieth of a core goes into it.

    Counted is the proportional set size: pages that forked workers share count once. Where the
    kernel does not give it (anywhere but Linux) it is the resident size, which counts them again.
    """

    def __enter__(self) -> Self:
        """Begin to sample."""
        self._begin = time.monotonic()
        self._samples: list[int] = []
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Sample a last time and stop."""
        self._ended.set()
        self._thread.join()
        self.cost = Cost(seconds=time.monotonic() - self._begin, peaks=peaks_of(self._samples))

    def _watch(self) -> None:
        import psutil

        this = psutil.Process(os.getpid())
        ended, took = False, 0.0
        while not ended:
            # The end of the block wakes it, and is sampled as well.
            ended = self._ended.wait(max(INTERVAL_S, _SHARE * took) if self._samples else 0)
            begin = time.thread_time()
            self._samples.append(sum(_bytes(one) for one in [this, *this.children(recursive=True)]))
            took = time.thread_time() - begin


def peaks_of(samples: Sequence[int]) -> tuple[int, ...]:
    """Return the highest sample of each tenth of a series; a short series has fewer parts."""
    parts = min(PARTS, len(samples))
    bounds = [index * len(samples) // parts for index in range(parts)] + [len(samples)] if parts else []
    return tuple(max(samples[start:end]) for start, end in pairwise(bounds))


def free_memory_jobs() -> int:
    """Return how many workers fit: one a core, and 2 GiB each (an import needs about half a GiB)."""
    import psutil

    return max(1, min(os.cpu_count() or 1, psutil.virtual_memory().available // (2 << 30)))


def _bytes(process: psutil.Process) -> int:
    import psutil

    try:
        full = process.memory_full_info()
    except psutil.Error:
        # It ended between being listed and being asked.
        return 0
    return int(getattr(full, "pss", 0) or full.rss)
