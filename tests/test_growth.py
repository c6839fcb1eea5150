"""Growth: exponents of known curves, and the plot of them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.latency.growth import curves_of, exponent, time_exponent
from harness.report.plot import Scale, nice_ticks, plot
from tests.planted import record

if TYPE_CHECKING:
    from harness.contracts.record import VariantRecord

PASSED = record({"peft": "0.13.0"}, "passed")
LENGTHS = (8, 16, 32, 64, 128, 256, 512)


def growth_facts(prompt: int = 9) -> dict[str, Any]:
    """Make counters and latency as the growth case writes them, for a time of a millisecond a token."""
    counted, timed = [], []
    for length in LENGTHS:
        for arm in ("cached", "uncached"):
            fed = prompt + length - 1 if arm == "cached" else length * prompt + length * (length - 1) // 2
            about = {"axis": "new_tokens", "arm": arm, "new_tokens": length, "virtual_tokens": 4}
            counted.append({**about, "forward_calls": length, "tokens_fed": fed})
            timed.append({**about, "samples_s": [0.001 * fed, 0.0011 * fed], "waited_s": [0.0, 0.0001 * fed]})
    return {"counters": {"growth": counted}, "latency": {"growth": timed}}


def growth_record() -> VariantRecord:
    """Make a record of the growth case."""
    return replace(PASSED, **growth_facts())


@given(st.floats(0.1, 3.0), st.floats(1e-3, 1e3))
@settings(max_examples=30, deadline=None)
def test_a_power_law_gives_its_exponent(power: float, factor: float) -> None:
    """Exactly, whatever the factor."""
    points = [(float(x), factor * x**power) for x in LENGTHS]
    assert exponent(points) == pytest.approx(power)
    slope, low, high = time_exponent([(int(x), [y, y]) for x, y in points]) or (0.0, 0.0, 0.0)
    assert slope == pytest.approx(power, abs=1e-3)
    assert low <= slope <= high


def test_cached_is_linear_and_uncached_a_square() -> None:
    """Over the last doubling the exponents are near 1 and 2; the times have what was waited taken off."""
    cached, uncached = curves_of(growth_record())
    assert (cached.arm, uncached.arm) == ("cached", "uncached")
    assert cached.tail == pytest.approx(1.0, abs=0.05)
    assert uncached.tail == pytest.approx(2.0, abs=0.1)
    assert cached.times_s[0][1] == pytest.approx((0.016, 0.016))
    assert uncached.time is not None
    assert uncached.time[0] > 1.5


def test_other_records_have_no_curves() -> None:
    """Nothing counted, or too few lengths: nothing is fitted."""
    assert curves_of(PASSED) == []
    few = growth_record()
    few = replace(few, counters={"growth": few.counters["growth"][:4]})
    assert curves_of(few) == []
    assert time_exponent([(8, [0.1])]) is None


@given(st.floats(1e-3, 1e6), st.floats(1.01, 1e6))
@settings(max_examples=30, deadline=None)
def test_ticks_are_round_few_and_inside(low: float, factor: float) -> None:
    """Never more than a reader takes in, unless the powers of ten alone are more."""
    ticks = nice_ticks(low, low * factor)
    assert ticks == sorted(ticks)
    assert len(ticks) <= 13
    assert all(low * 0.999 <= one <= low * factor * 1.001 for one in ticks)


@given(st.lists(st.tuples(st.floats(1, 1e3), st.floats(1, 1e6)), min_size=1, max_size=8))
@settings(max_examples=30, deadline=None)
def test_points_are_drawn_inside(points: list[tuple[float, float]]) -> None:
    """Every point and bar lies within the frame, and a larger value further up."""
    drawn = plot("t", ("x", "y"), [("a", "cached", [(x, y, y / 1.1, y * 1.1) for x, y in points])])
    for x, y in drawn.lines[0].points:
        assert drawn.left - 1 <= x <= drawn.right + 1
        assert drawn.top - 1 <= y <= drawn.bottom + 1
    scale = Scale(low=1, high=10, start=100, end=0)
    assert scale.at(2) > scale.at(5)
