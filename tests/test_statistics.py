"""Statistics of paired samples: what must hold whatever the numbers are."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.stats import wilcoxon

from harness.latency.statistics import (
    FEWEST_BLOCKS,
    FEWEST_PAIRS,
    FLOOR,
    MOST_BLOCKS,
    Comparison,
    Difference,
    _outside,
    blocks_of,
    compare,
    correct,
    decide,
    level_of,
    log_ratios,
    ratio_of,
)

SECONDS = st.floats(1e-4, 10.0)
PAIRS = st.lists(st.tuples(SECONDS, SECONDS), min_size=1, max_size=30)
MANY = st.lists(st.tuples(SECONDS, SECONDS), min_size=2 * FEWEST_BLOCKS, max_size=60)
OPPOSITE = {
    Difference.SLOWER: Difference.FASTER,
    Difference.FASTER: Difference.SLOWER,
    Difference.SAME: Difference.SAME,
    Difference.INCONCLUSIVE: Difference.INCONCLUSIVE,
}


def noisy(count: int, *, slower: float = 0.0, spread: float = 0.05, seed: int = 0) -> tuple[list[float], list[float]]:
    """Make paired samples with a spread, a tenth of them hit by a neighbour, and a slowdown of the second."""
    dice = random.Random(seed)  # noqa: S311 - noise, no secret

    def one() -> float:
        return 0.01 * dice.lognormvariate(0, spread) * (2 if dice.random() < 0.1 else 1)

    return [one() for _ in range(count)], [(1 + slower) * one() for _ in range(count)]


@given(PAIRS)
@settings(max_examples=30, deadline=None)
def test_swapping_the_arms_inverts_the_ratio(pairs: list[tuple[float, float]]) -> None:
    """Estimate and interval of a / b are the inverse of those of b / a."""
    first, second = zip(*pairs, strict=True)
    there, back = ratio_of(first, second), ratio_of(second, first)
    assert there.estimate == pytest.approx(1 / back.estimate)
    assert there.low == pytest.approx(1 / back.high), "1 / inf is 0"
    assert there.high == pytest.approx(1 / back.low if back.low else float("inf"))
    assert there.low <= there.estimate * (1 + 1e-9)
    assert there.estimate <= there.high * (1 + 1e-9)


@given(MANY)
@settings(max_examples=25, deadline=None)
def test_swapping_the_arms_swaps_the_verdict(pairs: list[tuple[float, float]]) -> None:
    """Slower one way is faster the other way, with the same p-value."""
    first, second = zip(*pairs, strict=True)
    there, back = compare(first, second), compare(second, first)
    assert OPPOSITE[there.difference] is back.difference
    assert there.p == pytest.approx(back.p)


@given(MANY, st.floats(0.01, 100.0))
@settings(max_examples=25, deadline=None)
def test_a_faster_machine_changes_no_ratio(pairs: list[tuple[float, float]], scale: float) -> None:
    """Multiplying every sample leaves the ratio; multiplying one arm multiplies it."""
    first, second = zip(*pairs, strict=True)
    plain = ratio_of(first, second)
    both = ratio_of([scale * one for one in first], [scale * one for one in second])
    one_arm = ratio_of(first, [scale * one for one in second])
    assert both.estimate == pytest.approx(plain.estimate)
    assert one_arm.estimate == pytest.approx(scale * plain.estimate)
    assert one_arm.high == pytest.approx(scale * plain.high)
    assert level_of([scale * one for one in first])[0] == pytest.approx(scale * level_of(first)[0])


@given(st.lists(st.tuples(SECONDS, SECONDS), min_size=1, max_size=FEWEST_BLOCKS - 1))
@settings(max_examples=25, deadline=None)
def test_too_few_samples_are_inconclusive(pairs: list[tuple[float, float]]) -> None:
    """However different they are: a guess is no answer."""
    first, second = zip(*pairs, strict=True)
    assert compare(first, second).difference is Difference.INCONCLUSIVE
    assert compare(first, [1000 * one for one in second]).difference is Difference.INCONCLUSIVE
    assert ratio_of(first[:5], second[:5]).is_bounded is False


def test_the_fewest_pairs_have_an_interval() -> None:
    """Six pairs are the first with a bounded 95 % interval: that of all averages."""
    first, second = noisy(FEWEST_PAIRS)
    assert ratio_of(first, second).is_bounded
    assert not ratio_of(first[1:], second[1:]).is_bounded


@given(st.lists(st.floats(-2, 2).filter(lambda one: abs(one) > 1e-6), min_size=6, max_size=25, unique_by=abs))
@settings(max_examples=30, deadline=None)
def test_interval_and_test_agree(logs: list[float]) -> None:
    """The interval leaves out 1 exactly when scipy's test rejects equality at 5 %."""
    averages = [(one + other) / 2 for index, one in enumerate(logs) for other in logs[index:]]
    assume(all(abs(one) > 1e-9 for one in averages))
    ratio = ratio_of([1.0] * len(logs), [math.exp(one) for one in logs])
    rejected = wilcoxon(logs).pvalue <= 0.05
    assert rejected == (not ratio.low <= 1 <= ratio.high)


def test_the_interval_covers_as_often_as_it_says() -> None:
    """Of 200 intervals of eight noisy pairs about 95 % hold the truth (seeded; 90 % would be three errors off)."""
    covered = 0
    for seed in range(200):
        ratio = ratio_of(*noisy(8, slower=0.1, seed=seed))
        covered += ratio.low <= 1.1 <= ratio.high
    assert 0.90 <= covered / 200 <= 0.99


@given(st.integers(1, 2000))
def test_blocks_are_few_and_leave_out_little(count: int) -> None:
    """At most sixty blocks of equal, even size; what is left out is less than one block."""
    blocks = blocks_of([float(index) for index in range(count)])
    assert len(blocks) <= MOST_BLOCKS
    assert len(blocks) >= min(count, MOST_BLOCKS // 2)


def test_a_drift_of_the_machine_is_no_difference() -> None:
    """A machine that gets slower and slower: in the order A-B-B-A neither arm looks worse."""
    order = "ABBA" * 30
    times = [0.01 * 1.01**place for place, _ in enumerate(order)]
    first = [time for time, arm in zip(times, order, strict=True) if arm == "A"]
    second = [time for time, arm in zip(times, order, strict=True) if arm == "B"]
    result = compare(first, second)
    assert result.difference is Difference.SAME
    assert result.ratio.estimate == pytest.approx(1.0, abs=1e-3)


@pytest.mark.parametrize(
    ("slower", "expected"), [(0.0, Difference.SAME), (0.1, Difference.SLOWER), (-0.1, Difference.FASTER)]
)
def test_a_planted_difference_is_found(slower: float, expected: Difference) -> None:
    """Ten percent in either direction, through noise that is as large; and nothing where there is nothing."""
    assert compare(*noisy(200, slower=slower)).difference is expected


def test_a_difference_below_the_floor_is_nobodys_work() -> None:
    """Two percent, seen without any doubt, is called the same."""
    result = compare(*noisy(2000, slower=0.02, spread=0.01))
    assert result.p < 1e-6
    assert result.difference is Difference.SAME
    assert compare(*noisy(2000, slower=0.02, spread=0.01), floor=0.01).difference is Difference.SLOWER


def test_identical_samples_are_the_same() -> None:
    """No difference at all is p = 1, not an error of the test."""
    result = compare([0.01] * 40, [0.01] * 40)
    assert (result.p, result.difference) == (1.0, Difference.SAME)


@given(st.lists(st.integers(0, 40), min_size=1, max_size=12))
@settings(max_examples=12, deadline=None)
def test_the_correction_never_makes_a_verdict_stronger(percents: list[int]) -> None:
    """p-values grow or stay, and what was not called alone is not called in a family."""
    family = [compare(*noisy(40, slower=percent / 100, seed=index)) for index, percent in enumerate(percents)]
    called = {Difference.SLOWER, Difference.FASTER}
    for alone, together in zip(family, correct(family), strict=True):
        assert together.p >= alone.p * (1 - 1e-9)
        assert alone.difference in called or together.difference not in called


def test_one_of_many_is_corrected() -> None:
    """A p-value that calls a difference alone does not call it among twenty."""
    lucky = Comparison(ratio=ratio_of(*noisy(40, slower=0.2)), p=0.009, blocks=20, difference=Difference.SLOWER)
    others = [Comparison(ratio=lucky.ratio, p=0.5, blocks=20, difference=Difference.INCONCLUSIVE)] * 19
    assert correct([lucky])[0].difference is Difference.SLOWER
    assert correct([lucky, *others])[0].difference is Difference.INCONCLUSIVE
    assert correct([]) == []


def test_the_floor_and_the_test_are_both_needed() -> None:
    """A large estimate without the test, or the test without size, calls nothing."""
    ratio = ratio_of(*noisy(40, slower=0.3))
    assert decide(ratio, 0.5, blocks=20) is Difference.INCONCLUSIVE
    assert decide(ratio, 0.0001, blocks=20) is Difference.SLOWER
    assert decide(ratio, 0.0001, blocks=FEWEST_BLOCKS - 1) is Difference.INCONCLUSIVE
    assert decide(ratio, 0.0001, blocks=20, floor=10 * FLOOR) is not Difference.SLOWER


def test_what_does_not_pair_up_is_refused() -> None:
    """Samples are pairs, above 0, and at least one."""
    for first, second in (([1.0, 2.0], [1.0]), ([], [])):
        with pytest.raises(ValueError, match=r"argument|samples"):
            ratio_of(first, second)
    with pytest.raises((ValueError, ZeroDivisionError)):
        log_ratios([0.0], [1.0])


@pytest.mark.parametrize("count", [1, 5, 6, 8, 12, 20, 50, 51, 60, 200])
def test_the_interval_ends_where_the_test_stops_to_reject(count: int) -> None:
    """As many averages are left out on each side as scipy's own test rejects, one more it does not."""

    def p_of(statistic: int) -> float:
        left, ranks = statistic, []
        for rank in range(count, 0, -1):
            ranks.append(rank if rank <= left else -rank)
            left -= rank if rank <= left else 0
        return float(wilcoxon(ranks).pvalue)

    level = 0.05
    outside = _outside(count, level)
    if outside is None:
        assert p_of(0) > level
    else:
        assert p_of(outside) <= level < p_of(outside + 1)
