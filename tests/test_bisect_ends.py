"""Ends: from known answers, else by widening back."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.bisect.releases import HINTED, WIDENED, NoEnds, ends_at_newest, given_ends, steps_back, widened_ends
from harness.bisect.search import Find, Search
from harness.bisect.symptom import fails, symptom_of
from harness.contracts.records import variants_in
from tests.planted import record, state_record

if TYPE_CHECKING:
    from harness.contracts.record import Record

PASSED, FAILED = (record({"peft": "0.13.0"}, outcome) for outcome in ("passed", "error"))
SKIPPED = state_record({"peft": "0.13.0"})
OTHER = replace(record({"peft": "0.13.0"}, "error"), signature="KeyError: other")
NEW = replace(record({"peft": "0.13.0"}, "error"), signature="TypeError: never before")
histories = st.lists(st.sampled_from([PASSED, FAILED, SKIPPED]), min_size=1, max_size=40)
finds = st.none() | st.sampled_from(list(Find))


@given(st.integers(0, 500), st.integers(0, 500))
def test_steps_double_and_end_at_the_floor(start: int, floor: int) -> None:
    """1, 2, 4, 8 ... back, the floor itself last, nothing below it."""
    steps = list(steps_back(start, floor))
    if start <= floor:
        assert steps == []
        return
    assert steps[-1] == floor
    assert [start - one for one in steps[:-1]] == [1 << power for power in range(len(steps) - 1)]
    assert len(steps) <= (start - floor).bit_length() + 1


@given(histories, finds)
def test_widening_gives_ends_that_answer_as_they_should(history: list[Record], find: Find | None) -> None:
    """The old end and the new end differ as the direction says; nothing is found only when there is nothing to find."""
    asked: list[int] = []

    def ask(index: int, _why: str) -> Record:
        asked.append(index)
        return history[index]

    try:
        ends = widened_ends(ask, len(history) - 1, good=None, bad=None, find=find)
    except NoEnds:
        assert len({one.outcome for one in variants_in(history[index] for index in asked)}) < 2 or find
        return
    assert ends.low < ends.high
    assert find in {None, ends.find}
    assert history[ends.low] is (PASSED if ends.find is Find.FIRST_BAD else FAILED)
    assert history[ends.high] is (FAILED if ends.find is Find.FIRST_BAD else PASSED)
    assert {ends.low, ends.high} <= set(asked)


@given(histories, st.data())
def test_widening_from_one_end_that_is_given(history: list[Record], data: st.DataObject) -> None:
    """With the bad end given an older good one is looked for, with the good one a newer bad or an older bad one."""
    end = data.draw(st.integers(0, len(history) - 1))
    if history[end] is SKIPPED:
        return

    def ask(index: int, _why: str) -> Record:
        return history[index]

    is_bad = history[end] is FAILED
    try:
        ends = widened_ends(ask, len(history) - 1, good=None if is_bad else end, bad=end if is_bad else None, find=None)
    except NoEnds:
        return
    assert ends.low < ends.high
    assert history[ends.low] is (PASSED if ends.find is Find.FIRST_BAD else FAILED)
    assert history[ends.high] is (FAILED if ends.find is Find.FIRST_BAD else PASSED)
    assert not is_bad or (ends.find is Find.FIRST_BAD and ends.high <= end)


@st.composite
def hinted(draw: st.DrawFn) -> tuple[list[Record], dict[int, Record]]:
    """Draw a history with several failures and skips, and records of some places, of which some are not true."""
    history: list[Record] = draw(st.lists(st.sampled_from([PASSED, FAILED, OTHER, SKIPPED]), max_size=40))
    places = draw(st.sets(st.integers(0, max(0, len(history) - 1)))) if history else set()
    lies = draw(st.sets(st.sampled_from(sorted(places)))) if places else set()
    hints: dict[int, Record] = {
        place: draw(st.sampled_from([PASSED, FAILED, OTHER])) if place in lies else history[place] for place in places
    }
    return history, hints


@given(hinted())
def test_a_failing_newest_release_is_what_is_found(drawn: tuple[list[Record], dict[int, Record]]) -> None:
    """Whatever the history and the records of it, a new release that fails in its own way is named, and asked first."""
    history, hints = drawn
    history.append(NEW)
    asked: list[int] = []

    def ask(index: int, _why: str) -> Record:
        asked.append(index)
        return history[index]

    newest = len(history) - 1
    try:
        ends, _ = ends_at_newest(ask, newest, hints, find=None)
    except NoEnds:
        assert asked[0] == newest
        assert not any(variants_in(history[index] for index in set(asked) - {newest}))
        return
    assert asked[0] == newest
    assert ends.find is Find.FIRST_BAD
    rule = symptom_of(history[newest])
    measured = {index: rule.answer(history[index]) for index in asked}
    search = Search(ends.find, ends.low, ends.high, measured=measured)
    while (request := search.next()) is not None:
        search.tell(request.index, rule.answer(history[request.index]))
    change = search.finding().change
    assert change is not None
    assert change.right == newest
    assert all(history[index] is SKIPPED for index in change.between if index in search.answers())


@given(hinted(), finds)
def test_the_ends_are_true_and_nothing_newer_is_known(
    drawn: tuple[list[Record], dict[int, Record]], find: Find | None
) -> None:
    """The newest release that answers says what is looked for; both ends were asked, and no newer answer differs."""
    history, hints = drawn
    if not history:
        return
    asked: list[int] = []

    def ask(index: int, _why: str) -> Record:
        asked.append(index)
        return history[index]

    try:
        ends, _ = ends_at_newest(ask, len(history) - 1, hints, find=find)
    except NoEnds:
        return
    assert asked[0] == len(history) - 1
    assert {ends.low, ends.high} <= set(asked)
    assert find in {None, ends.find}
    newest = max(index for index in asked if history[index] is not SKIPPED)
    bad, good = (ends.high, ends.low) if ends.find is Find.FIRST_BAD else (ends.low, ends.high)
    assert fails(history[bad])
    assert history[good] is not history[bad]
    if find is None:
        assert fails(history[newest]) == (ends.find is Find.FIRST_BAD)
        above = [history[index] for index in asked if index > ends.low and history[index] is not SKIPPED]
        # A failure that is another one is neither end.
        assert all(fails(one) == (ends.find is Find.FIRST_BAD) for one in above)


def test_a_record_that_does_not_hold_here_is_no_end() -> None:
    """The published records say that the release before passes; asked, it fails alike, and the search goes back."""
    history: list[Record] = [*[PASSED] * 5, *[FAILED] * 5]
    ends, source = ends_at_newest(lambda index, _why: history[index], 9, {8: PASSED}, find=None)
    assert (history[ends.low], history[ends.high]) == (PASSED, FAILED)
    assert source == WIDENED
    ends, source = ends_at_newest(lambda index, _why: history[index], 9, {4: PASSED, 5: FAILED}, find=None)
    assert (ends.low, ends.high, source) == (4, 5, HINTED)


def test_given_ends_say_what_is_looked_for() -> None:
    """Good before bad is a break, bad before good is a fix."""
    assert given_ends(3, 9).find is Find.FIRST_BAD
    assert given_ends(9, 3).find is Find.FIRST_FIXED


def test_nothing_to_bisect_is_said_with_what_to_do() -> None:
    """Everything passes: there is no break to find."""
    with pytest.raises(NoEnds, match="name one with --bad"):
        widened_ends(lambda _index, _why: PASSED, 9, good=None, bad=None, find=None)


def test_between_the_last_answer_and_what_is_too_old_the_gap_is_halved() -> None:
    """Steps of 1, 2, 4 ... 64 jump over the releases that fail into those that cannot be installed."""
    history: list[Record] = [SKIPPED] * 100 + [FAILED] * 30 + [PASSED] * 70
    ends = widened_ends(lambda index, _why: history[index], 199, good=None, bad=None, find=None)
    assert ends.find is Find.FIRST_FIXED
    assert history[ends.low] is FAILED
    assert history[ends.high] is PASSED


@pytest.mark.parametrize("find", [None, Find.FIRST_BAD])
def test_what_cannot_be_there_is_not_asked_of_every_release(find: Find | None) -> None:
    """Three ready cells that say the same, such as a package that nobody pinned, speak for the older ones."""
    unsupported = replace(record({"peft": "0.13.0"}, "unsupported"), message="sentence_transformers is not installed")
    asked: list[int] = []

    def ask(index: int, _why: str) -> Record:
        asked.append(index)
        return unsupported

    with pytest.raises(NoEnds, match="sentence_transformers is not installed; --pin"):
        ends_at_newest(ask, 60, {}, find=find)
    assert asked == [60, 59, 58]


@given(st.integers(1, 40), st.integers(0, 40))
def test_a_variant_that_is_new_is_found_behind_cells_that_were_never_ready(skips: int, older: int) -> None:
    """Cells that cannot be resolved say nothing of the older ones: the newest that answers is behind them."""
    history = [PASSED] * older + [FAILED] + [SKIPPED] * skips
    try:
        ends, _ = ends_at_newest(lambda index, _why: history[index], len(history) - 1, {}, find=None)
    except NoEnds:
        assert older == 0
    else:
        assert (ends.low, ends.high) == (older - 1, older)
