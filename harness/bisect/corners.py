"""Corners (pure): two cells differ in several packages; which of them does it take?

A corner is the set of packages that have the bad cell's version there; the others have the good
cell's. The empty set is the good cell, the full set is the bad one.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain, combinations
from typing import TYPE_CHECKING

from harness.bisect.search import Answer

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

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
