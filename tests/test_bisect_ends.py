"""Ends: from known answers, else by widening back."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.bisect.releases import NoEnds, given_ends, known_ends, steps_back, widened_ends
from harness.bisect.search import Find
from harness.contracts.records import variants_in
from tests.planted import record, state_record

if TYPE_CHECKING:
    from harness.contracts.record import Record

PASSED, FAILED = (record({"peft": "0.13.0"}, outcome) for outcome in ("passed", "error"))
SKIPPED = state_record({"peft": "0.13.0"})
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


@given(histories, finds, st.data())
def test_known_ends_are_the_newest_pair_that_differs(
    history: list[Record], find: Find | None, data: st.DataObject
) -> None:
    """Between the two nothing is known, and no newer pair does as well."""
    places = data.draw(st.sets(st.integers(0, len(history) - 1)))
    known = {place: history[place] for place in places}
    ends = known_ends(known, find)
    answered = sorted(place for place in known if known[place] is not SKIPPED)
    pairs = [
        (low, high)
        for low, high in pairwise(answered)
        if known[low] is not known[high]
        and find in {None, Find.FIRST_BAD if known[high] is FAILED else Find.FIRST_FIXED}
    ]
    assert (ends and (ends.low, ends.high)) == (pairs[-1] if pairs else None)


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
