"""How cost grows with length (pure): exponents, exact from counters and with an interval from times."""

from __future__ import annotations

from dataclasses import dataclass
from math import log
from typing import TYPE_CHECKING, Any

from harness.latency.ratio import own_times
from harness.latency.statistics import CONFIDENCE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from harness.contracts.record import VariantRecord

AXES = ("new_tokens", "virtual_tokens")
ARMS = ("cached", "uncached")
_FEWEST = 3
"""Lengths below which nothing is fitted."""


@dataclass(frozen=True, kw_only=True)
class Curve:
    """One arm along one axis.

    ``tokens`` are (length, tokens fed); ``times_s`` (length, own times in seconds), empty where nothing was timed.
    ``fitted`` is the least-squares slope of log tokens over log length, ``tail`` the same over the last two lengths;
    ``time`` the Theil-Sen slope of log time with its 95 % interval (Theil 1950, Sen 1968).
    """

    axis: str
    arm: str
    tokens: tuple[tuple[int, int], ...]
    times_s: tuple[tuple[int, tuple[float, ...]], ...]
    fitted: float
    tail: float
    time: tuple[float, float, float] | None


def curves_of(record: VariantRecord) -> list[Curve]:
    """Return the curves of a record of growth; none for other records, or when lengths are missing."""
    points = record.counters.get("growth") or []
    timed = record.latency.get("growth") or []
    curves = []
    for axis in AXES:
        for arm in ARMS:
            tokens = tuple((one[axis], one["tokens_fed"]) for one in _along(points, axis, arm))
            times = tuple((one[axis], tuple(own_times(one))) for one in _along(timed, axis, arm) if "samples_s" in one)
            # One length measured twice has no slope.
            if len({length for length, _ in tokens}) == len(tokens) >= _FEWEST:
                curves.append(
                    Curve(
                        axis=axis,
                        arm=arm,
                        tokens=tokens,
                        times_s=times,
                        fitted=exponent(tokens),
                        tail=exponent(tokens[-2:]),
                        time=time_exponent(times),
                    )
                )
    return curves


def exponent(points: Sequence[tuple[float, float]]) -> float:
    """Return the least-squares slope of log y over log x; exact for a power law. Needs two different x."""
    logs = [(log(x), log(y)) for x, y in points]
    middle_x, middle_y = (sum(one[side] for one in logs) / len(logs) for side in (0, 1))
    across = sum((x - middle_x) ** 2 for x, _ in logs)
    return sum((x - middle_x) * (y - middle_y) for x, y in logs) / across


def time_exponent(times: Sequence[tuple[int, Sequence[float]]]) -> tuple[float, float, float] | None:
    """Return the slope of log time over log length with its interval; None below three lengths."""
    from scipy.stats import theilslopes

    if len(times) < _FEWEST:
        return None
    logs = [(log(length), log(seconds)) for length, samples in times for seconds in samples]
    slopes = theilslopes([y for _, y in logs], [x for x, _ in logs], alpha=CONFIDENCE)
    # Adding 0 turns -0.0 into 0.0, once it is rounded as far as anyone reads it.
    middle, low, high = (round(float(one), 4) + 0.0 for one in (slopes.slope, slopes.low_slope, slopes.high_slope))
    return middle, low, high


def _along(points: Sequence[Mapping[str, Any]], axis: str, arm: str) -> list[Mapping[str, Any]]:
    mine = [one for one in points if one["axis"] == axis and one["arm"] == arm]
    return sorted(mine, key=lambda one: int(one[axis]))
