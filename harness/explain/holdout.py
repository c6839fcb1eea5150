"""Leave cells out, learn windows on the rest, and see how well they predict what was left out (pure)."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from dataclasses import dataclass
from statistics import mean
from typing import TYPE_CHECKING

from harness.explain.table import EXPLAINED, PASSED, Label, tables_of
from harness.explain.windows import Explanation, explain

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from harness.records import Record


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One seed: how many left-out outcomes there were, were predicted right, and passed."""

    seed: int
    asked: int
    right: int
    passed: int

    @property
    def accuracy(self) -> float:
        """Give the share that was predicted right."""
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
        """Give the mean over the seeds."""
        return mean(trial.accuracy for trial in self.trials)

    @property
    def always_passed(self) -> float:
        """Give the accuracy of somebody who always says ``passed``."""
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
