"""Rules that call a difference between two sets of samples (pure): ours, and two that are in wide use."""

from __future__ import annotations

from statistics import fmean, median
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

PERCENT = 10
"""``--benchmark-compare-fail=mean:10%``."""

ASV_FACTOR = 1.1
ASV_SIGNIFICANCE = 0.002


def pytest_benchmark_calls(before: Sequence[float], after: Sequence[float]) -> bool:
    """Tell whether ``--benchmark-compare-fail=mean:10%`` fails (pytest-benchmark 5, ``PercentageRegressionCheck``)."""
    return fmean(after) / fmean(before) * 100 - 100 > PERCENT


def asv_calls(before: Sequence[float], after: Sequence[float]) -> bool:
    """Tell whether ``asv compare`` marks a regression.

    The medians differ by more than the factor 1.1, and a Mann-Whitney test gives p < 0.002 (``_is_result_better``
    in asv/commands/compare.py, ``is_different`` in asv/_stats.py, asv 0.6).
    """
    from scipy.stats import mannwhitneyu

    if not median(before) < median(after) / ASV_FACTOR:
        return False
    # asv: the normal approximation without a correction for continuity when a side has more than 20 samples.
    method = "exact" if max(len(before), len(after)) <= 20 else "asymptotic"  # noqa: PLR2004 - asv's own bound
    return bool(mannwhitneyu(before, after, method=method, use_continuity=False).pvalue < ASV_SIGNIFICANCE)
