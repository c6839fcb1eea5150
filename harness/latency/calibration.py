"""What the verdicts of ``compare`` are worth (pure): false alarms, and the smallest slowdown that is found.

The data are comparisons of a cell with itself, in families as ``compare`` would correct them. Each has a second
series in which one side was really slowed by a planted share of each call.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from harness.latency.statistics import Difference, compare, correct
from harness.latency.verdicts import asv_calls, pytest_benchmark_calls

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    Samples = Sequence[float]
    Pairs = Sequence[tuple[Samples, Samples]]

POWER = 0.95
SHARES = tuple(round(0.01 * percent, 2) for percent in range(1, 26))
"""Slowdowns that are tried for the curve of power: 1 % to 25 %."""


@dataclass(frozen=True, kw_only=True)
class Series:
    """Paired samples of two sides in seconds: wall times, and own times (less what the machine gave to others)."""

    first: tuple[float, ...]
    second: tuple[float, ...]
    first_wall: tuple[float, ...]
    second_wall: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Subject:
    """One variant of a cell against itself: as it is, and with the planted slowdown of the second side.

    ``seconds`` is the timing that each of both took, ``load`` the machine's load average of the last minute then.
    """

    cell: str
    family: int
    variant: str
    seconds: float
    same: Series
    planted: Series
    load: float = 0.0

    def as_data(self) -> dict[str, Any]:
        """Give plain data, for a line of JSON."""
        return asdict(self)

    @staticmethod
    def from_data(data: dict[str, Any]) -> Subject:
        """Read what :meth:`as_data` gave."""
        series = {name: Series(**{key: tuple(v) for key, v in data[name].items()}) for name in ("same", "planted")}
        return Subject(**{**data, **series})


@dataclass(frozen=True, kw_only=True)
class Rate:
    """``count`` of ``total``, with the exact 95 % interval of the share (Clopper and Pearson 1934)."""

    count: int
    total: int
    low: float
    high: float

    @property
    def share(self) -> float:
        """Give count / total."""
        return self.count / self.total

    def __str__(self) -> str:
        """Write ``3 of 320, 0.9 % (0.2 to 2.7)``."""
        return f"{self.count} of {self.total}, {100 * self.share:.1f} % ({100 * self.low:.1f} to {100 * self.high:.1f})"


@dataclass(frozen=True, kw_only=True)
class RuleRates:
    """How one rule does: differences called where there are none, and planted ones that were found."""

    name: str
    false_alarms: Rate
    found: Rate


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """How each rule does, and how ours does by size.

    ``curve`` maps a slowdown, made by scaling samples, to the share found; ``smallest`` is the least one from which on
    the share stays at 95 % (None: none that was tried).
    """

    rules: tuple[RuleRates, ...]
    curve: dict[float, float]
    smallest: float | None


def rate(count: int, total: int) -> Rate:
    """Return a share with its interval. Raises ``ValueError`` when there is nothing to divide by."""
    from scipy.stats import binomtest

    interval = binomtest(count, total).proportion_ci(method="exact")
    return Rate(count=count, total=total, low=float(interval.low), high=float(interval.high))


def calibrate(subjects: Sequence[Subject]) -> Calibration:
    """Evaluate families of comparisons by every rule. Raises ``ValueError`` when there are none."""
    families = _families(subjects)
    rules = [
        RuleRates(
            name=name,
            false_alarms=_rate(family_calls(_of(family, "same", wall=wall), both=True) for family in families),
            found=_rate(family_calls(_of(family, "planted", wall=wall), both=False) for family in families),
        )
        for name, family_calls, wall in (
            ("compare", _ours, False),
            ("compare, on wall times", _ours, True),
            ("pytest-benchmark, mean:10%", _each(pytest_benchmark_calls), True),
            ("asv, 1.1 and p < 0.002", _each(asv_calls), True),
        )
    ]
    curve = {}
    for share in SHARES:
        slowed = ([(a, [(1 + share) * x for x in b]) for a, b in _of(one, "same", wall=False)] for one in families)
        curve[share] = _rate(_ours(pairs, both=False) for pairs in slowed).share
    return Calibration(rules=tuple(rules), curve=curve, smallest=smallest_found(curve))


def pool(subjects: Sequence[Subject], count: int) -> list[Subject]:
    """Join every ``count`` families of one cell into one with as many times the samples, in other processes.

    Gives what a budget ``count`` times as long would have, but for the processes. Families that are left over are left
    out, and so is a variant that is not in all of the joined ones.
    """
    cells: dict[str, list[list[Subject]]] = {}
    for family in _families(subjects):
        cells.setdefault(family[0].cell, []).append(family)
    pooled: list[Subject] = []
    for families in cells.values():
        for start in range(0, len(families) - count + 1, count):
            parts: dict[str, list[Subject]] = {}
            for one in (one for family in families[start : start + count] for one in family):
                parts.setdefault(one.variant, []).append(one)
            number = families[start][0].family
            pooled += [_joined(mine, number) for mine in parts.values() if len(mine) == count]
    return pooled


def _joined(parts: Sequence[Subject], family: int) -> Subject:
    def series(name: str) -> Series:
        each: list[Series] = [getattr(one, name) for one in parts]
        fields = ("first", "second", "first_wall", "second_wall")
        return Series(**{field: tuple(x for one in each for x in getattr(one, field)) for field in fields})

    return Subject(
        cell=parts[0].cell,
        family=family,
        variant=parts[0].variant,
        seconds=sum(one.seconds for one in parts),
        same=series("same"),
        planted=series("planted"),
        load=max(one.load for one in parts),
    )


def smallest_found(curve: dict[float, float], power: float = POWER) -> float | None:
    """Return the least slowdown from which on the share found stays at ``power`` or above."""
    smallest = None
    for share in sorted(curve, reverse=True):
        if curve[share] < power:
            break
        smallest = share
    return smallest


def _families(subjects: Sequence[Subject]) -> list[list[Subject]]:
    families: dict[int, list[Subject]] = {}
    for one in subjects:
        families.setdefault(one.family, []).append(one)
    return list(families.values())


def _of(family: Sequence[Subject], name: str, *, wall: bool) -> Pairs:
    series: list[Series] = [getattr(one, name) for one in family]
    return [(one.first_wall, one.second_wall) if wall else (one.first, one.second) for one in series]


def _ours(pairs: Pairs, *, both: bool) -> list[bool]:
    wanted = {Difference.SLOWER, Difference.FASTER} if both else {Difference.SLOWER}
    return [one.difference in wanted for one in correct([compare(first, second) for first, second in pairs])]


def _each(calls: Callable[[Samples, Samples], bool]) -> Callable[..., list[bool]]:
    """Judge each pair alone; a rule that looks one way only is asked both ways for false alarms."""

    def judge(pairs: Pairs, *, both: bool) -> list[bool]:
        return [calls(first, second) or (both and calls(second, first)) for first, second in pairs]

    return judge


def _rate(called: Iterable[list[bool]]) -> Rate:
    flat = [one for family in called for one in family]
    return rate(sum(flat), len(flat))
