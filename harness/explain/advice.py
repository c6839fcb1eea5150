"""Advise (pure): with which measured versions a use works, how it fails with others, and the nearest that work.

What was measured is a table: for each combination of versions, a *pair* as a rule, what came out for each method and
family. A range of versions is recommended when every pair in it was measured and passes, on the family that is asked
for or on one like it, up to the patches of a minor. Its ends are measured pairs.
"""

from __future__ import annotations

import itertools
from bisect import bisect_left
from collections import defaultdict
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

from packaging.specifiers import SpecifierSet
from packaging.version import Version

from harness.contracts.record import FAILED, StateRecord
from harness.explain.table import kind_of, label_of, releases_of
from harness.explain.uses import COMMON_FAMILIES, COMMON_METHODS, like, method_of
from harness.interface import Outcome
from harness.judge.verdicts import covers
from harness.packages import EXPLAINED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from harness.contracts.record import CellFacts, Record
    from harness.explain.uses import Use

Point = tuple[Version, ...]
"""A version of each package that decides, in the order of :attr:`Use.packages`."""

_TRANSFORMERS = 1
"""Its place in a point."""

MOST_RANGES = 6
"""Ranges that are looked for; a sentence has room for no more."""


class Subject(NamedTuple):
    """What is used: a method, on a family (or attached in a way)."""

    method: str
    place: str


@dataclass(frozen=True, kw_only=True, order=True)
class Fault:
    """One way of failing: the outcome or cell state, and the defect behind it, else the words of the failure."""

    outcome: str
    defect: str = ""
    words: str = ""


@dataclass(frozen=True, kw_only=True)
class Found:
    """What was measured of a subject at a point: its faults, and whether anything passed at all."""

    faults: frozenset[Fault]
    passed: bool

    @property
    def works(self) -> bool:
        """Return whether something was tried, and all of it passed."""
        return self.passed and not self.faults


@dataclass(frozen=True, kw_only=True, eq=False)
class Table:
    """Everything that was measured of a use. ``states`` holds the pairs that cannot be imported or installed.

    ``facts`` is the newest cell of each point, ``newest`` the time of the newest record.
    """

    use: Use
    points: Mapping[Point, Mapping[Subject, Found]]
    states: Mapping[Point, Fault]
    facts: Mapping[Point, CellFacts]
    newest: str = ""


class Evidence(Enum):
    """What speaks for a pair, or against it: the asked subjects themselves, or what stands in for them."""

    WORKS = "works"
    FAILS = "fails"
    WORKS_NEARBY = "works on another family"
    FAILS_NEARBY = "fails on another family"


GOOD = {Evidence.WORKS, Evidence.WORKS_NEARBY}
"""What speaks for a pair."""


@dataclass(frozen=True, kw_only=True)
class Range:
    """A box of versions that works: the lowest and highest version of each package.

    ``own`` counts its pairs that were measured on what is asked for, ``nearby`` those measured on another family alone.
    ``newest`` is the newest measured pair in it.
    """

    ends: tuple[tuple[Version, Version], ...]
    own: int
    nearby: int
    newest: Point

    def holds(self, point: Point) -> bool:
        """Return whether a point lies in the box."""
        return all(low <= version <= high for version, (low, high) in zip(point, self.ends, strict=True))


@dataclass(frozen=True, kw_only=True, eq=False)
class Failing:
    """A fault, with the points at which it is met, the newest first, and the subjects that meet it."""

    fault: Fault
    points: tuple[Point, ...]
    subjects: frozenset[Subject]


@dataclass(frozen=True, kw_only=True)
class Question:
    """What is asked: a use, bounds on versions, and the methods and families that are named, all common ones if none.

    ``chosen`` tells which of the methods and families in the table are meant.
    """

    use: Use
    versions: Mapping[str, str] = field(default_factory=dict)
    method: str = ""
    place: str = ""
    chosen: Callable[[Subject], bool] = lambda _: True

    def in_bounds(self, point: Point) -> bool:
        """Return whether a point is within the bounds of the packages that decide."""
        return all(
            is_within(version, self.versions[package])
            for package, version in zip(self.use.packages, point, strict=True)
            if package in self.versions
        )


def is_within(version: Version, specifier: str) -> bool:
    """Return whether a version is within a specifier."""
    return SpecifierSet(specifier).contains(version, prereleases=True)


def table_of(
    records: Iterable[Record],
    use: Use,
    asked: Callable[[Record], bool],
    cause: Callable[[Record], str],
    versions: Mapping[str, str] | None = None,
) -> Table:
    """Gather what was measured of a use. ``asked`` tells whether a variant's record is of a case that stands for it.

    ``cause`` gives the defect that accounts for a record, "" where none is known. ``versions`` bounds the packages
    that are no axis of the table, torch or python.
    """
    rest = {package: spec for package, spec in (versions or {}).items() if package not in use.packages}
    faults: dict[Point, dict[Subject, set[Fault]]] = defaultdict(lambda: defaultdict(set))
    passed: dict[Point, set[Subject]] = defaultdict(set)
    states: dict[Point, Fault] = {}
    facts: dict[Point, CellFacts] = {}
    newest = ""
    for record in records:
        label = label_of(record)
        if label is None or not covers(rest, {}, record.cell.versions, {}):
            continue
        releases = releases_of(record.cell)
        if any(package not in releases for package in use.packages):
            continue
        point = tuple(Version(releases[package]) for package in use.packages)
        if isinstance(record, StateRecord):
            states[point] = Fault(outcome=label.outcome, defect=cause(record), words=kind_of(record))
            facts.setdefault(point, record.cell)
            continue
        if not asked(record):
            continue
        newest = max(newest, record.time)
        facts[point] = record.cell
        subject = Subject(method_of(record.case, record.variant), record.variant.get(use.axis, ""))
        if record.outcome in FAILED:
            defect = cause(record)
            words = "" if defect else kind_of(record)
            faults[point][subject].add(Fault(outcome=record.outcome, defect=defect, words=words))
        else:
            faults[point][subject].update(())
            if record.outcome == Outcome.PASSED:
                passed[point].add(subject)
    points = {
        point: {
            subject: Found(faults=frozenset(found), passed=subject in passed[point])
            for subject, found in subjects.items()
        }
        for point, subjects in faults.items()
    }
    states = {point: fault for point, fault in states.items() if point not in points}
    return Table(use=use, points=points, states=states, facts=facts, newest=newest)


class Advice:
    """The answer to a question, worked out from a table as far as it is asked for."""

    def __init__(self, table: Table, question: Question) -> None:
        self.table, self.question = table, question

    @cached_property
    def subjects(self) -> frozenset[Subject]:
        """Return what is asked for: what is named, and of what is not named the common ones that were measured."""
        everything = {one for found in self.table.points.values() for one in found if self.question.chosen(one)}
        if not self.question.method:
            everything = _common(everything, 0, COMMON_METHODS)
        if not self.question.place and not self.question.use.may_choose:
            everything = _common(everything, 1, COMMON_FAMILIES)
        if not everything and self.question.place and not self.question.use.may_choose:
            # What was never measured may still be asked of a family like it.
            methods = (self.question.method,) if self.question.method else COMMON_METHODS
            everything = {Subject(method, self.question.place) for method in methods}
        return frozenset(everything)

    @cached_property
    def others(self) -> frozenset[Subject]:
        """Return what was measured besides, of the methods and families that nobody named: LoRA is none of them."""
        methods = {one.method for one in self.subjects}
        everything = {one for found in self.table.points.values() for one in found if self.question.chosen(one)}
        return frozenset(one for one in everything - self.subjects if one.method in methods)

    def found(self, point: Point, subjects: Iterable[Subject] | None = None) -> list[tuple[Subject, Found]]:
        """List what was measured at a point, of what is asked for unless other subjects are given.

        What cannot exist in the versions of the point is left out.
        """
        there = self.table.points.get(point, {})
        wanted = self.subjects if subjects is None else subjects
        return [(one, there[one]) for one in wanted if one in there and (there[one].passed or there[one].faults)]

    def evidence(self, point: Point) -> Evidence | None:
        """Return what speaks for a pair or against it, None where nothing was measured that could."""
        if point not in self._evidence:
            self._evidence[point] = self._exactly(point) or self._by_minor(point)
        return self._evidence[point]

    @cached_property
    def _evidence(self) -> dict[Point, Evidence | None]:
        return {}

    def _exactly(self, point: Point) -> Evidence | None:
        if point in self.table.states:
            return Evidence.FAILS
        own = self.found(point)
        if own:
            works = all(found.works for _, found in own)
            if self.question.use.may_choose:
                ways = {subject.method for subject, found in own if found.works}
                works = ways == {subject.method for subject, _ in own}
            return Evidence.WORKS if works else Evidence.FAILS
        if self.question.use.may_choose or self._is_before_the_family(point):
            return None
        alike = [found.works for _, found in self.found(point, self._alike)]
        if alike:
            return Evidence.WORKS_NEARBY if all(alike) else Evidence.FAILS_NEARBY
        methods = [found.works for _, found in self.found(point, self._other_methods)]
        return None if all(methods) else Evidence.FAILS_NEARBY

    def _is_before_the_family(self, point: Point) -> bool:
        """Return whether a point has a transformers older than any that a named family was seen to pass with."""
        return self._first_transformers is not None and point[_TRANSFORMERS] < self._first_transformers

    @cached_property
    def _first_transformers(self) -> Version | None:
        if not self.question.place:
            return None
        places = {one.place for one in self.subjects}
        passing = (
            point[_TRANSFORMERS]
            for point, there in self.table.points.items()
            if any(one.place in places and found.passed for one, found in there.items())
        )
        return min(passing, default=None)

    @cached_property
    def _alike(self) -> frozenset[Subject]:
        return frozenset(Subject(one.method, like(one.place)) for one in self.subjects)

    @cached_property
    def _other_methods(self) -> frozenset[Subject]:
        return frozenset(Subject(method, one.place) for one in self.subjects for method in COMMON_METHODS)

    def _by_minor(self, point: Point) -> Evidence | None:
        """Return what other patches of the same minors say: with one package that differs, else with several."""
        for most in (1, len(point)):
            found = {
                evidence
                for other in self._minors.get(_minor(point), ())
                if sum(a != b for a, b in zip(point, other, strict=True)) <= most
                if (evidence := self._exactly(other))
            }
            if found:
                return Evidence.WORKS_NEARBY if found <= GOOD else Evidence.FAILS_NEARBY
        return None

    def beside(self, point: Point) -> list[Point]:
        """List the measured pairs of the same minors."""
        return self._minors.get(_minor(point), [])

    @cached_property
    def _minors(self) -> dict[tuple[tuple[int, ...], ...], list[Point]]:
        minors: dict[tuple[tuple[int, ...], ...], list[Point]] = defaultdict(list)
        for point in {*self.table.points, *self.table.states}:
            minors[_minor(point)].append(point)
        return minors

    @cached_property
    def own(self) -> tuple[Point, ...]:
        """Return the pairs within the bounds that were measured on what is asked for, the newest first."""
        return self._sorted(point for point in self.table.points if self.found(point))

    @cached_property
    def nearby(self) -> tuple[Point, ...]:
        """Return the other pairs within the bounds that speak: measured on a family like it, or not importable."""
        everything = (point for point in {*self.table.points, *self.table.states} if self._exactly(point))
        return self._sorted(set(everything) - {*self.own})

    def _sorted(self, points: Iterable[Point]) -> tuple[Point, ...]:
        return tuple(sorted(filter(self.question.in_bounds, points), reverse=True))

    @cached_property
    def ranges(self) -> tuple[Range, ...]:
        """Return the ranges of versions that work, the newest first; on a family like it where it was not measured."""
        good = [point for point in self.own if self._exactly(point) is Evidence.WORKS]
        if not self.own:
            good = [point for point in self.nearby if self._exactly(point) is Evidence.WORKS_NEARBY]
        ends = self.nearby + self.own
        ranges: list[Range] = []
        for start in good:
            if len(ranges) < MOST_RANGES and not any(one.holds(start) for one in ranges):
                ranges.append(self._grown(start, ends))
        return tuple(ranges)

    def _grown(self, start: Point, ends: Sequence[Point]) -> Range:
        """Return the largest range around a pair, growing along one package after the other, in each order."""
        speaking = [point for point in ends if self._exactly(point) in GOOD]
        ladders = self._ladders
        best: Range | None = None
        for order in itertools.permutations(range(len(start))):
            box = [(ladder.index(version),) * 2 for ladder, version in zip(ladders, start, strict=True)]
            for axis in order:
                for step in (-1, 1):
                    while self._may_grow(box, axis, step, ladders):
                        low, high = box[axis]
                        box[axis] = (low - 1, high) if step < 0 else (low, high + 1)
            whole = [(ladder[low], ladder[high]) for ladder, (low, high) in zip(ladders, box, strict=True)]
            inside = [
                point
                for point in speaking
                if all(a <= version <= b for version, (a, b) in zip(point, whole, strict=True))
            ]
            own = sum(self._exactly(point) is Evidence.WORKS for point in inside)
            found = Range(
                ends=tuple((min(versions), max(versions)) for versions in zip(*inside, strict=True)),
                own=own,
                nearby=len(inside) - own,
                newest=max(point for point in inside if not own or self._exactly(point) is Evidence.WORKS),
            )
            if best is None or (found.own, found.nearby) > (best.own, best.nearby):
                best = found
        assert best is not None  # noqa: S101 - there is at least one order
        return best

    @cached_property
    def _ladders(self) -> list[list[Version]]:
        """Return the versions of each package that were measured with anything, within its own bounds, ascending."""
        everything = [*self.table.points, *self.table.states]
        bounds = [self.question.versions.get(package, "") for package in self.question.use.packages]
        return [
            sorted({point[axis] for point in everything if is_within(point[axis], spec)})
            for axis, spec in enumerate(bounds)
        ]

    def _may_grow(
        self, box: Sequence[tuple[int, int]], axis: int, step: int, ladders: Sequence[Sequence[Version]]
    ) -> bool:
        end = box[axis][0 if step < 0 else 1] + step
        if not 0 <= end < len(ladders[axis]):
            return False
        spans = [
            ladder[low : high + 1] if number != axis else [ladder[end]]
            for number, (ladder, (low, high)) in enumerate(zip(ladders, box, strict=True))
        ]
        return all(self.evidence(point) in GOOD for point in itertools.product(*spans))

    @cached_property
    def failing(self) -> tuple[Failing, ...]:
        """Return how it fails within the bounds, what is met at the newest pairs first."""
        return self.failing_at(point for point in (*self.own, *self._states_in_bounds))

    @cached_property
    def _states_in_bounds(self) -> tuple[Point, ...]:
        return self._sorted(self.table.states)

    def failing_at(self, points: Iterable[Point], subjects: Iterable[Subject] | None = None) -> tuple[Failing, ...]:
        """Gather the faults of what is asked for, or of other subjects, at some points."""
        at: dict[Fault, set[Point]] = defaultdict(set)
        who: dict[Fault, set[Subject]] = defaultdict(set)
        for point in points:
            if point in self.table.states:
                at[self.table.states[point]].add(point)
            for subject, found in self.found(point, subjects):
                for fault in found.faults:
                    at[fault].add(point)
                    who[fault].add(subject)
        found_faults = [
            Failing(fault=fault, points=tuple(sorted(at[fault], reverse=True)), subjects=frozenset(who[fault]))
            for fault in at
        ]
        return tuple(sorted(found_faults, key=lambda one: (one.points[0], len(one.points)), reverse=True))

    @cached_property
    def beyond(self) -> Failing | None:
        """Return what fails just above the first range, within the bounds: its points are those above."""
        if not self.ranges:
            return None
        first, packages = self.ranges[0], self.question.use.packages
        axis = packages.index("transformers")
        for source in (self.own, self.nearby):
            above = [
                point
                for point in source
                if point[axis] > first.ends[axis][1]
                and all(
                    low <= version <= high
                    for number, (version, (low, high)) in enumerate(zip(point, first.ends, strict=True))
                    if number != axis
                )
                and self._exactly(point) not in GOOD
            ]
            if above:
                lowest = min(point[axis] for point in above)
                subjects = self.subjects if source is self.own else self._alike
                failing = self.failing_at([point for point in above if point[axis] == lowest], subjects)
                if failing:
                    most = max(failing, key=lambda one: (len(one.subjects), len(one.points)))
                    return self._worst(failing) or most
        return None

    @staticmethod
    def _worst(failing: Sequence[Failing]) -> Failing | None:
        silent = [one for one in failing if one.fault.outcome == Outcome.WRONG]
        return max(silent, key=lambda one: (len(one.subjects), len(one.points))) if silent else None

    @cached_property
    def split(self) -> tuple[tuple[Subject, ...], tuple[Subject, ...]]:
        """Return the subjects that work somewhere within the bounds, and those that were tried and work nowhere."""
        works: set[Subject] = set()
        fails: set[Subject] = set()
        for point in self.own:
            for subject, found in self.found(point, {*self.subjects, *self.others}):
                (works if found.works else fails).add(subject)
        return tuple(sorted(works)), tuple(sorted(fails - works))

    def alone(self, subjects: Iterable[Subject]) -> Advice:
        """Ask the same of some subjects alone."""
        wanted = frozenset(subjects)
        question = Question(
            use=self.question.use,
            versions=self.question.versions,
            method="named",
            place="named",
            chosen=lambda one: one in wanted,
        )
        return Advice(self.table, question)

    @cached_property
    def elsewhere(self) -> Advice:
        """Ask the same without bounds."""
        question = Question(
            use=self.question.use,
            method=self.question.method,
            place=self.question.place,
            chosen=self.question.chosen,
        )
        return Advice(self.table, question)

    @cached_property
    def nearest(self) -> Point | None:
        """Return the nearest pair outside the bounds that works: the fewest packages changed, then the fewest steps."""
        packages = self.question.use.packages
        good = [point for point in self.elsewhere.own if self.elsewhere.evidence(point) is Evidence.WORKS]
        ladders = [sorted({point[axis] for point in self.table.points}) for axis in range(len(packages))]

        def distance(point: Point) -> tuple[int, int]:
            changed = steps = 0
            for axis, package in enumerate(packages):
                spec = self.question.versions.get(package)
                if spec is not None and not is_within(point[axis], spec):
                    changed += 1
                    steps += _steps(point[axis], spec, ladders[axis])
            return changed, steps

        # Among equals the newest, which is the first.
        return min(good, key=distance, default=None)

    def around(self, package: str) -> Iterator[Point]:
        """List the measured pairs next to the bounds of a package, on what is asked for: one below and one above."""
        axis = self.question.use.packages.index(package)
        spec = self.question.versions[package]
        inside = [point[axis] for point in {*self.table.points, *self.table.states} if is_within(point[axis], spec)]
        if not inside:
            return
        below = [point for point in self.elsewhere.own if point[axis] < min(inside)]
        above = [point for point in self.elsewhere.own if point[axis] > max(inside)]
        if below:
            yield max(below, key=lambda point: (point[axis], point))
        if above:
            nearest = min(point[axis] for point in above)
            yield max(point for point in above if point[axis] == nearest)


def _common(subjects: Iterable[Subject], field_number: int, common: Sequence[str]) -> set[Subject]:
    """Return the subjects with a common value; all of them where none has one."""
    everything = set(subjects)
    return {one for one in everything if one[field_number] in common} or everything


def _steps(version: Version, spec: str, ladder: Sequence[Version]) -> int:
    """Count the measured releases from a version to the nearest one that a specifier allows.

    A single release that was not measured stands between those that were.
    """
    here = ladder.index(version)
    if allowed := [number for number, one in enumerate(ladder) if is_within(one, spec)]:
        return min(abs(number - here) for number in allowed)
    exact = [Version(one.version) for one in SpecifierSet(spec) if one.operator == "==" and "*" not in one.version]
    if not exact:
        return len(ladder)
    place = bisect_left(ladder, exact[0])
    return here - place + 1 if here >= place else place - here


def _minor(point: Point) -> tuple[tuple[int, ...], ...]:
    return tuple(version.release[:2] for version in point)


def pip_command(facts: CellFacts, packages: Sequence[str] = ()) -> str:
    """Write the pip command for the versions that a record's cell names, or for some of its packages."""
    pins = {name: version for name, version in releases_of(facts).items() if name != "python"}
    ordered = [*(name for name in EXPLAINED if name in pins), *(name for name in pins if name not in EXPLAINED)]
    return "pip install " + " ".join(f"{name}=={pins[name]}" for name in ordered if not packages or name in packages)
