"""Boxes over ordered versions, and all the largest ones that hold nothing foreign.

A point is one measured combination: an index into the ordered versions of each axis. A box is
one interval of indices for each axis, both ends included.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

Point = tuple[int, ...]
Box = tuple[tuple[int, int], ...]


_CONDITION = 1_000


class TooLarge(Exception):
    """There are more boxes than the limit allows to look at."""


def contains(box: Box, point: Point) -> bool:
    """Return whether a point lies in a box."""
    return all(low <= index <= high for (low, high), index in zip(box, point, strict=True))


def conditions(box: Box, shape: Sequence[int]) -> int:
    """Count the conditions that a box needs in words: its ends that are not the end of their axis."""
    return sum((low > 0) + (high < size - 1) for (low, high), size in zip(box, shape, strict=True))


def weight(box: Box, shape: Sequence[int]) -> int:
    """Weigh a box: a condition more always weighs more, and of two conditions the one on the earlier axis less."""
    ends = [(low > 0) + (high < size - 1) for (low, high), size in zip(box, shape, strict=True)]
    return sum(count * (_CONDITION + axis) for axis, count in enumerate(ends))


def largest_boxes(
    shape: Sequence[int], inside: Iterable[Point], outside: Iterable[Point], limit: int = 2_000_000
) -> list[Box]:
    """List every box that holds a point of ``inside``, none of ``outside``, and cannot grow.

    ``shape`` is the number of versions on each axis. Points in neither set are free: a box may
    hold them. The boxes come in ascending order. Raises :class:`TooLarge` after ``limit`` steps.
    """
    return sorted(_Search(shape, tuple(inside), tuple(outside), limit).boxes())


class _Search:
    """Fixes one axis after the other, keeping the points that are still within as bits of a number."""

    def __init__(self, shape: Sequence[int], inside: Sequence[Point], outside: Sequence[Point], limit: int) -> None:
        self.shape = tuple(shape)
        # Short axes first: on the last one an interval ends by itself at the first foreign point.
        self.order = sorted(range(len(self.shape)), key=lambda axis: self.shape[axis])
        self.inside = [_bits(inside, axis, size) for axis, size in enumerate(self.shape)]
        self.outside = [_bits(outside, axis, size) for axis, size in enumerate(self.shape)]
        self.all_inside, self.all_outside = (1 << len(inside)) - 1, (1 << len(outside)) - 1
        self.steps_left = limit
        self.found: set[Box] = set()

    def boxes(self) -> list[Box]:
        box = [(0, size - 1) for size in self.shape]
        if self.all_inside and not self.all_outside:
            return [tuple(box)]
        if self.shape and self.all_inside:
            self._fix(0, self.all_inside, self.all_outside, box)
        return [one for one in self.found if not self._can_grow(one)]

    def _fix(self, depth: int, inside: int, outside: int, box: list[tuple[int, int]]) -> None:
        axis = self.order[depth]
        size, ours, theirs = self.shape[axis], self.inside[axis], self.outside[axis]
        for low in range(size):
            # An interval that can grow without meeting anything foreign is part of no largest box.
            if low and not outside & theirs[low - 1]:
                continue
            held = foreign = 0
            for high in range(low, size):
                self.steps_left -= 1
                if self.steps_left < 0:
                    raise TooLarge
                held |= inside & ours[high]
                foreign |= outside & theirs[high]
                if foreign and depth == len(self.order) - 1:
                    break
                if not held or (high < size - 1 and not outside & theirs[high + 1]):
                    continue
                box[axis] = (low, high)
                if foreign:
                    self._fix(depth + 1, held, foreign, box)
                else:
                    self.found.add(tuple(box))
        box[axis] = (0, size - 1)

    def _can_grow(self, box: Box) -> bool:
        """Return whether one more version on some axis would meet nothing foreign."""
        for axis, (low, high) in enumerate(box):
            near = self.all_outside
            for other, interval in enumerate(box):
                if other != axis:
                    near &= self._within(other, *interval)
            if low > 0 and not near & self.outside[axis][low - 1]:
                return True
            if high < self.shape[axis] - 1 and not near & self.outside[axis][high + 1]:
                return True
        return False

    def _within(self, axis: int, low: int, high: int) -> int:
        bits = 0
        for one in self.outside[axis][low : high + 1]:
            bits |= one
        return bits


def _bits(points: Sequence[Point], axis: int, size: int) -> list[int]:
    """For each index on an axis, the points there, as bits of a number."""
    result = [0] * size
    for number, point in enumerate(points):
        result[point[axis]] |= 1 << number
    return result
