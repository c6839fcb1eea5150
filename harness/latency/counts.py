"""Exact counts between neighbouring cells (pure): what an answer costs in one release and in the next.

Counts need no statistics: the same variant feeds, computes and allocates the same on every machine of a kind. So a
difference between two cells that differ in one release of one package is told as it is, with where.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from packaging.version import InvalidVersion, Version

from harness.interface import Outcome, variant_id
from harness.latency.verdicts import COUNTERS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from harness.contracts.record import VariantRecord

LEAST = 0.1
"""By which share a count has to rise or fall to be told: each release of transformers adds or drops some operators."""


@dataclass(frozen=True, kw_only=True)
class CountChange:
    """One count of one variant in two neighbouring cells, ``package`` in ``before`` and ``after`` apart."""

    package: str
    before: str
    after: str
    count: str
    values: tuple[int, int]
    record: VariantRecord

    @property
    def share(self) -> float:
        """Return how much it rose or fell, as a share of the smaller: the same both ways round."""
        low, high = sorted(self.values)
        return high / low - 1 if low else float("inf")


@dataclass(frozen=True, kw_only=True)
class CountStep:
    """All counts that change from one release to the next, the largest change first."""

    package: str
    before: str
    after: str
    changes: tuple[CountChange, ...]

    @property
    def words(self) -> str:
        """Say where, how many variants, and the largest."""
        largest = self.changes[0]
        variants = len({(one.record.case, variant_id(one.record.variant)) for one in self.changes})
        name = f"{largest.record.case}:{variant_id(largest.record.variant)}"
        old, new = largest.values
        return (
            f"{self.package} {self.before} -> {self.after}: {variants} variant{'s' * (variants != 1)}, "
            f"e.g. {name} {largest.count} {old} -> {new}"
        )


def count_steps(records: Iterable[VariantRecord], least: float = LEAST) -> list[CountStep]:
    """Return the steps between neighbouring releases at which exact counts change, the largest change first.

    Neighbours differ in one package alone, and nothing measured lies between them. Only answers that pass on both
    sides are compared: a failure ends early.
    """
    steps: dict[tuple[str, str, str], list[CountChange]] = defaultdict(list)
    for package, line in _lines(records):
        for old, new in pairwise(line):
            before, after = old.cell.packages[package], new.cell.packages[package]
            for count in COUNTERS:
                was, now = old.counters.get(count), new.counters.get(count)
                if not isinstance(was, int) or not isinstance(now, int) or was == now:
                    continue
                change = CountChange(
                    package=package, before=before, after=after, count=count, values=(was, now), record=new
                )
                if change.share > least:
                    steps[package, before, after].append(change)
    found = [
        CountStep(package=package, before=before, after=after, changes=tuple(sorted(some, key=_largest_first)))
        for (package, before, after), some in steps.items()
    ]
    return sorted(found, key=lambda one: (_largest_first(one.changes[0]), one.package, one.before))


def _largest_first(change: CountChange) -> tuple[float, str, str]:
    return (-change.share, change.record.case, variant_id(change.record.variant))


def _lines(records: Iterable[VariantRecord]) -> Iterable[tuple[str, list[VariantRecord]]]:
    """Yield the records of one variant in cells that differ in one package alone, in the order of its versions."""
    passed = [one for one in records if one.outcome == Outcome.PASSED and one.counters]
    for package in sorted({name for one in passed for name in one.cell.packages}):
        lines: dict[tuple[object, ...], dict[Version, VariantRecord]] = defaultdict(dict)
        for one in passed:
            version = _version(one.cell.packages, package)
            if version is not None:
                rest = tuple(sorted((name, text) for name, text in one.cell.packages.items() if name != package))
                place = (one.case, variant_id(one.variant), one.cell.python, rest)
                lines[place][version] = one
        for line in lines.values():
            if len(line) > 1:
                yield package, [one for _, one in sorted(line.items())]


def _version(packages: Mapping[str, str], package: str) -> Version | None:
    try:
        return Version(packages[package])
    except (KeyError, InvalidVersion):
        return None
