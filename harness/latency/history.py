"""Latency over nights (pure): where a series on one machine looks slower since some night.

Looks, no more: what is found here is measured again, interleaved against the older cell, before anybody is told. So the
rule may be wrong at times, and should miss little. It is Pettitt's change point (A non-parametric approach to the
change-point problem, Applied Statistics 28, 1979), and for the newest night, which no change point can find alone,
a value above all before it; both by more than the effect floor.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from math import exp
from statistics import median
from typing import TYPE_CHECKING, Any

from harness.latency.ratio import arms_of, own_times
from harness.latency.statistics import FLOOR

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from harness.contracts.record import VariantRecord

FEWEST_NIGHTS = 4
LIKELY = 0.2
"""The p-value of the change point below which a series is looked at again."""

_FINGERPRINT = ("cpu", "cores", "gpu", "platform")


@dataclass(frozen=True, kw_only=True)
class Suspect:
    """A series that looks slower: the last record before, the newest one, and by which factor."""

    before: VariantRecord
    now: VariantRecord
    factor: float


def suspects(records: Iterable[VariantRecord], *, arm: str = "cached", floor: float = FLOOR) -> list[Suspect]:
    """Look through every series of records: one cell's place in its matrix, one variant, one kind of machine."""
    series: dict[tuple[Any, ...], list[VariantRecord]] = defaultdict(list)
    for record in records:
        if arms_of(record).get(arm):
            series[_series_of(record)].append(record)
    found = []
    for mine in series.values():
        nights = sorted(mine, key=lambda one: str(one.time))
        values = [median(own_times(one.latency[arm])) for one in nights]
        change = slower_since(values, floor=floor)
        if change is not None:
            factor = median(values[change:]) / median(values[:change])
            found.append(Suspect(before=nights[change - 1], now=nights[-1], factor=factor))
    return found


def slower_since(values: Sequence[float], *, floor: float = FLOOR) -> int | None:
    """Return the index from which on a series looks slower by more than the floor; None where it does not."""
    if len(values) < FEWEST_NIGHTS:
        return None
    change, p = pettitt(values)
    if p < LIKELY and median(values[change:]) > (1 + floor) * median(values[:change]):
        return change
    return len(values) - 1 if values[-1] > (1 + floor) * max(values[:-1]) else None


def pettitt(values: Sequence[float]) -> tuple[int, float]:
    """Return the index of the first value after the likeliest change, and Pettitt's approximate p-value."""
    from scipy.stats import rankdata

    ranks = [float(one) for one in rankdata(values)]
    count = len(ranks)
    sums = [2 * sum(ranks[:index]) - index * (count + 1) for index in range(1, count)]
    largest = max(range(len(sums)), key=lambda index: abs(sums[index]))
    p = min(1.0, 2 * exp(-6 * sums[largest] ** 2 / (count**3 + count**2)))
    return largest + 1, p


def _series_of(record: VariantRecord) -> tuple[Any, ...]:
    variant = tuple(sorted(record.variant.items()))
    machine = tuple(str(getattr(record.machine, name)) for name in _FINGERPRINT)
    return (record.cell.matrix, record.cell.id, record.case, variant, machine)
