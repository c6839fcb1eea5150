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
    """A child that holds 200 MiB until the watch ends is seen, however short the watch is."""
    hold = "held = bytearray(200 << 20); print(len(held), flush=True); input()"
    begin = time.monotonic()
    with subprocess.Popen([sys.executable, "-c", hold], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        with MemoryWatch() as watch:
            assert child.stdout.readline().strip() == b"209715200"
        child.communicate(b"\n")
    assert watch.cost.peak > 200 * MEBIBYTE
    assert 0 < watch.cost.seconds <= time.monotonic() - begin
