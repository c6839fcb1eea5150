"""Choose the fewest boxes that cover all points, then those with the fewest conditions (pure).

Weighted set cover, solved exactly: essential columns and dominance first, then branch and bound
with independent rows as the lower bound (Beasley 1987, doi:10.1016/0377-2217(87)90120-X, on such
reductions). Beyond a stated number of steps the best cover found so far is given as it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

STEPS = 50_000
"""Branches to look at before a cover is given without the proof that none is smaller."""


@dataclass(frozen=True, kw_only=True)
class Cover:
    """The chosen columns, ascending, and whether no smaller cover exists for certain."""

    columns: tuple[int, ...]
    proven: bool


def smallest_cover(masks: Sequence[int], weights: Sequence[int], steps: int = STEPS) -> Cover:
    """Cover every bit that some mask has: fewest masks, then the least sum of ``weights``.

    ``masks`` are sets of points as bits of a number. Among equals the earlier columns win, so
    the same question always has the same answer.
    """
    search = _Branching(masks, weights, steps)
    return search.solve()


class _Branching:
    def __init__(self, masks: Sequence[int], weights: Sequence[int], steps: int) -> None:
        self.masks = masks
        # One box more is never worth a condition less.
        one_more = sum(weights) + 1
        self.costs = [one_more + weight for weight in weights]
        self.steps_left = steps
        self.best: tuple[int, ...] = ()
        self.best_cost = 0

    def solve(self) -> Cover:
        universe = 0
        for mask in self.masks:
            universe |= mask
        columns = list(range(len(self.masks)))
        self.best = self._greedy(universe, columns)
        self.best_cost = sum(self.costs[column] for column in self.best)
        self._branch(universe, columns, (), 0)
        return Cover(columns=tuple(sorted(self.best)), proven=self.steps_left >= 0)

    def _greedy(self, left: int, columns: list[int]) -> tuple[int, ...]:
        chosen = []
        while left:
            column = max(columns, key=lambda one: ((self.masks[one] & left).bit_count(), -self.costs[one], -one))
            chosen.append(column)
            left &= ~self.masks[column]
        return tuple(chosen)

    def _branch(self, left: int, columns: list[int], chosen: tuple[int, ...], cost: int) -> None:
        self.steps_left -= 1
        if self.steps_left < 0:
            return
        left, columns, chosen, cost = self._reduce(left, columns, chosen, cost)
        if cost >= self.best_cost:
            return
        if not left:
            self.best, self.best_cost = chosen, cost
            return
        row, bound = self._hardest_row(left, columns)
        if cost + bound >= self.best_cost:
            return
        options = [column for column in columns if self.masks[column] & row]
        options.sort(key=lambda one: (-(self.masks[one] & left).bit_count(), self.costs[one], one))
        for number, column in enumerate(options):
            # What an earlier option was tried with need not be tried again without it. No point loses
            # all its columns by that: it had at least as many as this one, the hardest.
            rest = [one for one in columns if one not in options[: number + 1]]
            self._branch(left & ~self.masks[column], rest, (*chosen, column), cost + self.costs[column])

    def _reduce(
        self, left: int, columns: list[int], chosen: tuple[int, ...], cost: int
    ) -> tuple[int, list[int], tuple[int, ...], int]:
        """Drop columns that another one outdoes, and take those that a point has no choice about."""
        while left:
            columns = self._undominated(left, columns)
            once = twice = 0
            for column in columns:
                twice |= once & self.masks[column]
                once |= self.masks[column]
            single = left & once & ~twice
            if not single:
                break
            column = next(one for one in columns if self.masks[one] & single)
            chosen, cost = (*chosen, column), cost + self.costs[column]
            left &= ~self.masks[column]
        return left, columns, chosen, cost

    def _undominated(self, left: int, columns: list[int]) -> list[int]:
        ranked = sorted(columns, key=lambda one: (-(self.masks[one] & left).bit_count(), self.costs[one], one))
        kept: list[int] = []
        for column in ranked:
            mask = self.masks[column] & left
            if mask and not any(
                mask & ~self.masks[other] == 0 and self.costs[other] <= self.costs[column] for other in kept
            ):
                kept.append(column)
        return sorted(kept)

    def _hardest_row(self, left: int, columns: list[int]) -> tuple[int, int]:
        """Return the point with the fewest columns, and a bound from points that share no column."""
        rows: dict[int, tuple[int, ...]] = {}
        seen: set[tuple[int, ...]] = set()
        while left:
            row = left & -left
            left &= ~row
            fitting = tuple(column for column in columns if self.masks[column] & row)
            if fitting not in seen:
                seen.add(fitting)
                rows[row] = fitting
        ranked = sorted(rows, key=lambda one: (len(rows[one]), one))
        taken: set[int] = set()
        bound = 0
        for row in ranked:
            if taken.isdisjoint(rows[row]):
                taken.update(rows[row])
                bound += min(self.costs[column] for column in rows[row])
        return ranked[0], bound
