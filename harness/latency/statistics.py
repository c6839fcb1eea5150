"""Statistics of paired latencies (pure): a ratio with its interval, a rank test, a verdict.

The design is interleaved: sample ``i`` of one arm was taken right beside sample ``i`` of the other, in the order
A-B-B-A. So the unit is the logarithm of the ratio of a pair, or of a block of neighbouring pairs, which a slow moment
of the machine hits on both sides.

- Test: Wilcoxon's signed-rank test of those logarithms against 0 (Wilcoxon 1945; ``scipy.stats.wilcoxon``).
- Estimate: the Hodges-Lehmann median of the Walsh averages, and as interval the shifts that the same test does not
  reject (Hodges and Lehmann 1963; Hollander, Wolfe and Chicken 2014, section 3.3).
- Many variants: Benjamini and Hochberg 1995 (``scipy.stats.false_discovery_control``).
- ``same`` means that the whole interval lies within the effect floor (Schuirmann 1987), never that no difference was
  seen.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cache
from itertools import accumulate, combinations_with_replacement
from math import exp, floor, inf, isinf, log, sqrt
from statistics import NormalDist, median
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

CONFIDENCE = 0.95
SIGNIFICANCE = 0.01
"""Of the rank test, after the correction over all variants compared."""

FLOOR = 0.05
"""Effects smaller than this are nobody's work: two processes of one cell differ by a percent or two."""

FEWEST_PAIRS = 6
"""Below this no 95 % interval of a signed-rank test is bounded."""

FEWEST_BLOCKS = 12
"""Below this a comparison of cells says nothing: no p-value could survive the correction over many variants."""

MOST_BLOCKS = 60
"""Longer series are joined into this many blocks: neighbours in a series are not independent, blocks nearly are."""


class Difference(StrEnum):
    """What a comparison says of its second arm."""

    SLOWER = "slower"
    FASTER = "faster"
    SAME = "same"
    INCONCLUSIVE = "inconclusive"


@dataclass(frozen=True, kw_only=True)
class Ratio:
    """A ratio of two latencies: the estimate and its interval; an unbounded one is (0, inf)."""

    estimate: float
    low: float
    high: float
    pairs: int

    @property
    def is_bounded(self) -> bool:
        """Return whether there were enough pairs for an interval."""
        return not isinf(self.high)


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """The second arm against the first: ``ratio`` above 1 is slower. ``p`` is corrected once a family is known."""

    ratio: Ratio
    p: float
    blocks: int
    difference: Difference


def ratio_of(first: Sequence[float], second: Sequence[float], *, confidence: float = CONFIDENCE) -> Ratio:
    """Return second / first from paired samples in seconds, with an interval of ``confidence``.

    Raises ``ValueError`` when the samples do not pair up, or one is not above 0.
    """
    logs = log_ratios(first, second)
    return _ratio(logs, len(logs), confidence)


def level_of(samples: Sequence[float], *, confidence: float = CONFIDENCE) -> tuple[float, float, float]:
    """Return the typical size of samples and its interval: the same estimate, of one arm alone.

    With fewer than six samples the interval is (0, inf). Raises ``ValueError`` as :func:`ratio_of` does.
    """
    level = _ratio([log(one) for one in samples], len(samples), confidence)
    return level.estimate, level.low, level.high


def log_ratios(first: Sequence[float], second: Sequence[float]) -> list[float]:
    """Return the logarithm of second / first of each pair. Raises ``ValueError`` as :func:`ratio_of` does."""
    return [log(after) - log(before) for before, after in zip(first, second, strict=True)]


def blocks_of(logs: Sequence[float], *, most: int = MOST_BLOCKS) -> list[float]:
    """Join neighbouring pairs into at most ``most`` blocks, each an even number of pairs; give their medians.

    An even number, because A-B and B-A alternate and a drift of the machine then cancels. What is left over at the
    end of the series is left out. A series of no more than ``most`` pairs is left as it is.
    """
    if len(logs) <= most:
        return list(logs)
    size = 2 * -(-len(logs) // (2 * most))
    return [median(logs[start : start + size]) for start in range(0, len(logs) - size + 1, size)]


def compare(
    first: Sequence[float], second: Sequence[float], *, floor: float = FLOOR, significance: float = SIGNIFICANCE
) -> Comparison:
    """Compare one variant in two cells by paired samples, the older cell first.

    Raises ``ValueError`` as :func:`ratio_of` does.
    """
    logs = log_ratios(first, second)
    blocks = blocks_of(logs)
    ratio, p = _ratio(blocks, len(logs), CONFIDENCE), _rank_test(blocks)
    difference = decide(ratio, p, blocks=len(blocks), floor=floor, significance=significance)
    return Comparison(ratio=ratio, p=p, blocks=len(blocks), difference=difference)


def decide(
    ratio: Ratio, p: float, *, blocks: int, floor: float = FLOOR, significance: float = SIGNIFICANCE
) -> Difference:
    """Say what a ratio and a p-value mean: a difference needs the test *and* an estimate beyond the floor."""
    if blocks < FEWEST_BLOCKS or not ratio.is_bounded:
        return Difference.INCONCLUSIVE
    if p < significance and ratio.estimate > 1 + floor:
        return Difference.SLOWER
    if p < significance and ratio.estimate < 1 / (1 + floor):
        return Difference.FASTER
    if 1 / (1 + floor) <= ratio.low and ratio.high <= 1 + floor:
        return Difference.SAME
    return Difference.INCONCLUSIVE


def correct(
    family: Sequence[Comparison], *, floor: float = FLOOR, significance: float = SIGNIFICANCE
) -> list[Comparison]:
    """Correct the comparisons of one family for their number, and decide again. No verdict gets stronger."""
    from scipy.stats import false_discovery_control

    if not family:
        return []
    corrected = false_discovery_control([one.p for one in family])
    return [
        replace(
            one,
            p=float(p),
            difference=decide(one.ratio, float(p), blocks=one.blocks, floor=floor, significance=significance),
        )
        for one, p in zip(family, corrected, strict=True)
    ]


def _rank_test(logs: Sequence[float]) -> float:
    from scipy.stats import wilcoxon

    if not any(logs):
        return 1.0
    return float(wilcoxon(logs).pvalue)


def _ratio(logs: Sequence[float], pairs: int, confidence: float) -> Ratio:
    if not logs:
        message = "no samples; measure at least one pair"
        raise ValueError(message)
    averages = sorted((one + other) / 2 for one, other in combinations_with_replacement(logs, 2))
    outside = _outside(len(logs), 1 - confidence)
    low, high = (0.0, inf) if outside is None else (exp(averages[outside]), exp(averages[-1 - outside]))
    return Ratio(estimate=exp(median(averages)), low=low, high=high, pairs=pairs)


_EXACT = 50
"""Samples up to which the distribution of the signed-rank test is counted out, as scipy does."""


@cache
def _outside(count: int, level: float) -> int | None:
    """Return how many Walsh averages lie outside the interval on each side; None when the test can reject nothing.

    That is the largest statistic that Wilcoxon's signed-rank test rejects on both sides, which depends on the number
    of samples alone: of the 2**count ways to give ranks a sign, so many have a sum of at most the statistic. Of many
    samples the normal distribution tells it, as in scipy. A report asks for a few of these, and importing scipy's tests
    takes longer than all else that it does.
    """
    if count > _EXACT:
        spread = sqrt(count * (count + 1) * (2 * count + 1) / 24)
        return floor(count * (count + 1) / 4 + spread * NormalDist().inv_cdf(level / 2))
    ways = [1] + [0] * (count * (count + 1) // 2)
    for rank in range(1, count + 1):
        for total in range(len(ways) - 1, rank - 1, -1):
            ways[total] += ways[total - rank]
    rejected = [2 * sum_of_ways <= level * 2**count for sum_of_ways in accumulate(ways)]
    return rejected.index(False) - 1 if rejected[0] else None
