"""Explain a table: for each label the fewest windows of versions that account for it (pure).

A window is a box over the measured versions. The windows of a label hold all points of that
label and no measured point of another one; combinations that nobody measured are free. Of all
such sets the one with the fewest windows is taken, then the one with the fewest conditions,
then the one whose conditions are on the earlier packages (peft before transformers). Ends that
are conditions are then drawn in to the measured points: a window claims no more than it has to.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from dataclasses import dataclass
from statistics import mean
from typing import TYPE_CHECKING

from harness.explain.table import PASSED, Label, tables_of
from harness.judge.boxes import TooLarge, conditions, contains, largest_boxes, weight
from harness.judge.cover import smallest_cover
from harness.packages import EXPLAINED

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from harness.contracts.record import Record
    from harness.explain.table import Table
    from harness.judge.boxes import Box, Point


_ALTERNATIVES = 3


@dataclass(frozen=True, kw_only=True)
class Window:
    """A box of versions with one label.

    ``reach`` is how far the box could grow over unmeasured combinations. ``points`` are the
    measured points of the label in it, ascending. ``alternatives`` are other boxes that would do
    in its place with as few conditions: what was measured does not say which it is.
    """

    label: Label
    box: Box
    reach: Box
    points: tuple[Point, ...]
    alternatives: tuple[Box, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """The windows of a table, those with the most points first; ``PASSED`` holds outside them.

    ``proven`` tells whether no smaller set of windows exists for certain.
    """

    windows: tuple[Window, ...]
    proven: bool

    def predict(self, point: Point) -> Label:
        """Say what these windows expect at a point, measured or not.

        Where windows of several labels meet (which no measured point does), the one with the
        most measured points counts; then the one that comes first.
        """
        return next((window.label for window in self.windows if contains(window.box, point)), PASSED)


def explain(shape: Sequence[int], labels: Mapping[Point, Label]) -> Explanation:
    """Return the smallest windows for every label but ``PASSED``, exact on what was measured."""
    windows: list[Window] = []
    proven = True
    for label in sorted({*labels.values()} - {PASSED}):
        inside = sorted(point for point, one in labels.items() if one == label)
        outside = sorted(point for point, one in labels.items() if one != label)
        try:
            boxes = largest_boxes(shape, inside, outside)
        except TooLarge:
            boxes, proven = _grown(shape, inside, outside), False
        masks = [_mask(box, inside) for box in boxes]
        cover = smallest_cover(masks, [weight(box, shape) for box in boxes])
        counts = [conditions(box, shape) for box in boxes]
        proven = proven and cover.proven
        windows.extend(
            Window(
                label=label,
                box=_fitted(boxes[column], inside, shape),
                reach=boxes[column],
                points=tuple(point for point in inside if contains(boxes[column], point)),
                alternatives=tuple(
                    dict.fromkeys(
                        fitted
                        for other in _alternatives(column, cover.columns, boxes, masks, counts)
                        if (fitted := _fitted(other, inside, shape)) != _fitted(boxes[column], inside, shape)
                    )
                )[:_ALTERNATIVES],
            )
            for column in cover.columns
        )
    ranked = sorted(windows, key=lambda window: (-len(window.points), window.label, window.box))
    return Explanation(windows=tuple(ranked), proven=proven)


def explain_table(table: Table) -> Explanation:
    """Explain a table. See :func:`explain`."""
    return explain(table.shape, table.labels)


def kinds_in(window: Window, table: Table) -> list[tuple[str, int]]:
    """Count the kinds of failure in a window, the most frequent first."""
    counts = Counter(table.kinds[point] for point in window.points)
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))


def _fitted(box: Box, inside: Sequence[Point], shape: Sequence[int]) -> Box:
    """Draw the ends that are conditions in to the points of the label."""
    points = [point for point in inside if contains(box, point)]
    return tuple(
        (
            min(point[axis] for point in points) if low > 0 else low,
            max(point[axis] for point in points) if high < size - 1 else high,
        )
        for axis, ((low, high), size) in enumerate(zip(box, shape, strict=True))
    )


def _mask(box: Box, points: Sequence[Point]) -> int:
    return sum(1 << number for number, point in enumerate(points) if contains(box, point))


def _alternatives(
    column: int, chosen: Sequence[int], boxes: Sequence[Box], masks: Sequence[int], counts: Sequence[int]
) -> list[Box]:
    """List boxes that could stand for a chosen one, the others staying as they are."""
    others = 0
    for one in chosen:
        if one != column:
            others |= masks[one]
    needed = masks[column] & ~others
    return [
        box
        for number, box in enumerate(boxes)
        if number not in chosen and counts[number] <= counts[column] and not needed & ~masks[number]
    ]


def _grown(shape: Sequence[int], inside: Sequence[Point], outside: Sequence[Point]) -> list[Box]:
    """Grow one box from each point, axis by axis, as far as nothing foreign is met: where all is too many."""
    boxes = set()
    for point in inside:
        box = [(index, index) for index in point]
        for axis, size in enumerate(shape):
            for step in (-1, 1):
                while True:
                    low, high = box[axis]
                    grown = (low - 1, high) if step < 0 else (low, high + 1)
                    trial = tuple(grown if one == axis else interval for one, interval in enumerate(box))
                    if grown[0] < 0 or grown[1] >= size or any(contains(trial, other) for other in outside):
                        break
                    box[axis] = grown
        boxes.add(tuple(box))
    return sorted(boxes)


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One seed: how many left-out outcomes there were, were predicted right, and passed."""

    seed: int
    asked: int
    right: int
    passed: int

    @property
    def accuracy(self) -> float:
        """Return the share that was predicted right."""
        return self.right / self.asked


@dataclass(frozen=True, kw_only=True)
class HeldOut:
    """All seeds. ``misses`` counts pairs of (measured, predicted) that differ."""

    cells: int
    left_out: int
    trials: tuple[Trial, ...]
    misses: tuple[tuple[tuple[Label, Label], int], ...]

    @property
    def accuracy(self) -> float:
        """Return the mean over the seeds."""
        return mean(trial.accuracy for trial in self.trials)

    @property
    def always_passed(self) -> float:
        """Return the accuracy of somebody who always says ``passed``."""
        return sum(trial.passed for trial in self.trials) / sum(trial.asked for trial in self.trials)


def hold_out(
    case: str,
    records: Iterable[Record],
    share: float,
    seeds: Sequence[int],
    *,
    by_kind: bool = False,
    packages: Sequence[str] = EXPLAINED,
) -> HeldOut | None:
    """Leave out a share of the cells, once for each seed. None when that leaves nothing to learn or to predict."""
    tables = tables_of(case, list(records), by_kind=by_kind, packages=packages)
    points = sorted({point for table in tables for point in table.labels})
    count = round(share * len(points))
    if not 0 < count < len(points):
        return None
    trials, misses = [], Counter[tuple[Label, Label]]()
    for seed in seeds:
        left_out = frozenset(random.Random(seed).sample(points, count))  # noqa: S311 - a seeded draw, no secret
        tally: dict[str, int] = defaultdict(int)
        learnt: dict[tuple[object, ...], Explanation] = {}
        for table in tables:
            rest = {point: label for point, label in table.labels.items() if point not in left_out}
            # Variants that differ only in what was left out are learnt once.
            key = tuple(sorted(rest.items()))
            if key not in learnt:
                learnt[key] = explain(table.shape, rest)
            weight = len(table.variants)
            for point in left_out & table.labels.keys():
                actual, predicted = table.labels[point], learnt[key].predict(point)
                tally["asked"] += weight
                tally["right"] += weight * (actual == predicted)
                tally["passed"] += weight * (actual == PASSED)
                if actual != predicted:
                    misses[actual, predicted] += weight
        if tally["asked"]:
            trials.append(Trial(seed=seed, asked=tally["asked"], right=tally["right"], passed=tally["passed"]))
    if not trials:
        return None
    return HeldOut(cells=len(points), left_out=count, trials=tuple(trials), misses=tuple(misses.most_common()))
