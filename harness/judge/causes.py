"""Group what needs a person by cause, not by case (pure).

Failures that no defect accounts for belong together when they begin at the same step between two neighbouring cells
(all else equal), and have one mechanism. What the model was fed inside ``generate`` tells it first, whether the answer
is wrong or a forward fails of what it was fed; else a wrong answer is told by evidence, and an error by its type, what
it names and where it raises.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict
from dataclasses import dataclass, replace
from functools import cache, cached_property
from itertools import pairwise
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from packaging.version import InvalidVersion, Version

from harness.contracts.record import MEASURED, VariantRecord
from harness.contracts.records import place
from harness.interface import Outcome
from harness.judge.cost_verdict import grows
from harness.judge.verdicts import Judged, Verdict, defect_of
from harness.matrix.expected import UNATTRIBUTED
from harness.packages import TOLD_PACKAGES, WINDOW_AXES

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from harness.contracts.record import Record
    from harness.matrix.cases import Case

BASE_ANSWER = "the prompt is dropped: the answer is the base model's"
PROMPT_AGAIN = "each step of generate finds no cache and is fed the prompt and the new token alone"
NOT_FILLED = "the cache in which the prefix is handed to generate is neither read nor filled by the model"
NO_PREFIX = "the first forward inside generate finds no prefix in the cache"
CACHE_LOST = "the cache is lost: each step of generate is fed all tokens so far"
COUNTED_AGAIN = "the prompt is counted again: at a step more positions enter the cache than tokens are fed"
OTHER_ANSWER = "the answer is another one"
NO_STEP = "in no measured neighbour is it otherwise"

_DROPS = frozenset({NOT_FILLED, NO_PREFIX})
"""Mechanisms by which the answer may well be the base model's."""

_FAMILY = re.compile(r"transformers\.models\.\w+\.modeling_\w+:(?:\w+\.)*(\w+)")
_TASK = re.compile(r"\bPeftModelFor\w+")
_NAMED = re.compile(r"'(\w+)'(?!.*'\w+')")
_NUMBER = re.compile(r"<\w+>|\d+(?:\.\d+)?")
_RAISES = "raises "
_ANSWERS = ("generated", "said", "together")
_ALL = ("",)
_PREFIXES = ("prefix_tuning", "cartridge")
"""What a method's name begins with whose prompt is a cache that is filled."""


@dataclass(frozen=True, kw_only=True)
class FirstBad:
    """A first bad release of a package, and the nearest measured one before it that is not."""

    package: str
    bad: str
    good: str


@dataclass(frozen=True, kw_only=True)
class Group:
    """Variants that need a person for one cause.

    ``verdict`` is the gravest of them, ``step`` the releases between which it begins ("" where that is not asked),
    ``first_bad`` the same where it is a first bad release of one package, ``mechanism`` says what happens. ``lengths``
    are the lines of each case's file.
    """

    verdict: str
    step: str
    mechanism: str
    members: tuple[Judged, ...]
    lengths: Mapping[str, int]
    first_bad: FirstBad | None = None

    @property
    def words(self) -> str:
        """Return the cause in a sentence, with what an error says."""
        said = self.representative.record.message if self.representative.record else ""
        raised = f" ({said})" if said and self.mechanism.startswith(_RAISES) else ""
        return (f"{self.step}: {self.mechanism}" if self.step else self.mechanism) + raised

    @property
    def cases(self) -> tuple[str, ...]:
        """Return the names of the cases that see it."""
        return tuple(sorted({one.case for one in self.members}))

    @cached_property
    def representative(self) -> Judged:
        """Return the member that shows the cause most simply: by itself, with the fewest axes, in the shortest case."""
        simplest_first = sorted(self.members, key=self._simplicity)
        by_itself = (one for one in simplest_first if one.record and mechanism_of(one.record) == self.mechanism)
        return next(by_itself, simplest_first[0])

    def _simplicity(self, one: Judged) -> tuple[Any, ...]:
        length = self.lengths.get(one.case, 0)
        return (len(one.variant), length, one.case, tuple(one.variant.values()), one.cell)


def groups_of(attention: Iterable[Judged], cases: Iterable[Case], records: Iterable[Record]) -> list[Group]:
    """Group variants that need a person, the largest group first; ``records`` are those of neighbouring cells as well.

    What passes although a defect is expected is grouped by that defect; what was not measured, or costs more, by case
    and words.
    """
    cases = tuple(cases)
    lengths = {case.name: _lines(case.path) for case in cases}
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
    found = _causes(failing, _Neighbours(cases, records), lengths) if failing else []
    found += [
        Group(verdict=label, step="", mechanism=words, members=tuple(some), lengths=lengths)
        for (label, words), some in others.items()
    ]
    return sorted(found, key=lambda one: (-len(one.members), one.words))


def mechanism_of(record: VariantRecord) -> str:
    """Return in words how a record fails, alike for equal causes whatever the case and the family."""
    fed = _fed(record.counters, record.variant)
    if record.outcome == Outcome.WRONG:
        return fed or _answered(record.evidence, record.message or "")
    # An error of PEFT's own says more than what it fed to a model before.
    return fed if fed and fed != CACHE_LOST and _is_of_the_model(record) else _raises(record)


def _is_of_the_model(record: VariantRecord) -> bool:
    """Return whether an error is raised in a model or below it, and not in PEFT."""
    frame = (record.signature or "").partition(" @ ")[2]
    return bool(frame) and not frame.startswith("peft.")


def _raises(record: VariantRecord) -> str:
    """Return the type of an error, what it names and where it raises, alike in all families and task types."""
    if not record.signature:
        return _NUMBER.sub("<n>", f"{record.outcome}: {record.message or 'nothing is said'}")
    said, _, frame = record.signature.partition(" @ ")
    kind, _, text = said.partition(": ")
    place = _TASK.sub("PeftModelFor*", _FAMILY.sub(r"transformers.models.*:\1", frame))
    if not place:
        return f"{_RAISES}{_NUMBER.sub('<n>', said)}"
    named = _NAMED.search(text)
    return f"{_RAISES}{kind}{f' of {named[1]!r}' if named else ''} in {place}"


def _fed(counters: Mapping[str, Any], variant: Mapping[str, str]) -> str:
    """Return what is amiss in what ``generate`` fed to the model, "" where nothing is or nothing was counted."""
    fed, cached = counters.get("tokens_per_call") or [], counters.get("cache_per_call") or []
    steps = fed[1:]
    # Without a cache each step is fed all tokens so far.
    relies_on_it = bool(steps and cached) and all(step <= fed[0] for step in steps)
    by_prefix = variant.get("method", "").startswith(_PREFIXES)
    told = {
        NO_PREFIX: by_prefix and bool(cached) and not cached[0],
        PROMPT_AGAIN: relies_on_it and not any(cached) and all(1 < step < fed[0] for step in steps),
        NOT_FILLED: relies_on_it and bool(cached[0]) and len(set(cached)) == 1,
        CACHE_LOST: bool(counters.get("use_cache")) and len(steps) > 1 and grows(steps),
        COUNTED_AGAIN: _enters_more(steps, cached),
    }
    return next((mechanism for mechanism, is_so in told.items() if is_so), "")


def _enters_more(steps: Sequence[int], cached: Sequence[int | None]) -> bool:
    """Return whether more positions enter the cache at a step than tokens are fed, ``steps`` after the first."""
    known = [count for count in cached if count is not None]
    if len(known) < len(cached):
        return False
    entering = [after - before for before, after in pairwise(known)][1:]
    return any(more > tokens for more, tokens in zip(entering, steps, strict=False))


def _answered(evidence: Mapping[str, Any], message: str) -> str:
    """Return what the evidence tells of a wrong answer."""
    answer = next((evidence[name] for name in _ANSWERS if name in evidence), None)
    dropped = "drops the prompt" in message or "base model's answer" in message
    return BASE_ANSWER if dropped or (answer is not None and answer == evidence.get("base")) else OTHER_ANSWER


def _lines(path: Path) -> int:
    return len(path.read_bytes().splitlines()) if path.is_file() else 0


def _causes(failing: Sequence[Judged], neighbours: _Neighbours, lengths: Mapping[str, int]) -> list[Group]:
    """Group failures first by the step at which they begin, then by mechanism."""
    by_step: dict[tuple[str, ...], list[Judged]] = defaultdict(list)
    steps: dict[tuple[str, ...], Counter[_Step]] = defaultdict(Counter)
    for one in failing:
        if one.record is not None:
            step = neighbours.step(one.record)
            steps[step.key][step] += 1
            by_step[step.key].append(one)
    told = {key: some.most_common(1)[0][0] for key, some in steps.items()}
    return [
        Group(
            verdict=_gravest(members),
            step=told[key].words,
            first_bad=told[key].first_bad,
            mechanism=mechanism,
            members=tuple(members),
            lengths=lengths,
        )
        for key, some in by_step.items()
        for mechanism, members in _by_mechanism(some).items()
    ]


def _by_mechanism(failing: Iterable[Judged]) -> dict[str, list[Judged]]:
    """Group what fails from one step on by mechanism.

    What counters tell says most. A prompt that is dropped is put down to the way of dropping it that is known of the
    same method; then a wrong answer of which nothing is known to what is known of its method, of its method on the same
    model, or of the whole step, where that is one mechanism.
    """
    found: dict[str, list[Judged]] = defaultdict(list)
    known: dict[tuple[str, ...], set[str]] = defaultdict(set)

    def put(mechanism: str, one: Judged) -> None:
        found[mechanism].append(one)
        if one.outcome == Outcome.WRONG:
            for scope in _scopes(one):
                known[scope].add(mechanism)

    told = _with_like_errors(failing)
    for mechanism, one in told:
        if mechanism not in {BASE_ANSWER, OTHER_ANSWER}:
            put(mechanism, one)
    dropped = [one for mechanism, one in told if mechanism == BASE_ANSWER]
    ways = [next((known[scope] for scope in _scopes(one)[:-1] if known[scope]), set()) for one in dropped]
    for one, way in zip(dropped, ways, strict=True):
        # A prompt that is there twice is no prompt that is dropped.
        put(next(iter(way)) if len(way) == 1 and way <= _DROPS else BASE_ANSWER, one)
    others = [one for mechanism, one in told if mechanism == OTHER_ANSWER]
    alone = [next((known[scope] for scope in _scopes(one) if len(known[scope]) == 1), set()) for one in others]
    for one, way in zip(others, alone, strict=True):
        put(next(iter(way), OTHER_ANSWER), one)
    return dict(found)


def _with_like_errors(failing: Iterable[Judged]) -> list[tuple[str, Judged]]:
    """Return each failure with its mechanism.

    An error inside a model of which nothing was counted is put down to what counters tell of the same error of the same
    method, where that is one mechanism.
    """
    told = [(mechanism_of(one.record), one.record, one) for one in failing if one.record is not None]
    known: dict[tuple[str, str], set[str]] = defaultdict(set)
    for mechanism, record, one in told:
        if one.outcome != Outcome.WRONG and not mechanism.startswith(_RAISES):
            known[one.variant.get("method", ""), _raises(record)].add(mechanism)
    found = []
    for mechanism, record, one in told:
        like = known[one.variant.get("method", ""), mechanism] if _is_of_the_model(record) else set()
        found.append((next(iter(like)) if len(like) == 1 else mechanism, one))
    return found


def _scopes(one: Judged) -> tuple[tuple[str, ...], ...]:
    """Return what a wrong answer may share with others of its step: a method, a method on a model, nothing."""
    method = one.variant.get("method")
    return (_ALL,) if method is None else ((method,), (method, one.variant.get("model", "")), _ALL)


def _gravest(members: Iterable[Judged]) -> str:
    there = {one.label for one in members}
    return next((str(one) for one in (Verdict.REGRESSED, Verdict.CHANGED) if one in there), min(there))


@dataclass(frozen=True, kw_only=True)
class _Step:
    key: tuple[str, ...]
    words: str
    first_bad: FirstBad | None = None


_OTHER_AXES = tuple(name for name in TOLD_PACKAGES if name not in WINDOW_AXES)

_Standing = tuple[tuple[Any, ...], int]
"""A line, which is what is alike in all cells that differ in one package alone, and the rank of a version on it."""


@dataclass(frozen=True, kw_only=True)
class _Versions:
    """Where a cell stands among those of a variant: the rank of each of its versions.

    ``texts`` are the versions by package, ``window`` the ranks of the packages that bound windows, ``rest`` those of
    the others. ``crossed`` are those of ``lines`` on which another version stands: no neighbour is on the others.
    """

    texts: Mapping[str, str]
    window: tuple[int, ...]
    rest: tuple[int, ...]
    crossed: tuple[_Standing, ...] = ()

    @cached_property
    def lines(self) -> dict[str, _Standing]:
        """Return for each package what is alike in all cells that differ in it alone, and the rank of its version.

        Of packages that bound no windows only cells with equal windows are compared.
        """
        window = {
            axis: ((axis, _without(self.window, index)), rank)
            for index, (axis, rank) in enumerate(zip(WINDOW_AXES, self.window, strict=True))
        }
        rest = {
            axis: ((axis, self.window, _without(self.rest, index)), rank)
            for index, (axis, rank) in enumerate(zip(_OTHER_AXES, self.rest, strict=True))
        }
        return {axis: (window | rest)[axis] for axis in TOLD_PACKAGES}


@dataclass(frozen=True, kw_only=True, eq=False)
class _Spot:
    """A record among those of its variant, and whether it needs a cause."""

    record: VariantRecord
    versions: _Versions
    is_open: bool


class _Line:
    """The first record of each version along one package, all else equal, apart for those that need a cause."""

    def __init__(self) -> None:
        self._first: dict[bool, dict[int, _Spot]] = {True: {}, False: {}}

    def add(self, rank: int, spot: _Spot) -> None:
        """Take in the next record."""
        self._first[spot.is_open].setdefault(rank, spot)

    def nearest_otherwise(self, rank: int) -> tuple[tuple[int, bool], _Spot] | None:
        """Return the nearest record of another version that needs no cause, and how near; an older one comes first."""
        first, ranks = self._first[False], self._ranks[False]
        place = bisect_left(ranks, rank)
        above = place + (place < len(ranks) and ranks[place] == rank)
        near = [ranks[place - 1]] if place else []
        near += ranks[above : above + 1]
        return min((((abs(one - rank), one > rank), first[one]) for one in near), key=itemgetter(0), default=None)

    def first_open(self, low: int, high: int, *, rising: bool) -> _Spot | None:
        """Return the first record within two ranks that needs a cause, the last one unless ``rising``."""
        ranks = self._ranks[True]
        within = ranks[bisect_left(ranks, low) : bisect_right(ranks, high)]
        return self._first[True][within[0 if rising else -1]] if within else None

    @cached_property
    def _ranks(self) -> dict[bool, list[int]]:
        return {is_open: sorted(first) for is_open, first in self._first.items()}


class _Spots:
    """The records of one variant by the versions of their cells; lines along one package are found at once."""

    def __init__(self, case: Case, records: Sequence[VariantRecord], versions: Mapping[int, _Versions]) -> None:
        """Take in records; ``versions`` are those of their cells, by the identity of the cell."""
        self._lines: dict[tuple[Any, ...], _Line] = defaultdict(_Line)
        self._of: dict[tuple[str | None, ...], _Spot] = {}
        self._otherwise: list[_Spot] = []
        for record in records:
            ranks = versions[id(record.cell)]
            spot = _Spot(record=record, versions=ranks, is_open=defect_of(case, record) == UNATTRIBUTED)
            self._of[_measurement(record)] = spot
            for line, rank in ranks.crossed:
                self._lines[line].add(rank, spot)
            if not spot.is_open:
                self._otherwise.append(spot)

    def spot(self, record: VariantRecord) -> _Spot | None:
        """Return the place of a record; None where it is none of them."""
        return self._of.get(_measurement(record))

    def nearest(self, spot: _Spot) -> _Spot | None:
        """Return the record in the nearest cell that needs no cause; None where there is none.

        As few packages as possible differ, then as few measured releases as possible lie between; an older neighbour
        is nearer than a newer one.
        """
        near = [found for line, rank in spot.versions.crossed if (found := self._lines[line].nearest_otherwise(rank))]
        return min(near, key=itemgetter(0))[1] if near else _nearest_of(self._otherwise, spot)

    def first(self, spot: _Spot, nearest: _Spot, axis: str) -> _Spot:
        """Return the record, from the nearest one that does otherwise on, with which the failure of a record begins."""
        (line, own), (_, other) = spot.versions.lines[axis], nearest.versions.lines[axis]
        found = self._lines[line].first_open(min(own, other), max(own, other), rising=other < own)
        # Of its own version a record is the first itself: beside it on the line stand cells that differ in more.
        return spot if found is None or found.versions.lines[axis][1] == own else found


def _nearest_of(spots: Iterable[_Spot], spot: _Spot) -> _Spot | None:
    """Return the nearest record of another cell; the first of equally near ones."""
    best: tuple[tuple[int, int, int], _Spot] | None = None
    for one in spots:
        if changes := _changes(one.versions, spot.versions):
            distance = len(changes), sum(map(abs, changes)), sum(change > 0 for change in changes)
            if best is None or distance < best[0]:
                best = distance, one
    return best[1] if best else None


class _Neighbours:
    """The records of each variant, to find the nearest cell in which it does otherwise."""

    def __init__(self, cases: Iterable[Case], records: Iterable[Record]) -> None:
        self._cases = {case.name: case for case in cases}
        self._found: dict[tuple[str, ...], list[VariantRecord]] = defaultdict(list)
        self._spots: dict[tuple[str, ...], _Spots] = {}
        self._versions: dict[frozenset[int], dict[int, _Versions]] = {}
        for record in records:
            if isinstance(record, VariantRecord) and record.outcome in MEASURED and record.case in self._cases:
                self._found[_place(record)].append(record)

    def step(self, record: VariantRecord) -> _Step:
        """Return the step from the nearest cell in which the variant does otherwise to where it fails so first."""
        place = _place(record)
        spots = self._spots.get(place)
        spot = spots.spot(record) if spots else None
        if spots is None or spot is None:
            there = self._found[place]
            if _measurement(record) not in map(_measurement, there):
                there.append(record)
            spots = self._spots[place] = _Spots(self._cases[record.case], there, self._versions_of(there))
            spot = spots.spot(record)
        found = spots.nearest(spot) if spot else None
        if spot is None or found is None:
            return _Step(key=(), words=NO_STEP)
        axes = _differing(found.versions, spot.versions)
        if len(axes) > 1:
            key = tuple(f"{axis} {spot.versions.texts[axis]}" for axis in axes)
            return _Step(key=key, words=f"with {' and '.join(key)}")
        (axis,) = axes
        bad, good = spots.first(spot, found, axis).versions.texts[axis], found.versions.texts[axis]
        rising = found.versions.lines[axis][1] < spot.versions.lines[axis][1]
        way = "since" if rising else "up to"
        return _Step(
            key=(way, axis, bad),
            words=f"{way} {axis} {bad} ({good} does not)",
            first_bad=FirstBad(package=axis, bad=bad, good=good) if rising else None,
        )

    def _versions_of(self, records: Sequence[VariantRecord]) -> Mapping[int, _Versions]:
        """Return where the cells of records stand among each other, by their identity: alike for most variants."""
        cells = {id(record.cell): record for record in records}
        known = self._versions.get(frozenset(cells))
        if known is None:
            texts = {cell: {axis: _text(record, axis) for axis in TOLD_PACKAGES} for cell, record in cells.items()}
            ranks = {axis: _ranks({one[axis] for one in texts.values()}) for axis in TOLD_PACKAGES}
            known = self._versions[frozenset(cells)] = _crossed(
                {
                    cell: _Versions(
                        texts=one,
                        window=tuple(ranks[axis][one[axis]] for axis in WINDOW_AXES),
                        rest=tuple(ranks[axis][one[axis]] for axis in _OTHER_AXES),
                    )
                    for cell, one in texts.items()
                }
            )
        return known


def _crossed(cells: Mapping[int, _Versions]) -> dict[int, _Versions]:
    """Return where cells stand, each with those of its lines on which several of them have different versions."""
    there: dict[tuple[Any, ...], set[int]] = defaultdict(set)
    for one in cells.values():
        for line, rank in one.lines.values():
            there[line].add(rank)
    return {
        cell: replace(one, crossed=tuple(at for at in one.lines.values() if len(there[at[0]]) > 1))
        for cell, one in cells.items()
    }


def _measurement(record: VariantRecord) -> tuple[str | None, ...]:
    """Return what names a record among those of its variant."""
    return record.cell.matrix, record.cell.id, record.run, record.time, record.key


def _ranks(texts: Iterable[str]) -> dict[str, int]:
    """Number versions in their order; what is no version comes first."""
    versions = {version: rank for rank, version in enumerate(sorted({_parsed(text) for text in texts}))}
    return {text: versions[_parsed(text)] for text in texts}


def _without(ranks: tuple[int, ...], index: int) -> tuple[int, ...]:
    return ranks[:index] + ranks[index + 1 :]


def _changes(one: _Versions, other: _Versions) -> list[int]:
    """Return by how many measured releases two cells differ in each package that does."""
    if one.window != other.window:
        return [mine - its for mine, its in zip(one.window, other.window, strict=True) if mine != its]
    return [mine - its for mine, its in zip(one.rest, other.rest, strict=True) if mine != its]


def _place(record: VariantRecord) -> tuple[str, ...]:
    return place("", record.case, record.variant)


def _differing(one: _Versions, other: _Versions) -> tuple[str, ...]:
    """Return the packages in which two cells differ: those that bound windows, or the others where these are equal."""
    axes = [name for name in TOLD_PACKAGES if one.texts[name] != other.texts[name]]
    return tuple(name for name in axes if name in WINDOW_AXES) or tuple(axes)


def _text(record: VariantRecord, package: str) -> str:
    return record.cell.packages.get(package, "none").partition("+")[0]


@cache
def _parsed(version: str) -> Version:
    try:
        return Version(version)
    except InvalidVersion:
        return Version("0")
