"""Search (pure): which candidate to ask next, and what the answers so far say.

Candidates are numbered from old to new. An answer is good, bad or skip (it could not be had).
Going from old to new the search looks for the place where the old end's answer becomes the new
end's: the newest such place among the answers that it has, for that one explains the new end.

Halving keeps a bound: with n candidates at most ``ceil(log2 n) + 2 + skips`` of them are asked, the
two ends among them. Repeats are counted apart. They come from one rule, the quorum: the two
neighbours of a change that were measured once are asked once more, and where answers of one
candidate differ it is asked until one answer has three votes, or it has five answers and counts
as a skip. When the ends were known before, what is left of the bound is spent on the widest
stretch that nobody has asked, to notice a second change there.
"""

from __future__ import annotations

import copy
from collections import Counter
from dataclasses import dataclass
from enum import StrEnum
from itertools import chain, combinations, pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence


MAJORITY = 3
MOST_VOTES = 5


class Answer(StrEnum):
    """What a probe says of one candidate."""

    GOOD = "good"
    BAD = "bad"
    SKIP = "skip"


class Find(StrEnum):
    """What is looked for, going from old to new."""

    FIRST_BAD = "first bad"
    FIRST_FIXED = "first fixed"

    @property
    def old(self) -> Answer:
        """Return the answer of the old end."""
        return Answer.GOOD if self is Find.FIRST_BAD else Answer.BAD

    @property
    def new(self) -> Answer:
        """Return the answer of the new end."""
        return Answer.BAD if self is Find.FIRST_BAD else Answer.GOOD


@dataclass(frozen=True, kw_only=True)
class Ask:
    """The next thing to ask: a candidate, and why (``end``, ``halving``, ``repeat`` or ``spare``)."""

    index: int
    why: str


@dataclass(frozen=True, kw_only=True)
class Change:
    """Two candidates with different answers; ``between`` lists those between them without an answer."""

    left: int
    right: int
    becomes: Answer
    between: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What the answers say. ``change`` is None when an end refused (``refused``: which, and its answer)."""

    change: Change | None
    others: tuple[Change, ...]
    refused: tuple[int, Answer] | None
    flaky: tuple[int, ...]
    probes: int
    repeats: int
    skips: int


def settle(votes: Sequence[Answer]) -> Answer | None:
    """Return the answer that the votes on one candidate amount to; None asks for another vote.

    Votes that agree settle it, one of them alone. Otherwise it takes three equal votes, and a
    candidate that has none after five is a skip.
    """
    answer, count = Counter(votes).most_common(1)[0]
    if count == len(votes) or count >= MAJORITY:
        return answer
    return Answer.SKIP if len(votes) >= MOST_VOTES else None


def halvings(count: int) -> int:
    """Return how many good or bad answers it takes at worst to finish ``count`` open candidates."""
    return count.bit_length()


def bound(count: int) -> int:
    """Return the most candidates that are asked among ``count``, ends included, skips apart."""
    return (count - 1).bit_length() + 2


def choose(open_ones: Sequence[int], skipped: Iterable[int]) -> int:
    """Choose which of the open candidates to ask: the middle one, or as far from skips as may be.

    Releases that cannot be asked come in rows. Away from one, but never so far from the middle
    that it could cost a halving more.
    """
    count = len(open_ones)
    most_left = (1 << (halvings(count) - 1)) - 1
    positions = range(count - 1 - most_left, most_left + 1)
    middle = (count - 1) / 2
    near = list(skipped)

    def merit(position: int) -> tuple[int, float]:
        away = min((abs(open_ones[position] - one) for one in near), default=0)
        return (away, -abs(position - middle))

    return open_ones[max(positions, key=merit)]


def changes(answers: Mapping[int, Answer]) -> tuple[Change, ...]:
    """List every change among answered candidates, from old to new; skips are looked through."""
    answered = sorted(index for index, answer in answers.items() if answer is not Answer.SKIP)
    return tuple(
        Change(left=left, right=right, becomes=answers[right], between=tuple(range(left + 1, right)))
        for left, right in pairwise(answered)
        if answers[left] is not answers[right]
    )


class Search:
    """One search. Feed the same answers to a new one and it stands where the first one stood."""

    def __init__(
        self,
        find: Find,
        low: int,
        high: int,
        *,
        known: Mapping[int, Answer] | None = None,
        measured: Mapping[int, Answer] | None = None,
    ) -> None:
        """``low`` is the old end, ``high`` the new one.

        ``known`` are answers of earlier runs: free, and not repeated. ``measured`` were asked
        before the search began, to find the ends: free, too, but repeated like its own.
        """
        if not low < high:
            message = f"the old end {low} must come before the new end {high}"
            raise ValueError(message)
        self.find, self.low, self.high = find, low, high
        self._known = dict(known or {})
        self._votes: dict[int, list[Answer]] = {index: [answer] for index, answer in (measured or {}).items()}
        self._free = frozenset(self._votes)
        self._found = False
        self._allowed = 0
        self._note()

    def answers(self) -> dict[int, Answer]:
        """Return the settled answer of every candidate that has one."""
        voted = {index: answer for index, votes in self._votes.items() if (answer := settle(votes)) is not None}
        return {**self._known, **voted}

    def tell(self, index: int, answer: Answer) -> None:
        """Take one answer."""
        self._votes.setdefault(index, []).append(answer)
        self._note()

    def next(self) -> Ask | None:
        """Return what to ask next; None when there is nothing left to ask."""
        answers = self.answers()
        if (index := self._unsettled()) is not None:
            return Ask(index=index, why="repeat")
        if (index := self._open_end(answers)) is not None:
            return Ask(index=index, why="end")
        return None if self._refused(answers) else self._inside(answers)

    def likely(self, index: int) -> tuple[int, ...]:
        """Return what may be asked next once ``index`` is answered good or bad, to prepare for it."""
        futures = []
        for answer in (Answer.GOOD, Answer.BAD):
            then = copy.deepcopy(self)
            then.tell(index, answer)
            if (ask := then.next()) is not None and ask.why != "repeat":
                futures.append(ask.index)
        return tuple(dict.fromkeys(futures))

    def finding(self) -> Finding:
        """Say what is known now; complete once :meth:`next` gives None."""
        answers = self.answers()
        seen = changes(answers)
        refused = self._refused(answers)
        towards = [] if refused else self._candidates(answers)
        whole = [one for one in towards if all(index in answers for index in one.between)]
        main = next(reversed(whole or towards), None)
        return Finding(
            change=main,
            others=tuple(one for one in seen if one != main),
            refused=refused,
            flaky=tuple(sorted(index for index, votes in self._votes.items() if len(set(votes)) > 1)),
            probes=self._probes(),
            repeats=sum(len(votes) for votes in self._votes.values()) - len(self._votes),
            skips=self._skips(answers),
        )

    def _inside(self, answers: Mapping[int, Answer]) -> Ask | None:
        """Choose between the ends: halve, then confirm, then spend what is left of the bound."""
        change = self._newest(answers)
        open_ones = [one for one in change.between if one not in answers]
        if open_ones and (not self._found or self._spare() > 0):
            return Ask(index=choose(open_ones, (one for one in change.between if one in answers)), why="halving")
        if (index := self._unconfirmed(change)) is not None:
            return Ask(index=index, why="repeat")
        if self._spare() > 0 and (index := self._widest_silence(answers)) is not None:
            return Ask(index=index, why="spare")
        return None

    def _candidates(self, answers: Mapping[int, Answer]) -> list[Change]:
        inside = {index: answer for index, answer in answers.items() if self.low <= index <= self.high}
        return [one for one in changes(inside) if one.becomes is self.find.new]

    def _newest(self, answers: Mapping[int, Answer]) -> Change:
        return self._candidates(answers)[-1]

    def _unsettled(self) -> int | None:
        return next((index for index, votes in sorted(self._votes.items()) if settle(votes) is None), None)

    def _open_end(self, answers: Mapping[int, Answer]) -> int | None:
        # The bad end comes first: what it shows is the symptom.
        ends = (self.high, self.low) if self.find is Find.FIRST_BAD else (self.low, self.high)
        return next((end for end in ends if end not in answers), None)

    def _refused(self, answers: Mapping[int, Answer]) -> tuple[int, Answer] | None:
        wanted = {self.high: self.find.new, self.low: self.find.old}
        return next(
            ((end, answers[end]) for end, answer in wanted.items() if answers.get(end, answer) is not answer), None
        )

    def _unconfirmed(self, change: Change) -> int | None:
        return next((end for end in (change.left, change.right) if len(self._votes.get(end, (1, 2))) == 1), None)

    def _probes(self) -> int:
        return len(self._votes.keys() - self._free)

    def _skips(self, answers: Mapping[int, Answer]) -> int:
        return sum(answers.get(one) is Answer.SKIP for one in self._votes.keys() - self._free)

    def _spare(self) -> int:
        return self._allowed - self._probes()

    def _note(self) -> None:
        """Remember once the search proper is over: from then on the bound limits what is asked."""
        if self._found:
            return
        answers = self.answers()
        if self._unsettled() is not None or self._open_end(answers) is not None or self._refused(answers):
            return
        change = self._newest(answers)
        if all(one in answers for one in change.between) and self._unconfirmed(change) is None:
            self._found = True
            self._allowed = bound(self.high - self.low + 1) + self._skips(answers)

    def _widest_silence(self, answers: Mapping[int, Answer]) -> int | None:
        asked = sorted({self.low, self.high, *(one for one in answers if self.low <= one <= self.high)})
        left, right = max(pairwise(asked), key=lambda pair: pair[1] - pair[0])
        return (left + right) // 2 if right - left > 1 else None


Corner = frozenset[str]


@dataclass(frozen=True, kw_only=True)
class Conditions:
    """What the corners say.

    ``needed`` are the smallest bad corners: each is enough, and nothing measured below it is bad.
    ``healed`` are good corners above a bad one, ``idle`` packages without a part in it, and
    ``unknown`` the corners without an answer.
    """

    needed: tuple[Corner, ...]
    healed: tuple[Corner, ...]
    idle: Corner
    unknown: tuple[Corner, ...]


def corners(packages: Iterable[str]) -> list[Corner]:
    """List all corners: both cells first, then from few packages to many."""
    names = sorted(packages)
    every = chain.from_iterable(combinations(names, size) for size in range(1, len(names)))
    return [frozenset(names), frozenset(), *(frozenset(one) for one in every)]


def conditions(packages: Iterable[str], answers: Mapping[Corner, Answer]) -> Conditions:
    """Find the smallest sets of packages that bring the failure."""
    names = frozenset(packages)
    bad = _sorted(corner for corner, answer in answers.items() if answer is Answer.BAD)
    good = _sorted(corner for corner, answer in answers.items() if answer is Answer.GOOD)
    needed = tuple(one for one in bad if not any(other < one for other in bad))
    unknown = _sorted(corner for corner in corners(names) if answers.get(corner, Answer.SKIP) is Answer.SKIP)
    return Conditions(
        needed=needed,
        healed=tuple(one for one in good if any(other < one for other in needed)),
        idle=names - frozenset().union(*needed) if needed else frozenset(),
        unknown=unknown,
    )


def sentence(found: Conditions, names: Mapping[str, str]) -> str:
    """Say it in words; ``names`` maps packages to what stands for the bad side, ``peft < 0.14.0``."""
    if not found.needed:
        return "no corner is bad"
    if frozenset() in found.needed:
        return "the good cell is bad itself: the packages that differ do not explain it"

    def words(corner: Corner) -> str:
        return " *and* ".join(names[name] for name in sorted(corner, reverse=True))

    def below_is_measured(corner: Corner) -> bool:
        return not any(one < corner for one in found.unknown)

    first = found.needed[0]
    if len(found.needed) > 1:
        parts = ["any of these is enough: " + "; ".join(words(one) for one in found.needed)]
    elif len(first) == 1:
        parts = [f"{words(first)} alone is enough"]
    else:
        parts = [f"needs {words(first)}"]
        if below_is_measured(first):
            parts.append("either alone is fine" if len(first) == 2 else "any fewer of them are fine")  # noqa: PLR2004
    if found.idle:
        parts.append(f"{' and '.join(sorted(found.idle))} {'have' if len(found.idle) > 1 else 'has'} no part in it")
    parts += [f"with {words(one)} together it is gone" for one in found.healed]
    parts += [f"not known: {words(one) or 'the good cell'}" for one in found.unknown]
    return "; ".join(parts)


def _sorted(some: Iterable[Corner]) -> tuple[Corner, ...]:
    return tuple(sorted(some, key=lambda corner: (len(corner), sorted(corner))))
