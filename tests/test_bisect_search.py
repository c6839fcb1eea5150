"""The search against brute force: random histories with skips, flakes and several changes."""

from __future__ import annotations

import math
from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.bisect.search import Answer, Change, Find, Search, bound, changes, choose, halvings, settle

GOOD, BAD, SKIP = Answer.GOOD, Answer.BAD, Answer.SKIP


@st.composite
def histories(draw: st.DrawFn, *, monotone: bool = False) -> tuple[Find, list[Answer]]:
    """Draw what a line of releases would answer; the ends answer as the search needs them."""
    find = draw(st.sampled_from(list(Find)))
    if monotone:
        old, new = draw(st.integers(0, 40)), draw(st.integers(0, 40))
        inner = [find.old] * old + [find.new] * new
        skips = draw(st.sets(st.integers(0, 80), max_size=old + new))
        inner = [SKIP if place in skips else answer for place, answer in enumerate(inner)]
    else:
        inner = draw(st.lists(st.sampled_from([GOOD, BAD, SKIP]), max_size=60))
    return find, [find.old, *inner, find.new]


def run(search: Search, history: list[Answer], lies: Counter[int] | None = None) -> list[int]:
    """Ask until the search has enough; a candidate in ``lies`` first answers the opposite that often."""
    asked = []
    while (ask := search.next()) is not None:
        asked.append(ask.index)
        answer = history[ask.index]
        if lies and lies[ask.index] > 0:
            lies[ask.index] -= 1
            answer = {GOOD: BAD, BAD: GOOD, SKIP: SKIP}[answer]
        search.tell(ask.index, answer)
        assert len(asked) < 10 * len(history) + 50, "the search does not end"
    return asked


def brute(history: list[Answer]) -> list[tuple[int, int]]:
    """List the neighbours with different answers, looking through skips, by going over all of it."""
    answered = [place for place, answer in enumerate(history) if answer is not SKIP]
    return [(left, right) for left, right in pairwise(answered) if history[left] is not history[right]]


def is_within_bound(history: list[Answer], asked: list[int], find: Find) -> bool:
    """Hold the number of candidates asked against what is promised."""
    skips = sum(history[place] is SKIP for place in set(asked))
    assert find
    return len(set(asked)) <= math.ceil(math.log2(len(history))) + 2 + skips


@given(histories(monotone=True))
def test_one_change_is_found_as_brute_force_finds_it(drawn: tuple[Find, list[Answer]]) -> None:
    """With one change the answer is that change, and what is open is what could not be asked."""
    find, history = drawn
    search = Search(find, 0, len(history) - 1)
    asked = run(search, history)
    finding = search.finding()
    ((left, right),) = brute(history)
    assert finding.change == Change(left=left, right=right, becomes=find.new, between=tuple(range(left + 1, right)))
    assert all(history[place] is SKIP for place in finding.change.between)
    assert finding.others == ()
    assert finding.flaky == ()
    assert is_within_bound(history, asked, find)
    assert finding.repeats == len(asked) - len(set(asked)) <= 2
    assert finding.probes == len(set(asked))


@given(histories(), st.data())
def test_with_several_changes_every_one_told_is_true(drawn: tuple[Find, list[Answer]], data: st.DataObject) -> None:
    """Known answers are used, never asked, and show what they show; the answer is a change of brute force's."""
    find, history = drawn
    known_places = data.draw(st.sets(st.integers(0, len(history) - 1)))
    known = {place: history[place] for place in known_places}
    search = Search(find, 0, len(history) - 1, known=known)
    asked = run(search, history)
    assert not known.keys() & set(asked)
    assert is_within_bound(history, asked, find)
    finding = search.finding()
    assert finding.change is not None
    assert (finding.change.left, finding.change.right) in brute(history)
    assert finding.change.becomes is find.new
    # What is known leaves nothing older to look at: the newest known break is the one that is narrowed.
    assert finding.change.left >= max((place for place, one in known.items() if one is find.old), default=0)
    seen = {place: history[place] for place in {*known, *asked}}
    told = {(one.left, one.right) for one in (finding.change, *finding.others)}
    assert told == {(one.left, one.right) for one in changes(seen)}
    if len(seen) == len(history):
        assert told == set(brute(history))


@given(histories(monotone=True), st.data())
def test_a_candidate_that_lies_is_outvoted(drawn: tuple[Find, list[Answer]], data: st.DataObject) -> None:
    """Every candidate may answer wrongly the first time, ends apart: a quorum finds the change all the same."""
    find, history = drawn
    inner = st.integers(1, max(1, len(history) - 2))
    lies = Counter(data.draw(st.sets(inner, max_size=6)) - {len(history) - 1})
    lying = Counter(lies)
    search = Search(find, 0, len(history) - 1)
    run(search, history, lies)
    finding = search.finding()
    ((left, right),) = brute(history)
    assert finding.change is not None
    assert (finding.change.left, finding.change.right) == (left, right)
    assert all(lying[place] for place in finding.flaky)


@given(histories(), st.data())
def test_a_stopped_search_goes_on_where_it_was(drawn: tuple[Find, list[Answer]], data: st.DataObject) -> None:
    """The answers so far are all the state there is."""
    find, history = drawn
    whole = Search(find, 0, len(history) - 1)
    asked = run(whole, history)
    cut = data.draw(st.integers(0, len(asked)))
    again = Search(find, 0, len(history) - 1)
    for index in asked[:cut]:
        again.tell(index, history[index])
    assert run(again, history) == asked[cut:]
    assert again.finding() == whole.finding()


@given(st.sampled_from(list(Find)), st.integers(1, 30), st.sampled_from([GOOD, BAD, SKIP]), st.booleans())
def test_an_end_that_does_not_answer_as_said_ends_the_search(
    find: Find, high: int, answer: Answer, at_low: bool
) -> None:
    """Ends are asked first, and nothing else when one of them is not what it was said to be."""
    end, expected = (0, find.old) if at_low else (high, find.new)
    history = [find.old, *[find.old] * (high - 1), find.new]
    history[end] = answer
    search = Search(find, 0, high)
    asked = run(search, history)
    if answer is expected:
        assert search.finding().refused is None
    else:
        assert search.finding().refused == (end, answer)
        assert search.finding().change is None
        assert set(asked) == {0, high}


def test_the_bad_end_is_asked_first() -> None:
    """What the bad end shows is the symptom that all others are held against."""
    for find, end in ((Find.FIRST_BAD, 9), (Find.FIRST_FIXED, 0)):
        ask = Search(find, 0, 9).next()
        assert ask is not None
        assert (ask.index, ask.why) == (end, "end")


def test_what_is_left_of_the_bound_looks_for_a_second_change() -> None:
    """Good, bad, good, bad, with known ends: the spare probes fall into the silence and see it."""
    history = [GOOD] * 4 + [BAD] * 8 + [GOOD] * 9 + [BAD] * 2
    search = Search(Find.FIRST_BAD, 0, len(history) - 1, known={0: GOOD, len(history) - 1: BAD})
    run(search, history)
    finding = search.finding()
    assert finding.change is not None
    places = [finding.change, *finding.others]
    assert any(one.becomes is BAD and one.left <= 20 < one.right for one in places), "the newer break is noticed"
    assert any(one.becomes is BAD and one.left <= 3 < one.right for one in places), "so is the earlier one"


def test_a_row_of_skips_is_jumped_over() -> None:
    """Forty releases, eleven in the middle cannot be imported: not every one of them is tried."""
    history = [GOOD] * 14 + [SKIP] * 11 + [GOOD] * 10 + [BAD] * 5
    search = Search(Find.FIRST_BAD, 0, len(history) - 1)
    run(search, history)
    assert search.finding().skips <= 3


@given(st.lists(st.integers(0, 200), unique=True, min_size=1), st.sets(st.integers(0, 200)))
def test_no_choice_costs_a_halving_more(open_ones: list[int], skipped: set[int]) -> None:
    """Whatever the answer, one halving less is left."""
    ordered = sorted(open_ones)
    place = ordered.index(choose(ordered, skipped))
    assert halvings(max(place, len(ordered) - 1 - place)) <= halvings(len(ordered)) - 1


@given(st.integers(2, 10_000))
def test_the_bound_is_what_is_promised(count: int) -> None:
    """``ceil(log2 n) + 2``."""
    assert bound(count) == math.ceil(math.log2(count)) + 2


@pytest.mark.parametrize(
    ("votes", "settled"),
    [
        ([GOOD], GOOD),
        ([GOOD, GOOD], GOOD),
        ([GOOD, BAD], None),
        ([GOOD, BAD, BAD], None),
        ([GOOD, BAD, BAD, BAD], BAD),
        ([GOOD, BAD, SKIP, BAD, GOOD], SKIP),
    ],
)
def test_the_quorum(votes: list[Answer], settled: Answer | None) -> None:
    """One answer counts, differing ones need three equal votes, and five without them are a skip."""
    assert settle(votes) is settled


def test_the_newest_known_break_is_the_one_that_is_narrowed() -> None:
    """An old break that is known to the release does not keep the search from the one that matters now."""
    history = [GOOD] + [BAD] * 20 + [GOOD] * 30 + [BAD] * 14
    search = Search(Find.FIRST_BAD, 0, 64, known={0: GOOD, 1: BAD, 30: GOOD, 64: BAD})
    run(search, history)
    finding = search.finding()
    assert finding.change is not None
    assert (finding.change.left, finding.change.right) == (50, 51)
    assert Change(left=0, right=1, becomes=BAD) in finding.others
