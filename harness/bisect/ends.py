"""Ends: where a search begins, from what is known, else by widening back from the newest."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from harness.bisect.search import Find
from harness.bisect.symptom import fails, has_no_answer
from harness.errors import ExitStatus, HarnessError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from harness.records import Record

    Ask = Callable[[int, str], Record]


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
    """Give the newest pair of known neighbours of which one passes and one fails, in the direction asked for."""
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
        top = next((index for index in range(newest, -1, -1) if not has_no_answer(ask(index, "widening"))), newest)
        find = Find.FIRST_BAD if fails(ask(top, "widening")) else Find.FIRST_FIXED
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
