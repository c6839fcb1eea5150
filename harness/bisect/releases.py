"""One axis: search the releases of one package while everything else is held."""

from __future__ import annotations

from bisect import bisect_left
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Protocol

from packaging.version import InvalidVersion, Version

from harness.bisect.search import Answer, Find, Finding, Search
from harness.bisect.symptom import fails, has_no_answer, passed, symptom_of
from harness.errors import ExitStatus, HarnessError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from harness.bisect.probe import Prober
    from harness.bisect.question import Asking
    from harness.contracts.record import Record
    from harness.environments.releases import Release
    from harness.environments.resolve import Lock
    from harness.matrix.spec import Cell

    Ask = Callable[[int, str], Record]


_NEAR = 3


class Rule(Protocol):
    """Turns records into answers."""

    def answer(self, record: Record) -> Answer:
        """Say good, bad or skip."""

    def describe(self) -> str:
        """Say in one line what is bad."""


@dataclass(frozen=True, kw_only=True)
class Axis:
    """The candidates of one package, old to new, each with the cell that it is measured in."""

    package: str
    releases: tuple[Release, ...]
    cells: tuple[Cell, ...]

    def index(self, version: str) -> int:
        """Return the index of a version. Raises :class:`UsageError` when it is no candidate."""
        for index, one in enumerate(self.releases):
            if one.version == version:
                return index
        message = (
            f"{self.package} {version} is no candidate (pre-releases and yanked ones are left out); "
            f"near it: {', '.join(self._near(version))}"
        )
        raise UsageError(message)

    def _near(self, version: str) -> list[str]:
        place = len(self.releases)
        with suppress(InvalidVersion):
            place = bisect_left(self.releases, Version(version), key=lambda one: Version(one.version))
        return [one.version for one in self.releases[max(0, place - _NEAR) : place + _NEAR]]


@dataclass(frozen=True, kw_only=True)
class Found:
    """What a search over one axis came to. Indices are those of the axis.

    ``came_along`` maps packages to their versions on both sides of the change, where the locks
    differ in more than the axis.
    """

    axis: Axis
    ends: Ends
    ends_from: str
    finding: Finding
    rule: Rule | None
    records: Mapping[int, Record]
    came_along: Mapping[str, tuple[str, str]]

    def answer(self, index: int) -> Answer:
        """Return the answer of a candidate that has a record."""
        return self.rule.answer(self.records[index]) if self.rule else Answer.SKIP


def make_axis(package: str, releases: tuple[Release, ...], held: Cell, *, follow_dates: bool = False) -> Axis:
    """Put each release into the held cell; with ``follow_dates`` in the state of the day it was uploaded.

    Raises :class:`UsageError` when the index does not say when.
    """
    cells = []
    for one in releases:
        cell = replace(held, pins={**held.pins, package: one.version})
        if follow_dates:
            if one.uploaded is None:
                message = (
                    f"--as-of-axis: the package index does not say when {package} {one.version} was uploaded; "
                    "pin the others instead (--pin PACKAGE=VERSION), or use an index with upload times"
                )
                raise UsageError(message)
            cell = replace(cell, as_of=one.uploaded.date())
        cells.append(cell)
    return Axis(package=package, releases=releases, cells=tuple(cells))


class AxisSearch:
    """Searches one axis; asks by index, and remembers the first record of each."""

    def __init__(
        self, axis: Axis, asking: Asking, prober: Prober, *, make_rule: Callable[[Record, Record], Rule] | None
    ) -> None:
        """``make_rule`` takes the records of the bad and the good end; without it the bad end's failure is the rule."""
        self._axis, self._asking, self._prober, self._make_rule = axis, asking, prober, make_rule
        self._first: dict[int, Record] = {}
        self._known = {
            index: record
            for index, cell in enumerate(axis.cells)
            if asking.is_new(cell.id) and (record := prober.known(cell)) is not None
        }

    def run(self, *, good: int | None, bad: int | None, find: Find | None, any_failure: bool) -> Found:
        """Find the ends, verify them, and search between them. Raises :class:`NoEnds`."""
        ends, ends_from = self._ends(good, bad, find)
        widened = {index: record for index, record in self._first.items() if index not in self._known}
        bad_end, good_end = (ends.high, ends.low) if ends.find is Find.FIRST_BAD else (ends.low, ends.high)
        # Nobody named the failure that was fixed: then it is fixed once nothing fails any more.
        unnamed = ends.find is Find.FIRST_FIXED and bad is None
        rule = self._rule(bad_end, good_end, any_failure=any_failure or unnamed)
        if rule is None:
            answer = Answer.SKIP if has_no_answer(self._first[bad_end]) else Answer.GOOD
            finding = Finding(change=None, others=(), refused=(bad_end, answer), flaky=(), probes=1, repeats=0, skips=0)
            return self._found(ends, ends_from, finding, None)
        search = Search(
            ends.find,
            ends.low,
            ends.high,
            known={index: rule.answer(record) for index, record in self._known.items()},
            measured={index: rule.answer(record) for index, record in widened.items()},
        )
        while (ask := search.next()) is not None:
            self._prober.prepare([self._axis.cells[index] for index in search.likely(ask.index)])
            search.tell(ask.index, rule.answer(self.ask(ask.index, ask.why)))
        return self._found(ends, ends_from, search.finding(), rule)

    def ask(self, index: int, why: str) -> Record:
        """Return the record of a candidate; only a repeat asks again for what was asked before."""
        if index in self._first and why != "repeat":
            return self._first[index]
        cell = self._axis.cells[index]
        record = self._asking.ask(
            cell.id,
            f"{self._axis.package} {self._axis.releases[index].version}",
            why,
            known=self._known.get(index),
            measure=lambda: self._prober.measure(cell),
        )
        self._first.setdefault(index, record)
        return record

    def _ends(self, good: int | None, bad: int | None, find: Find | None) -> tuple[Ends, str]:
        if good is not None and bad is not None:
            return given_ends(good, bad), "as given"
        if good is None and bad is None and (ends := known_ends(self._known, find)) is not None:
            return ends, "from earlier runs"
        if good is None and bad is None and (ends := self._published_ends(find)) is not None:
            return ends, "from the published records, verified"
        newest = len(self._axis.releases) - 1
        return widened_ends(self.ask, newest, good=good, bad=bad, find=find), "by widening back from the newest"

    def _published_ends(self, find: Find | None) -> Ends | None:
        """Take ends from published records, if they answer here as they did there."""
        ends = known_ends(self._prober.published(self._axis.cells), find)
        if ends is None:
            return None
        bad, good = (ends.high, ends.low) if ends.find is Find.FIRST_BAD else (ends.low, ends.high)
        holds = fails(self.ask(bad, "end")) and passed(self.ask(good, "end"))
        return ends if holds else None

    def _rule(self, bad_end: int, good_end: int, *, any_failure: bool) -> Rule | None:
        record = self.ask(bad_end, "end")
        if self._make_rule is not None:
            return self._make_rule(record, self.ask(good_end, "end"))
        return symptom_of(record, any_failure=any_failure) if fails(record) else None

    def _found(self, ends: Ends, ends_from: str, finding: Finding, rule: Rule | None) -> Found:
        came_along: dict[str, tuple[str, str]] = {}
        if finding.change is not None:
            locks = [
                self._prober.locks.kept(self._axis.cells[one]) for one in (finding.change.left, finding.change.right)
            ]
            came_along = differences(*locks, leave_out=self._axis.package)
        records = {**self._known, **self._first}
        return Found(
            axis=self._axis, ends=ends, ends_from=ends_from, finding=finding, rule=rule, records=records,
            came_along=came_along,
        )  # fmt: skip


def differences(left: Lock | None, right: Lock | None, *, leave_out: str) -> dict[str, tuple[str, str]]:
    """Map what differs between two locks, one package apart, to its two versions; ``-`` where it is absent."""
    if left is None or right is None:
        return {}
    old, new = left.versions, right.versions
    names = sorted(name for name in old.keys() | new.keys() if old.get(name) != new.get(name) and name != leave_out)
    return {name: (old.get(name, "-"), new.get(name, "-")) for name in names}


class NoEnds(HarnessError):
    """Every release that was asked answers the same: there is nothing to bisect."""

    exit_status = ExitStatus.NEEDS_A_PERSON


@dataclass(frozen=True, kw_only=True)
class Ends:
    """The old end and the new end as indices of candidates, and what is looked for between them."""

    low: int
    high: int
    find: Find


def given_ends(good: int, bad: int) -> Ends:
    """Make ends of a good and a bad candidate: their order says what is looked for."""
    return Ends(low=min(good, bad), high=max(good, bad), find=Find.FIRST_BAD if good < bad else Find.FIRST_FIXED)


def known_ends(known: Mapping[int, Record], find: Find | None) -> Ends | None:
    """Return the newest pair of known neighbours of which one passes and one fails, in the direction asked for."""
    answered = [index for index in sorted(known) if not has_no_answer(known[index])]
    for low, high in reversed(list(pairwise(answered))):
        if fails(known[low]) != fails(known[high]):
            found = Ends(low=low, high=high, find=Find.FIRST_BAD if fails(known[high]) else Find.FIRST_FIXED)
            if find in {None, found.find}:
                return found
    return None


def widened_ends(ask: Ask, newest: int, *, good: int | None, bad: int | None, find: Find | None) -> Ends:
    """Find the ends that were not given by asking further and further back: 1, 2, 4, 8 ... releases.

    Without ``find`` the newest release decides: where it fails its break is looked for, where it
    passes the fix. Raises :class:`NoEnds`.
    """
    if good is not None and bad is not None:
        return given_ends(good, bad)
    if bad is not None and find is not Find.FIRST_FIXED:
        low, high = _walk(ask, bad, 0, failing=False)
        return Ends(low=low, high=min(high, bad), find=Find.FIRST_BAD)
    if find is None:
        # The newest release that answers; steps from one that does not could jump over it.
        newest = next((index for index in range(newest, -1, -1) if not has_no_answer(ask(index, "widening"))), newest)
        find = Find.FIRST_BAD if fails(ask(newest, "widening")) else Find.FIRST_FIXED
    given = good if find is Find.FIRST_BAD else bad
    if good is not None and find is Find.FIRST_FIXED:
        high = good
    else:
        high, _ = _walk(ask, newest, 0 if given is None else given + 1, failing=find is Find.FIRST_BAD, itself=True)
    if given is not None:
        return Ends(low=given, high=high, find=find)
    low, high = _walk(ask, high, 0, failing=find is Find.FIRST_FIXED)
    return Ends(low=low, high=high, find=find)


def steps_back(start: int, floor: int) -> Iterator[int]:
    """Yield indices 1, 2, 4, 8 ... before ``start``, and last the ``floor`` itself."""
    step = 1
    while start - step > floor:
        yield start - step
        step *= 2
    if start > floor:
        yield floor


def _walk(ask: Ask, start: int, floor: int, *, failing: bool, itself: bool = False) -> tuple[int, int]:
    """Go back from ``start`` to an answer that fails (or passes); give it and the answered one after it.

    Steps that grow may jump from releases that all answer alike to those too old to be asked. Then
    the gap between the two is halved, towards the oldest release that can be asked.
    """
    after, unanswered = start, None
    for index in [*([start] if itself else []), *steps_back(start, floor)]:
        record = ask(index, "widening")
        if has_no_answer(record):
            unanswered = index if unanswered is None else unanswered
            continue
        if fails(record) == failing:
            return index, after
        after, unanswered = index, None
    while unanswered is not None and after - unanswered > 1:
        middle = (after + unanswered) // 2
        record = ask(middle, "widening")
        if has_no_answer(record):
            unanswered = middle
        elif fails(record) == failing:
            return middle, after
        else:
            after = middle
    what = "fails" if failing else "passes"
    message = f"no release that {what} was found in going back; name one with {'--bad' if failing else '--good'}"
    raise NoEnds(message)
