"""What a run costs is sampled from real processes, and split by time."""

from __future__ import annotations

import subprocess
import sys
import time

from hypothesis import given
from hypothesis import strategies as st

from harness.run.cost import MEBIBYTE, MemoryWatch, peaks_of


@given(st.lists(st.integers(0, 1 << 40)))
def test_the_peak_of_the_parts_is_the_peak(samples: list[int]) -> None:
    """No sample is lost, and the parts are at most ten."""
    parts = peaks_of(samples)
    assert max(parts, default=0) == max(samples, default=0)
    assert len(parts) == min(10, len(samples))


def test_memory_of_children_counts() -> None:
    """A child that holds 200 MiB for a while is seen."""
    hold = "held = bytearray(200 << 20); import time; time.sleep(2)"
    with MemoryWatch() as watch:
        child = subprocess.Popen([sys.executable, "-c", hold])
        child.wait()
        time.sleep(0.1)
    assert watch.cost.peak > 200 * MEBIBYTE
    assert watch.cost.seconds >= 2
