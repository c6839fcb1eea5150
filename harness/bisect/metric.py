"""Metrics: bad is a counter or a latency that is worse than at the good end by a share.

A counter is exact, so one number decides. A latency comes as samples: its ratio to the good end's
is the ratio of medians with a bootstrap interval, and a rank test (Mann and Whitney, 1947) has to
see a difference as well. An interval on both sides of the threshold is inconclusive: a skip.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Any

from harness.bisect.search import Answer
from harness.bisect.symptom import has_no_answer
from harness.errors import UsageError
from harness.interface import Outcome
from harness.latency import own_times

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.records import Record

LATENCY = "latency_"
CONFIDENCE = 0.95
_RESAMPLES = 2000
_SIGNIFICANT = 0.05
_FEWEST = 4


@dataclass(frozen=True, kw_only=True)
class MetricRule:
    """Worse than ``baseline`` by more than ``worse_by`` (0.2: 20 %) is bad; more is worse.

    ``baseline`` holds the good end's samples in seconds, or its one count.
    """

    metric: str
    baseline: tuple[float, ...]
    worse_by: float

    def answer(self, record: Record) -> Answer:
        """Say whether a record's metric is worse; a skip when it has none or when it cannot be told."""
        values = samples(record, self.metric)
        if not values:
            return Answer.SKIP
        if not self.metric.startswith(LATENCY):
            return Answer.BAD if values[0] > self.baseline[0] * (1 + self.worse_by) else Answer.GOOD
        return compare_samples(values, self.baseline, self.worse_by)

    def describe(self) -> str:
        """Name the rule in one line."""
        unit = " s" if self.metric.startswith(LATENCY) else ""
        return f"{self.metric} more than {self.worse_by:.0%} above the good end's {median(self.baseline):.6g}{unit}"


def samples(record: Record, metric: str) -> tuple[float, ...]:
    """Give the values of a metric in a record: own times of ``latency_ARM`` in seconds, or one counter.

    Empty where the variant was not measured, or did not pass, or has no such metric.
    """
    if has_no_answer(record) or record["outcome"] != Outcome.PASSED:
        return ()
    if metric.startswith(LATENCY):
        arm: Any = record.get("latency", {}).get(metric.removeprefix(LATENCY))
        return tuple(own_times(arm)) if isinstance(arm, dict) and arm.get("samples_s") else ()
    value = record.get("counters", {}).get(metric)
    return (float(value),) if isinstance(value, int | float) and not isinstance(value, bool) else ()


def make_rule(metric: str, worse_by: float, good: Record) -> MetricRule:
    """Make the rule from the good end's record. Raises :class:`UsageError` when it has no such metric."""
    baseline = samples(good, metric)
    if not baseline:
        counters = [name for name, value in good.get("counters", {}).items() if isinstance(value, int | float)]
        known = ", ".join(
            [*counters, *(LATENCY + arm for arm, one in good.get("latency", {}).items() if isinstance(one, dict))]
        )
        message = (
            f"the good end has no {metric!r} (it has: {known or 'nothing, it did not pass'}); name another --metric"
        )
        raise UsageError(message)
    return MetricRule(metric=metric, baseline=baseline, worse_by=worse_by)


def compare_samples(values: Sequence[float], baseline: Sequence[float], worse_by: float) -> Answer:
    """Compare two sets of samples against a threshold.

    Bad needs the whole interval above the threshold and a rank test that sees a difference; good
    needs the whole interval at or below it. The rest is a skip, and so are fewer than four samples.
    """
    if min(len(values), len(baseline)) < _FEWEST:
        return Answer.SKIP
    low, high = ratio_interval(values, baseline)
    if high <= 1 + worse_by:
        return Answer.GOOD
    if low <= 1 + worse_by:
        return Answer.SKIP
    from scipy.stats import mannwhitneyu

    differs = float(mannwhitneyu(values, baseline, alternative="greater").pvalue) < _SIGNIFICANT
    return Answer.BAD if differs else Answer.SKIP


def ratio_interval(values: Sequence[float], baseline: Sequence[float]) -> tuple[float, float]:
    """Give the 95 % percentile bootstrap interval of the ratio of medians (Efron, 1979); seeded."""
    dice = random.Random(0)  # noqa: S311 - resampling, no secret
    ratios = sorted(
        median(dice.choices(values, k=len(values))) / median(dice.choices(baseline, k=len(baseline)))
        for _ in range(_RESAMPLES)
    )
    outside = (1 - CONFIDENCE) / 2
    return ratios[int(outside * _RESAMPLES)], ratios[int((1 - outside) * _RESAMPLES) - 1]
