"""Symptom (pure): from a record to good, bad or skip.

Bad is *this* failure, the one that the bad end shows: the same signature, or the same wrong answer.
Another failure is not bad: the symptom is absent there, and the report says how it fails instead.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass, replace
from statistics import median
from typing import TYPE_CHECKING, Any

from harness.bisect.search import Answer
from harness.contracts.record import StateRecord, VariantRecord
from harness.errors import UsageError
from harness.interface import Outcome
from harness.latency.ratio import own_times

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.contracts.record import Record


_UNANSWERED = frozenset({Outcome.UNSUPPORTED, Outcome.NO_DEVICE, Outcome.NOT_RUN})
_MAYBE_THE_MACHINE = frozenset({Outcome.TIMEOUT, Outcome.OUT_OF_MEMORY})
_NUMBER = re.compile(r"(?<![A-Za-z_\d])\d+(?:\.\d+)*")


@dataclass(frozen=True, kw_only=True)
class Symptom:
    """A failure to look for: its outcome and its words, or with ``any_failure`` whatever fails."""

    outcome: str
    words: str
    any_failure: bool = False

    def answer(self, record: Record) -> Answer:
        """Say whether a record shows the symptom.

        A cell that never became ready, an unsupported variant and a missing device are skips, and so
        are a timeout and a lack of memory that were not asked for: they may be the machine's fault.
        """
        if isinstance(record, StateRecord) or has_no_answer(record):
            return Answer.SKIP
        if record.outcome == Outcome.PASSED:
            return Answer.GOOD
        if self.any_failure or (record.outcome == self.outcome and words_of(record) == self.words):
            return Answer.BAD
        return Answer.SKIP if record.outcome in _MAYBE_THE_MACHINE else Answer.GOOD

    def describe(self) -> str:
        """Name the symptom in one line."""
        return "any failure" if self.any_failure else f"{self.outcome}: {self.words}" if self.words else self.outcome


def symptom_of(record: Record, *, any_failure: bool = False) -> Symptom:
    """Take the failure that a record shows for the symptom. Raises ``ValueError`` when it shows none."""
    if isinstance(record, StateRecord) or not fails(record):
        message = f"not a failure: {shown(record)}"
        raise ValueError(message)
    return Symptom(outcome=record.outcome, words=words_of(record), any_failure=any_failure)


def has_no_answer(record: Record) -> bool:
    """Return whether nothing was measured: the cell was never ready, or the variant cannot be there."""
    return isinstance(record, StateRecord) or record.outcome in _UNANSWERED


def fails(record: Record) -> bool:
    """Return whether a variant was measured and did not pass."""
    return isinstance(record, VariantRecord) and not has_no_answer(record) and record.outcome != Outcome.PASSED


def passed(record: Record) -> bool:
    """Return whether a variant was measured and passed."""
    return isinstance(record, VariantRecord) and record.outcome == Outcome.PASSED


def words_of(record: Record) -> str:
    """Return what tells one failure from another: the signature, or for a wrong answer its message without numbers."""
    signature = record.signature if isinstance(record, VariantRecord) else None
    return signature or _NUMBER.sub("<n>", record.message or "")


def shown(record: Record) -> str:
    """Say in a few words what a record shows: ``passed``, or the outcome with its words, or the cell's state."""
    if isinstance(record, StateRecord):
        return f"{record.state}: {record.message}"
    return f"{record.outcome}: {record.words}" if record.words else str(record.outcome)


def without_evidence(record: Record) -> Record:
    """Return a record without its evidence: what bisect needs to go on from it later."""
    return replace(record, evidence={}) if isinstance(record, VariantRecord) else record


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
    """Return the values of a metric in a record: own times of ``latency_ARM`` in seconds, or one counter.

    Empty where the variant was not measured, or did not pass, or has no such metric.
    """
    if not isinstance(record, VariantRecord) or record.outcome != Outcome.PASSED:
        return ()
    if metric.startswith(LATENCY):
        arm: Any = record.latency.get(metric.removeprefix(LATENCY))
        return tuple(own_times(arm)) if isinstance(arm, dict) and arm.get("samples_s") else ()
    value = record.counters.get(metric)
    return (float(value),) if isinstance(value, int | float) and not isinstance(value, bool) else ()


def make_rule(metric: str, worse_by: float, good: Record) -> MetricRule:
    """Make the rule from the good end's record. Raises :class:`UsageError` when it has no such metric."""
    baseline = samples(good, metric)
    if not baseline:
        known = ", ".join(_metrics(good)) if isinstance(good, VariantRecord) else ""
        message = (
            f"the good end has no {metric!r} (it has: {known or 'nothing, it did not pass'}); name another --metric"
        )
        raise UsageError(message)
    return MetricRule(metric=metric, baseline=baseline, worse_by=worse_by)


def _metrics(record: VariantRecord) -> list[str]:
    counters = [name for name, value in record.counters.items() if isinstance(value, int | float)]
    return [*counters, *(LATENCY + arm for arm, one in record.latency.items() if isinstance(one, dict))]


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
    """Return the 95 % percentile bootstrap interval of the ratio of medians (Efron, 1979); seeded."""
    dice = random.Random(0)  # noqa: S311 - resampling, no secret
    ratios = sorted(
        median(dice.choices(values, k=len(values))) / median(dice.choices(baseline, k=len(baseline)))
        for _ in range(_RESAMPLES)
    )
    outside = (1 - CONFIDENCE) / 2
    return ratios[int(outside * _RESAMPLES)], ratios[int((1 - outside) * _RESAMPLES) - 1]
