"""Calibration: rates, power and the other rules, on samples whose truth is known."""

from __future__ import annotations

import random
import statistics

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.latency.calibration import Series, Subject, calibrate, pool, rate, smallest_found
from harness.latency.verdicts import asv_calls, pytest_benchmark_calls


def subject(family: int, number: int, *, planted: float = 0.1, bias: float = 0.0) -> Subject:
    """Make a comparison of a cell with itself, 60 pairs with 5 % noise, and one with a planted slowdown."""
    dice = random.Random(1000 * family + number)  # noqa: S311 - noise, no secret

    def series(slower: float) -> Series:
        first = tuple(0.01 * dice.lognormvariate(0, 0.05) for _ in range(60))
        second = tuple(0.01 * (1 + slower) * dice.lognormvariate(0, 0.05) for _ in range(60))
        return Series(first=first, second=second, first_wall=first, second_wall=second)

    return Subject(
        cell="c", family=family, variant=f"v{number}", seconds=1.0, same=series(bias), planted=series(planted)
    )


def test_nothing_is_called_where_nothing_is_and_ten_percent_is_found() -> None:
    """Two families of ten; the samples survive a round trip through a file."""
    subjects = [subject(family, number) for family in range(2) for number in range(10)]
    again = [Subject.from_data(one.as_data()) for one in subjects]
    assert again == subjects
    result = calibrate(again)
    ours = result.rules[0]
    assert (ours.false_alarms.count, ours.false_alarms.total) == (0, 20)
    assert (ours.found.count, ours.found.total) == (20, 20)
    assert result.smallest is not None
    assert 0.05 < result.smallest <= 0.1


def test_a_side_that_is_always_slower_is_a_false_alarm() -> None:
    """The check can fail: A against a slower A is called, and counted."""
    result = calibrate([subject(0, number, bias=0.15) for number in range(5)])
    assert result.rules[0].false_alarms.count == 5


@given(st.integers(0, 50), st.integers(1, 50))
@settings(max_examples=30, deadline=None)
def test_a_rate_lies_in_its_interval(count: int, more: int) -> None:
    """Between 0 and 1, and around the share."""
    found = rate(count, count + more)
    assert 0 <= found.low <= found.share <= found.high <= 1


def test_power_has_to_stay() -> None:
    """One lucky size below a gap is not the smallest that is found."""
    assert smallest_found({0.05: 0.96, 0.06: 0.5, 0.07: 0.95, 0.08: 1.0}) == 0.07
    assert smallest_found({0.05: 0.5}) is None


def test_the_rule_of_pytest_benchmark_looks_at_means_alone() -> None:
    """More than ten percent is a failure, less is none; one outlier makes one."""
    assert not pytest_benchmark_calls([1.0, 1.0], [1.09, 1.1])
    assert pytest_benchmark_calls([1.0, 1.0], [1.1, 1.11])
    assert pytest_benchmark_calls([1.0] * 10, [1.0] * 9 + [3.0])


def test_the_rule_of_asv_wants_a_factor_and_a_test() -> None:
    """1.2 times the median with a clear difference in ranks; not 1.05, and not four samples."""
    dice = random.Random(0)  # noqa: S311 - noise, no secret
    before = [dice.lognormvariate(0, 0.02) for _ in range(30)]
    assert asv_calls(before, [1.2 * one for one in before])
    assert not asv_calls(before, [1.05 * one for one in before])
    assert not asv_calls([1.0, 1.1, 1.2, 1.3], [2.0, 2.1, 2.2, 2.3])


def test_a_rate_of_nothing_is_refused() -> None:
    """No comparisons, no rate."""
    with pytest.raises((ValueError, ZeroDivisionError, statistics.StatisticsError)):
        rate(0, 0)


def test_pooling_joins_families_of_one_cell() -> None:
    """Twice the samples, half the comparisons; what is left over is left out."""
    subjects = [subject(family, number) for family in range(5) for number in range(3)]
    joined = pool(subjects, 2)
    assert len(joined) == 6
    assert {len(one.same.first) for one in joined} == {120}
    assert joined[0].planted.second[:60] == subjects[0].planted.second
    assert pool(subjects, 6) == []
