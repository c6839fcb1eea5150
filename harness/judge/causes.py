"""Group what needs a person by cause, not by case (pure).

Failures that no defect accounts for belong together when they begin at the same step between two neighbouring cells
(all else equal), and show themselves in one way: an error by its type and where it raises, a wrong answer by the
mechanism that evidence and counters tell.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from packaging.version import InvalidVersion, Version

from harness.contracts.record import VariantRecord
from harness.contracts.records import MEASURED, place
from harness.interface import Outcome
from harness.judge.cost_verdict import grows
from harness.judge.verdicts import Judged, Verdict, defect_of
from harness.matrix.expected import UNATTRIBUTED
from harness.packages import TOLD_PACKAGES, WINDOW_AXES

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from harness.contracts.record import Record
    from harness.matrix.cases import Case

BASE_ANSWER = "the answer is the base model's"
CACHE_LOST = "the cache is lost: every step is fed all tokens so far"
COUNTED_AGAIN = "more positions enter the cache at a step than tokens are fed: the prompt is counted again"
OTHER_ANSWER = "the answer is another one"
NO_STEP = "in no measured neighbour is it otherwise"

_FAMILY = re.compile(r"transformers\.models\.\w+\.modeling_\w+:(?:\w+\.)*(\w+)")
_NUMBER = re.compile(r"<\w+>|\d+(?:\.\d+)?")
_ANSWERS = ("generated", "said", "together")


@dataclass(frozen=True, kw_only=True)
class Group:
    """Variants that need a person for one cause.

    ``verdict`` is the gravest of them, ``step`` the releases between which it begins ("" where that is not asked),
    ``mechanism`` says what happens. The representative has the fewest axes, and is of the first case by name.
    """

    verdict: str
    step: str
    mechanism: str
    members: tuple[Judged, ...]

    @property
    def words(self) -> str:
        """Return the cause in words."""
        return f"{self.step}: {self.mechanism}" if self.step else self.mechanism

    @property
    def cases(self) -> tuple[str, ...]:
        """Return the names of the cases that see it."""
        return tuple(sorted({one.case for one in self.members}))

    @property
    def representative(self) -> Judged:
        """Return the member that shows the cause most simply."""
        return min(self.members, key=lambda one: (len(one.variant), one.case, tuple(one.variant.values()), one.cell))


def groups_of(attention: Iterable[Judged], cases: Iterable[Case], records: Iterable[Record]) -> list[Group]:
    """Group variants that need a person, the largest group first; ``records`` are those of neighbouring cells as well.

    What passes although a defect is expected is grouped by that defect; what was not measured, or costs more, by case
    and words.
    """
    failing: list[Judged] = []
    others: dict[tuple[str, str], list[Judged]] = defaultdict(list)
    for one in attention:
        if one.defect == UNATTRIBUTED:
            failing.append(one)
        elif one.verdict is Verdict.FIXED and one.expectation is not None:
            about = one.expectation.defect or one.expectation.reason
            others[one.label, f"{about} is expected and not there"].append(one)
        else:
            others[one.label, f"{one.case}: {one.words}"].append(one)
    found = _causes(failing, _Neighbours(cases, records)) if failing else []
    found += [
        Group(verdict=label, step="", mechanism=words, members=tuple(some)) for (label, words), some in others.items()
    ]
    return sorted(found, key=lambda one: (-len(one.members), one.words))


def mechanism_of(record: VariantRecord) -> str:
    """Return in words how a record fails, alike for equal causes whatever the case and the family."""
    if record.outcome != Outcome.WRONG:
        if not record.signature:
            return _NUMBER.sub("<n>", f"{record.outcome}: {record.message or 'nothing is said'}")
        said, _, frame = record.signature.partition(" @ ")
        kind = said.partition(":")[0]
        place = _FAMILY.sub(r"transformers.models.*:\1", frame)
        return f"raises {kind} in {place}" if place else f"raises {_NUMBER.sub('<n>', said)}"
    return _wrong(record.evidence, record.counters, record.message or "") or OTHER_ANSWER


def _wrong(evidence: Mapping[str, Any], counters: Mapping[str, Any], message: str) -> str:
    """Return what evidence and counters tell of a wrong answer, "" where they tell nothing."""
    answer = next((evidence[name] for name in _ANSWERS if name in evidence), None)
    if answer is not None and answer == evidence.get("base"):
        return BASE_ANSWER
    if "drops the prompt" in message or "base model's answer" in message:
        return BASE_ANSWER
    fed, cached = counters.get("tokens_per_call") or [], counters.get("cache_per_call") or []
    steps = fed[1:]
    if counters.get("use_cache") and len(steps) > 1 and grows(steps):
        return CACHE_LOST
    if len(cached) > 2 and None not in cached:  # noqa: PLR2004
        entering = [after - before for before, after in pairwise(cached)][1:]
        if any(more > tokens for more, tokens in zip(entering, steps, strict=False)):
            return COUNTED_AGAIN
    if counters.get("use_cache") and cached:
        return f"the first forward inside generate finds {_positions(cached[0])} positions in the cache"
    return ""


def _positions(count: int | None) -> str:
    return "no" if not count else "some"


def _causes(failing: Sequence[Judged], neighbours: _Neighbours) -> list[Group]:
    """Group failures first by the step at which they begin, then by mechanism."""
    by_step: dict[tuple[str, ...], dict[str, list[Judged]]] = defaultdict(lambda: defaultdict(list))
    words: dict[tuple[str, ...], Counter[str]] = defaultdict(Counter)
    for one in failing:
        if one.record is not None:
            step = neighbours.step(one.record)
            words[step.key][step.words] += 1
            by_step[step.key][mechanism_of(one.record)].append(one)
    groups = []
    for key, mechanisms in by_step.items():
        wrong = [name for name, some in mechanisms.items() if name != OTHER_ANSWER and _are_wrong(some)]
        if OTHER_ANSWER in mechanisms and len(wrong) == 1:
            # What has no evidence of its own is put down to the only wrong answer that has.
            mechanisms[wrong[0]] += mechanisms.pop(OTHER_ANSWER)
        for mechanism, members in mechanisms.items():
            groups.append(
                Group(
                    verdict=_gravest(members),
                    step=words[key].most_common(1)[0][0],
                    mechanism=mechanism,
                    members=tuple(members),
                )
            )
    return groups


def _are_wrong(members: Iterable[Judged]) -> bool:
    return all(one.outcome == Outcome.WRONG for one in members)


def _gravest(members: Iterable[Judged]) -> str:
    there = {one.label for one in members}
    return next((str(one) for one in (Verdict.REGRESSED, Verdict.CHANGED) if one in there), min(there))


@dataclass(frozen=True, kw_only=True)
class _Step:
    key: tuple[str, ...]
    words: str


_OTHER_AXES = tuple(name for name in TOLD_PACKAGES if name not in WINDOW_AXES)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Spot:
    """A record among those of its variant: the rank of each of its versions, and whether it needs a cause.

    Of the ranks, ``window`` are those of the packages that bound windows, ``rest`` those of the others.
    """

    record: VariantRecord
    window: tuple[int, ...]
    rest: tuple[int, ...]
    is_open: bool


class _Spots:
    """The records of one variant by the versions of their cells; lines along one package are found at once."""

    def __init__(self, case: Case, records: Sequence[VariantRecord]) -> None:
        ranks = {axis: _ranks(records, axis) for axis in TOLD_PACKAGES}
        self.all: list[_Spot] = []
        self.by_window: dict[tuple[int, ...], list[_Spot]] = defaultdict(list)
        self.lines: dict[tuple[int, tuple[int, ...]], list[_Spot]] = defaultdict(list)
        self._of: dict[int, _Spot] = {}
        for record in records:
            spot = _Spot(
                record=record,
                window=tuple(ranks[axis][_text(record, axis)] for axis in WINDOW_AXES),
                rest=tuple(ranks[axis][_text(record, axis)] for axis in _OTHER_AXES),
                is_open=defect_of(case, record) == UNATTRIBUTED,
            )
            self.all.append(spot)
            self.by_window[spot.window].append(spot)
            self._of[id(record)] = spot
            for index in range(len(WINDOW_AXES)):
                self.lines[index, _without(spot.window, index)].append(spot)
        self.has_otherwise = not all(spot.is_open for spot in self.all)

    def spot(self, record: VariantRecord) -> _Spot:
        """Return the place of a record that was given."""
        return self._of.get(id(record)) or next(one for one in self.all if one.record == record)

    def along(self, spot: _Spot, axis: str) -> list[_Spot]:
        """List the records in cells that differ from a record's in one package alone, or in none."""
        if axis in WINDOW_AXES:
            index = WINDOW_AXES.index(axis)
            line = self.lines[index, _without(spot.window, index)]
            return [one for one in line if one.window != spot.window or one.rest == spot.rest]
        index = _OTHER_AXES.index(axis)
        same = _without(spot.rest, index)
        return [one for one in self.by_window[spot.window] if _without(one.rest, index) == same]

    def nearest(self, spot: _Spot) -> _Spot | None:
        """Return the record in the nearest cell that needs no cause; None where there is none.

        As few packages as possible differ, then as few measured releases as possible lie between; an older neighbour
        is nearer than a newer one.
        """
        if not self.has_otherwise:
            return None
        near = [one for axis in TOLD_PACKAGES for one in self.along(spot, axis) if not one.is_open]
        near = [one for one in near if _changes(one, spot)]
        far = near or [one for one in self.all if not one.is_open and _changes(one, spot)]
        return min(far, key=lambda one: _distance(one, spot), default=None)


class _Neighbours:
    """The records of each variant, to find the nearest cell in which it does otherwise."""

    def __init__(self, cases: Iterable[Case], records: Iterable[Record]) -> None:
        self._cases = {case.name: case for case in cases}
        self._found: dict[tuple[str, ...], list[VariantRecord]] = defaultdict(list)
        self._spots: dict[tuple[str, ...], _Spots] = {}
        for record in records:
            if isinstance(record, VariantRecord) and record.outcome in MEASURED and record.case in self._cases:
                self._found[_place(record)].append(record)

    def step(self, record: VariantRecord) -> _Step:
        """Return the step from the nearest cell in which the variant does otherwise to where it fails so first."""
        place = _place(record)
        if place not in self._spots:
            there = self._found[place]
            known = any(one is record or one == record for one in there)
            self._spots[place] = _Spots(self._cases[record.case], there if known else [*there, record])
        spots = self._spots[place]
        spot = spots.spot(record)
        found = spots.nearest(spot)
        if found is None:
            return _Step(key=(), words=NO_STEP)
        nearest, axes = found.record, _differing(found.record, record)
        if len(axes) > 1:
            key = tuple(f"{axis} {_text(record, axis)}" for axis in axes)
            return _Step(key=key, words=f"with {' and '.join(key)}")
        (axis,) = axes
        low, high = sorted((_version(nearest, axis), _version(record, axis)))
        between = [
            one.record for one in spots.along(spot, axis) if one.is_open and low <= _version(one.record, axis) <= high
        ]
        rising = _version(nearest, axis) == low
        first = (min if rising else max)(between, key=lambda one: _version(one, axis), default=record)
        way = "since" if rising else "up to"
        words = f"{way} {axis} {_text(first, axis)} ({_text(nearest, axis)} does not)"
        return _Step(key=(way, axis, _text(first, axis)), words=words)


def _ranks(records: Iterable[VariantRecord], axis: str) -> dict[str, int]:
    """Number the versions of a package in their order; what is no version comes first."""
    texts = {_text(record, axis) for record in records}
    versions = sorted({_parsed(text) for text in texts})
    return {text: versions.index(_parsed(text)) for text in texts}


def _without(ranks: tuple[int, ...], index: int) -> tuple[int, ...]:
    return ranks[:index] + ranks[index + 1 :]


def _changes(one: _Spot, other: _Spot) -> list[int]:
    """Return by how many measured releases two cells differ in each package that does."""
    if one.window != other.window:
        return [mine - its for mine, its in zip(one.window, other.window, strict=True) if mine != its]
    return [mine - its for mine, its in zip(one.rest, other.rest, strict=True) if mine != its]


def _distance(one: _Spot, other: _Spot) -> tuple[int, int, int]:
    changes = _changes(one, other)
    return len(changes), sum(map(abs, changes)), sum(change > 0 for change in changes)


def _place(record: VariantRecord) -> tuple[str, ...]:
    return place("", record.case, record.variant)


def _differing(one: VariantRecord, other: VariantRecord) -> tuple[str, ...]:
    """Return the packages in which two cells differ: those that bound windows, or the others where these are equal."""
    axes = [name for name in TOLD_PACKAGES if _text(one, name) != _text(other, name)]
    return tuple(name for name in axes if name in WINDOW_AXES) or tuple(axes)


def _text(record: VariantRecord, package: str) -> str:
    return record.cell.packages.get(package, "none").partition("+")[0]


def _version(record: VariantRecord, package: str) -> Version:
    return _parsed(_text(record, package))


@cache
def _parsed(version: str) -> Version:
    try:
        return Version(version)
    except InvalidVersion:
        return Version("0")
