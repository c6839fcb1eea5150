"""What a comparison of two cells says of each variant (pure): latency with its range, and exact counts."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import fmean, median
from typing import TYPE_CHECKING, Any

from harness.contracts.record import Record, VariantRecord
from harness.interface import Outcome
from harness.latency.statistics import FEWEST_BLOCKS, FLOOR, Comparison, Difference, compare, correct

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from harness.latency.sides import Pair


COUNTERS = ("forward_calls", "tokens_fed", "prompts_computed", "operators", "flops", "bytes_allocated")
"""Exact counts that two cells can be held against each other by, on any machine."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One variant: the comparison if both sides were timed, medians in seconds, and the exact counts that differ."""

    case: str
    variant: Mapping[str, str]
    comparison: Comparison | None
    medians_s: tuple[float, float] | None
    counts: Mapping[str, tuple[Any, Any]]
    why_not: str

    @property
    def name(self) -> str:
        """Name the variant without what is the same for all."""
        return " ".join(value for axis, value in self.variant.items() if axis not in {"device", "dtype", "aspect"})

    @property
    def difference(self) -> Difference:
        """Return the verdict; what was not timed is inconclusive."""
        return self.comparison.difference if self.comparison else Difference.INCONCLUSIVE


def rows_of(pairs: Sequence[Pair], *, arm: str = "cached", floor: float = FLOOR) -> list[Row]:
    """Compare every variant, corrected for their number."""
    series = [(pair.samples("first", arm), pair.samples("second", arm)) for pair in pairs]
    timed = [index for index, (first, second) in enumerate(series) if first and len(first) == len(second)]
    family = correct([compare(*series[index], floor=floor) for index in timed], floor=floor)
    comparisons = dict(zip(timed, family, strict=True))
    return [
        Row(
            case=pair.case,
            variant=pair.variant,
            comparison=comparisons.get(index),
            medians_s=(median(series[index][0]), median(series[index][1])) if index in comparisons else None,
            counts=counts_that_differ(pair),
            why_not="" if index in comparisons else why_not(pair, arm),
        )
        for index, pair in enumerate(pairs)
    ]


def counts_that_differ(pair: Pair) -> dict[str, tuple[Any, Any]]:
    """Return the exact counts that are not the same on both sides, by name."""
    first, second = (_counters(pair.records[side]) for side in ("first", "second"))
    both = [name for name in COUNTERS if name in first and name in second]
    return {name: (first[name], second[name]) for name in both if first[name] != second[name]}


def _counters(record: Record) -> Mapping[str, Any]:
    return record.counters if isinstance(record, VariantRecord) else {}


def why_not(pair: Pair, arm: str) -> str:
    """Say why a variant was not timed on both sides."""
    told = []
    for side, record in pair.records.items():
        outcome = record.outcome if isinstance(record, VariantRecord) else record.state
        if not isinstance(record, VariantRecord) or record.outcome != Outcome.PASSED:
            told.append(f"{outcome} in the {side} cell ({(record.message or '')[:120]})")
        elif said := record.latency.get("not_timed"):
            told.append(f"not timed in the {side} cell ({said[:120]})")
    return "; ".join(told) or f"the case times no {arm!r} in both cells"


def sentence(row: Row) -> str:
    """Say one variant's result in one sentence, with its range."""
    if row.comparison is None or row.medians_s is None:
        return f"{row.name}: not compared: {row.why_not}."
    ratio, blocks = row.comparison.ratio, row.comparison.blocks
    change = f"{100 * (ratio.estimate - 1):+.1f} %"
    spread = f"{100 * (ratio.low - 1):+.1f} to {100 * (ratio.high - 1):+.1f} %" if ratio.is_bounded else "no range"
    about = f"{change} ({spread}) of {1000 * row.medians_s[0]:.2f} ms, p = {row.comparison.p:.2g}, {ratio.pairs} pairs"
    match row.difference:
        case Difference.SLOWER | Difference.FASTER:
            return f"{row.name}: {row.difference} in the second cell, {about}."
        case Difference.SAME:
            return f"{row.name}: the same, {about}."
        case _:
            hint = "; too few blocks, raise --budget" if blocks < FEWEST_BLOCKS else ""
            return f"{row.name}: inconclusive, {about}{hint}."


def as_data(row: Row) -> dict[str, Any]:
    """Return a row for other programs. Times in seconds; ``ratio`` is second / first."""
    data: dict[str, Any] = {
        "case": row.case,
        "variant": dict(row.variant),
        "verdict": str(row.difference),
        "sentence": sentence(row),
        "counters": {name: list(values) for name, values in row.counts.items()},
    }
    if row.comparison and row.medians_s:
        ratio = row.comparison.ratio
        bounds = [ratio.low, ratio.high] if ratio.is_bounded else None
        data |= {"ratio": ratio.estimate, "interval": bounds, "p": row.comparison.p, "pairs": ratio.pairs}
        data |= {"blocks": row.comparison.blocks, "medians_s": list(row.medians_s)}
    return data


PERCENT = 10
"""``--benchmark-compare-fail=mean:10%``."""

ASV_FACTOR = 1.1
ASV_SIGNIFICANCE = 0.002


def pytest_benchmark_calls(before: Sequence[float], after: Sequence[float]) -> bool:
    """Return whether ``--benchmark-compare-fail=mean:10%`` fails (pytest-benchmark, ``PercentageRegressionCheck``)."""
    return fmean(after) / fmean(before) * 100 - 100 > PERCENT


def asv_calls(before: Sequence[float], after: Sequence[float]) -> bool:
    """Return whether ``asv compare`` marks a regression.

    The medians differ by more than the factor 1.1, and a Mann-Whitney test gives p < 0.002 (``_is_result_better``
    in asv/commands/compare.py, ``is_different`` in asv/_stats.py, asv 0.6).
    """
    from scipy.stats import mannwhitneyu

    if not median(before) < median(after) / ASV_FACTOR:
        return False
    # asv: the normal approximation without a correction for continuity when a side has more than 20 samples.
    method = "exact" if max(len(before), len(after)) <= 20 else "asymptotic"  # noqa: PLR2004 - asv's own bound
    return bool(mannwhitneyu(before, after, method=method, use_continuity=False).pvalue < ASV_SIGNIFICANCE)
