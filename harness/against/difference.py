"""The difference of two sets of records (pure): what changed from one side to the other, grouped by cause.

What was so before is counted and no more. An exact count that differs is told as it is: it says nothing of time.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from harness.contracts.record import FAILED, MEASURED, StateRecord, VariantRecord
from harness.interface import Outcome, variant_id
from harness.judge.causes import OTHER_ANSWER, mechanism_of
from harness.judge.distances import distances_that_differ
from harness.latency.verdicts import COUNTERS

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from harness.contracts.job import Request
    from harness.contracts.record import Record

Place = tuple[str, ...]

FARTHER = "another answer than before"
"""Of what was wrong and is wrong, by its distance from the reference."""


class Change(StrEnum):
    """What became of a variant, the gravest first."""

    BROKEN = "broken"
    """It passed, and fails."""
    UNSUPPORTED = "newly unsupported"
    """It could be asked, and cannot any more."""
    OTHERWISE = "fails otherwise"
    """Its outcome, its words or how far it is from its reference are others."""
    SUPPORTED = "newly supported"
    """It could not be asked, and can."""
    MENDED = "mended"
    COSTS_MORE = "costs more"
    """It does as before, and an exact count rose."""
    COSTS_LESS = "costs less"


@dataclass(frozen=True, kw_only=True)
class Flip:
    """A variant that changed, beside a companion. A side without a record is of a cell that never became ready."""

    change: Change
    companion: str
    case: str
    variant: Mapping[str, str]
    before: Record
    after: Record
    counts: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    distances: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Name the variant as ``--case`` takes it."""
        return f"{self.case}:{variant_id(self.variant)}" if self.variant else self.case

    @property
    def breaks(self) -> bool:
        """Return whether something worked before and does not now."""
        passed = isinstance(self.before, VariantRecord) and self.before.outcome == Outcome.PASSED
        return self.change is Change.BROKEN or (self.change is Change.UNSUPPORTED and passed)


@dataclass(frozen=True, kw_only=True)
class Cause:
    """Flips of one kind with one cause: the words for each side."""

    change: Change
    before: str
    after: str
    flips: tuple[Flip, ...]

    @property
    def representative(self) -> Flip:
        """Return the flip that shows it most simply: of the fewest axes, first by name."""
        return min(self.flips, key=lambda one: (len(one.variant), one.case, tuple(one.variant.values()), one.companion))

    @property
    def companions(self) -> tuple[str, ...]:
        """Name what it was seen beside."""
        return tuple(dict.fromkeys(one.companion for one in self.flips))

    @property
    def cases(self) -> tuple[str, ...]:
        """Name the cases that see it."""
        return tuple(sorted({one.case for one in self.flips}))


@dataclass(frozen=True, kw_only=True)
class Difference:
    """What changed, what did not, and what was not held against anything.

    ``same`` counts outcomes that both sides share, by companion and outcome; ``missing`` are variants that one side
    has no measurement of; ``flaky`` those that did not answer alike when they were asked again.
    """

    flips: tuple[Flip, ...] = ()
    same: Mapping[str, int] = field(default_factory=dict)
    missing: tuple[str, ...] = ()
    flaky: tuple[Flip, ...] = ()
    compared: tuple[tuple[str, Record, Record], ...] = ()

    @property
    def causes(self) -> list[Cause]:
        """Group the flips, the gravest kind first and then the largest group."""
        return causes_of(self.flips)

    @property
    def breaks(self) -> bool:
        """Return whether something broke."""
        return any(one.breaks for one in self.flips)

    @property
    def count(self) -> int:
        """Return how many variants have a measurement on both sides."""
        return len(self.compared)

    def without(self, flaky: Collection[tuple[str, Place]]) -> Difference:
        """Set aside flips of these companions and places: they did not answer alike twice."""
        steady = tuple(one for one in self.flips if (one.companion, place_of(one)) not in flaky)
        aside = tuple(one for one in self.flips if (one.companion, place_of(one)) in flaky)
        return Difference(
            flips=steady, same=self.same, missing=self.missing, flaky=(*self.flaky, *aside), compared=self.compared
        )

    def __add__(self, other: Difference) -> Difference:
        """Join the differences beside two companions."""
        return Difference(
            flips=(*self.flips, *other.flips),
            same=Counter(self.same) + Counter(other.same),
            missing=(*self.missing, *other.missing),
            flaky=(*self.flaky, *other.flaky),
            compared=(*self.compared, *other.compared),
        )


def place_of(one: Flip | VariantRecord | Request) -> Place:
    """Return what a record is about whatever its cell: the case, and the variant whatever the order of its axes."""
    return (one.case, *(f"{axis}={value}" for axis, value in sorted(one.variant.items())))


def difference(before: Iterable[Record], after: Iterable[Record], companion: str = "") -> Difference:
    """Hold the records of two cells against each other, variant by variant.

    Where one cell never became ready its state stands for all that the other one measured: one flip, not hundreds.
    """
    old, new = list(before), list(after)
    states = [next((one for one in side if isinstance(one, StateRecord)), None) for side in (old, new)]
    if states[0] or states[1]:
        return _of_states(states[0], states[1], (old, new), companion)
    olds, news = (
        {place_of(one): one for one in side if isinstance(one, VariantRecord) and one.outcome in MEASURED}
        for side in (old, new)
    )
    names = {place_of(one): one.about for one in (*old, *new) if isinstance(one, VariantRecord)}
    flips, same, compared = [], Counter[str](), []
    for where in [one for one in names if one in olds and one in news]:
        compared.append((companion, olds[where], news[where]))
        flip = flip_of(olds[where], news[where], companion)
        if flip is None:
            same[str(news[where].outcome)] += 1
        else:
            flips.append(flip)
    missing = tuple(f"{companion}: {about}" for where, about in names.items() if where not in olds.keys() & news.keys())
    return Difference(flips=tuple(flips), same=same, missing=missing, compared=tuple(compared))


def flip_of(before: VariantRecord, after: VariantRecord, companion: str = "") -> Flip | None:
    """Return what changed in one variant; None when nothing did."""
    counts: Mapping[str, tuple[int, int]] = {}
    apart: Mapping[str, tuple[float, float]] = {}
    match (_state(before), _state(after)):
        case (Outcome.PASSED, Outcome.ERROR):
            change = Change.BROKEN
        case (Outcome.ERROR, Outcome.PASSED):
            change = Change.MENDED
        case (Outcome.UNSUPPORTED, Outcome.UNSUPPORTED):
            return None
        case (_, Outcome.UNSUPPORTED):
            change = Change.UNSUPPORTED
        case (Outcome.UNSUPPORTED, _):
            change = Change.SUPPORTED
        case (Outcome.ERROR, Outcome.ERROR):
            apart = distances_that_differ(before, after)
            if how_it_fails(before) == how_it_fails(after) and not apart:
                return None
            change = Change.OTHERWISE
        case _:
            counts = counts_that_differ(before, after)
            if not counts:
                return None
            first, second = next(iter(counts.values()))
            change = Change.COSTS_MORE if second > first else Change.COSTS_LESS
    return Flip(
        change=change, companion=companion, case=after.case, variant=after.variant, before=before, after=after,
        counts=counts, distances=apart,
    )  # fmt: skip


def _state(record: VariantRecord) -> Outcome:
    """Return passed, unsupported, or error for every way of failing."""
    return Outcome.ERROR if record.outcome in FAILED else record.outcome


def how_it_fails(record: VariantRecord) -> tuple[str, str]:
    """Return the outcome with the signature of an error, or the mechanism of a wrong answer.

    The words of a wrong answer are left out: they quote tokens, which follow from the mechanism.
    """
    words = mechanism_of(record) if record.outcome == Outcome.WRONG else record.signature or ""
    return str(record.outcome), words


def counts_that_differ(before: VariantRecord, after: VariantRecord) -> dict[str, tuple[int, int]]:
    """Return the exact counts that both sides have and that are not equal, by name."""
    pairs = {name: (before.counters.get(name), after.counters.get(name)) for name in COUNTERS}
    return {
        name: (one, other)
        for name, (one, other) in pairs.items()
        if isinstance(one, int) and isinstance(other, int) and one != other
    }


def _of_states(
    before: StateRecord | None, after: StateRecord | None, sides: tuple[Sequence[Record], Sequence[Record]], name: str
) -> Difference:
    if before and after:
        told = f"{name}: neither side can be measured: {before.state} before, {after.state} after ({after.message})"
        return Difference(missing=(told,))
    ready = [one for one in sides[0 if after else 1] if isinstance(one, VariantRecord)]
    if not ready:
        return Difference(missing=(f"{name}: nothing was measured on either side",))
    change = Change.BROKEN if after else Change.MENDED
    flip = Flip(
        change=change,
        companion=name,
        case="environment",
        variant={},
        before=before or ready[0],
        after=after or ready[0],
    )
    return Difference(flips=(flip,), compared=((name, flip.before, flip.after),))


def causes_of(flips: Iterable[Flip]) -> list[Cause]:
    """Group flips by kind and by how each side does; what has no evidence of its own joins the only group that has."""
    kinds: dict[Change, dict[tuple[str, str], list[Flip]]] = defaultdict(lambda: defaultdict(list))
    for one in flips:
        kinds[one.change][_words(one)].append(one)
    causes = []
    for change, groups in kinds.items():
        for silent in [words for words in groups if OTHER_ANSWER in words]:
            telling = [words for words in groups if words != silent and _alike(words, silent)]
            if len(telling) == 1:
                groups[telling[0]] += groups.pop(silent)
        causes += [
            Cause(change=change, before=before, after=after, flips=tuple(some))
            for (before, after), some in groups.items()
        ]
    order = list(Change)
    return sorted(causes, key=lambda one: (order.index(one.change), -len(one.flips), one.before, one.after))


def _alike(words: tuple[str, str], silent: tuple[str, str]) -> bool:
    """Return whether words say more of a wrong answer where ``silent`` says nothing, and the same elsewhere."""
    return all(
        one == other or (other == OTHER_ANSWER and not one.startswith("raises"))
        for one, other in zip(words, silent, strict=True)
    )


def _words(one: Flip) -> tuple[str, str]:
    """Say in words what each side does, alike for equal causes."""
    if one.counts:
        rises = ", ".join(one.counts)
        return rises, rises
    before, after = _side(one.before), _side(one.after)
    return before, f"{after}, {FARTHER}" if one.distances and before == after else after


def _side(record: Record) -> str:
    if isinstance(record, StateRecord):
        return f"the cell is {record.state}: {record.message}"
    if record.outcome in FAILED:
        return mechanism_of(record)
    return str(record.outcome)
