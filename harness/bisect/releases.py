"""One axis: search the releases of one package while everything else is held."""

from __future__ import annotations

from bisect import bisect_left
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Protocol

from packaging.version import InvalidVersion, Version

from harness.bisect.search import Answer, Find, Finding, Search
from harness.bisect.symptom import fails, has_no_answer, shown, symptom_of, words_of
from harness.contracts.record import VariantRecord
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
    Wanted = Callable[[Record], bool | None]


_NEAR = 3
WIDENED = "by going back from the newest release"
HINTED = "from the newest release and from records, verified"
OTHERWISE = "fails otherwise"
"""How a candidate stands that fails without the symptom: neither good nor bad."""


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
    differ in more than the axis. ``published`` are records that others measured at candidates: they are told of, and
    no answers.
    """

    axis: Axis
    ends: Ends
    ends_from: str
    finding: Finding
    rule: Rule | None
    records: Mapping[int, Record]
    came_along: Mapping[str, tuple[str, str]]
    published: Mapping[int, Record] = field(default_factory=dict)

    def answer(self, index: int) -> Answer:
        """Return the answer of a candidate that has a record."""
        return self.rule.answer(self.records[index]) if self.rule else Answer.SKIP

    def standing(self, index: int) -> str:
        """Say how a candidate stands: ``good``, ``bad``, ``skip``, or ``fails otherwise``: in another way.

        A record that was measured here goes before a published one.
        """
        record = self.records.get(index) or self.published[index]
        answer = self.rule.answer(record) if self.rule else Answer.SKIP
        return OTHERWISE if answer is Answer.GOOD and fails(record) else str(answer)


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
        self._published = prober.published(axis.cells)
        self._known = {
            index: record
            for index, cell in enumerate(axis.cells)
            if asking.is_new(cell.id) and (record := prober.known(cell)) is not None
        }

    def run(self, *, good: int | None, bad: int | None, find: Find | None, any_failure: bool) -> Found:
        """Find the ends, verify them, and search between them. Raises :class:`NoEnds`."""
        ends, ends_from = self._ends(good, bad, find, any_failure=any_failure)
        widened = {index: record for index, record in self._first.items() if index not in self._known}
        bad_end, good_end = (ends.high, ends.low) if ends.find is Find.FIRST_BAD else (ends.low, ends.high)
        # Nobody named the failure that was fixed: then it is fixed once nothing fails any more.
        unnamed = ends.find is Find.FIRST_FIXED and bad is None
        rule = self._rule(bad_end, good_end, any_failure=any_failure or unnamed)
        if rule is None:
            answer = Answer.SKIP if has_no_answer(self._first[bad_end]) else Answer.GOOD
            return self._found(ends, ends_from, _refusal(bad_end, answer), None)
        if good is not None and self._make_rule is None and fails(record := self.ask(good, "end")):
            # Without the symptom is not good: whatever changed towards this end, it is no working release.
            answer = rule.answer(record)
            return self._found(ends, ends_from, _refusal(good, answer), rule)
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

    def _ends(self, good: int | None, bad: int | None, find: Find | None, *, any_failure: bool) -> tuple[Ends, str]:
        if good is not None and bad is not None:
            return given_ends(good, bad), "as given"
        newest = len(self._axis.releases) - 1
        if good is not None or bad is not None:
            return widened_ends(self.ask, newest, good=good, bad=bad, find=find), WIDENED
        hints = {**self._published, **self._known}
        return ends_at_newest(self.ask, newest, hints, find=find, any_failure=any_failure)

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
            came_along=came_along, published=self._published,
        )  # fmt: skip


def _refusal(end: int, answer: Answer) -> Finding:
    """Return the finding of a search that an end ends: it does not answer as it was said to."""
    return Finding(change=None, others=(), refused=(end, answer), flaky=(), probes=1, repeats=0, skips=0)


def differences(left: Lock | None, right: Lock | None, *, leave_out: str) -> dict[str, tuple[str, str]]:
    """Map what differs between two locks, one package apart, to its two versions; ``-`` where it is absent."""
    if left is None or right is None:
        return {}
    old, new = left.versions, right.versions
    names = sorted(name for name in old.keys() | new.keys() if old.get(name) != new.get(name) and name != leave_out)
    return {name: (old.get(name, "-"), new.get(name, "-")) for name in names}


_SAME_WORDS = 3
"""So many releases that say the same of why a variant cannot be there speak for the older ones."""


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


def ends_at_newest(
    ask: Ask, newest: int, hints: Mapping[int, Record], *, find: Find | None, any_failure: bool = False
) -> tuple[Ends, str]:
    """Find the ends of the change nearest to the newest release, which is asked first; say where they come from.

    Where it fails, the other end is the nearest older release without that very failure; where it passes, the nearest
    one that fails. ``hints`` are records of candidates that say where that may be: each is asked before it counts, and
    without them the search goes back in steps of 1, 2, 4, 8. Raises :class:`NoEnds`.
    """
    newest = _newest_answering(ask, newest, "newest")
    record = ask(newest, "newest")
    natural = Find.FIRST_BAD if fails(record) else Find.FIRST_FIXED
    if find not in {None, natural} or has_no_answer(record):
        return widened_ends(ask, newest, good=None, bad=None, find=find or natural), WIDENED
    rule = symptom_of(record, any_failure=any_failure) if fails(record) else None

    def differs(other: Record) -> bool | None:
        if has_no_answer(other) or (rule and rule.answer(other) is Answer.SKIP):
            return None
        return fails(other) if rule is None else rule.answer(other) is Answer.GOOD

    told = {index: answer for index, one in hints.items() if index < newest and (answer := differs(one)) is not None}
    low = max((index for index, answer in told.items() if answer), default=None)
    if low is not None and differs(ask(low, "end")):
        # The nearest hint above it, if that holds too, leaves only what lies between the two to be asked.
        high = min((index for index in told if index > low), default=newest)
        answer = differs(ask(high, "end"))
        if answer is not False:
            # It does not hold; where it is like the other end, the change is nearer still.
            low, high = (high if answer else low), newest
        return Ends(low=low, high=high, find=natural), HINTED
    low, high = _walk(ask, newest, 0, wanted=differs, what=_BAD_END if rule is None else _WITHOUT)
    return Ends(low=low, high=high, find=natural), WIDENED


def widened_ends(ask: Ask, newest: int, *, good: int | None, bad: int | None, find: Find | None) -> Ends:
    """Find the ends that were not given by asking further and further back: 1, 2, 4, 8 ... releases.

    Without ``find`` the newest release decides: where it fails its break is looked for, where it
    passes the fix. Raises :class:`NoEnds`.
    """
    if good is not None and bad is not None:
        return given_ends(good, bad)
    if bad is not None and find is not Find.FIRST_FIXED:
        low, high = _walk(ask, bad, 0, wanted=_passing, what=_GOOD_END)
        return Ends(low=low, high=min(high, bad), find=Find.FIRST_BAD)
    if find is None:
        # Steps from a release that does not answer could jump over the newest one that does.
        newest = _newest_answering(ask, newest, "widening")
        find = Find.FIRST_BAD if fails(ask(newest, "widening")) else Find.FIRST_FIXED
    given = good if find is Find.FIRST_BAD else bad
    if good is not None and find is Find.FIRST_FIXED:
        high = good
    else:
        floor = 0 if given is None else given + 1
        high, _ = (
            _walk(ask, newest, floor, wanted=_failing, what=_BAD_END, itself=True)
            if find is Find.FIRST_BAD
            else _walk(ask, newest, floor, wanted=_passing, what=_GOOD_END, itself=True)
        )
    if given is not None:
        return Ends(low=given, high=high, find=find)
    low, high = (
        _walk(ask, high, 0, wanted=_failing, what=_BAD_END)
        if find is Find.FIRST_FIXED
        else _walk(ask, high, 0, wanted=_passing, what=_GOOD_END)
    )
    return Ends(low=low, high=high, find=find)


def steps_back(start: int, floor: int) -> Iterator[int]:
    """Yield indices 1, 2, 4, 8 ... before ``start``, and last the ``floor`` itself."""
    step = 1
    while start - step > floor:
        yield start - step
        step *= 2
    if start > floor:
        yield floor


_GOOD_END = "that passes was found in going back; name one with --good"
_BAD_END = "that fails was found in going back; name one with --bad"
_WITHOUT = "without this failure was found in going back; name one with --good"


def _newest_answering(ask: Ask, newest: int, why: str) -> int:
    """Return the newest release that answers, else ``newest``, asking from it back one by one.

    Raises :class:`NoEnds` when a few cells that were ready all say the same of why the variant cannot be there: then
    the next will, too.
    """
    said: list[str] = []
    for index in range(newest, -1, -1):
        record = ask(index, why)
        if not has_no_answer(record):
            return index
        if isinstance(record, VariantRecord):
            said.append(words_of(record))
            if len(said) == _SAME_WORDS and len(set(said)) == 1:
                message = f"the newest releases do not answer: {shown(record)}; --pin what it needs, or name an end"
                raise NoEnds(message)
    return newest


def _walk(ask: Ask, start: int, floor: int, *, wanted: Wanted, what: str, itself: bool = False) -> tuple[int, int]:
    """Go back from ``start`` to an answer that is ``wanted``; give it and the answered one after it.

    Steps that grow may jump from releases that all answer alike to those too old to be asked. Then
    the gap between the two is halved, towards the oldest release that can be asked. ``what`` says in an error
    what was looked for.
    """
    after, unanswered = start, None
    for index in [*([start] if itself else []), *steps_back(start, floor)]:
        answer = wanted(ask(index, "widening"))
        if answer is None:
            unanswered = index if unanswered is None else unanswered
            continue
        if answer:
            return index, after
        after, unanswered = index, None
    while unanswered is not None and after - unanswered > 1:
        middle = (after + unanswered) // 2
        answer = wanted(ask(middle, "widening"))
        if answer is None:
            unanswered = middle
        elif answer:
            return middle, after
        else:
            after = middle
    message = f"no release {what}"
    raise NoEnds(message)


def _passing(record: Record) -> bool | None:
    return None if has_no_answer(record) else not fails(record)


def _failing(record: Record) -> bool | None:
    return None if has_no_answer(record) else fails(record)
