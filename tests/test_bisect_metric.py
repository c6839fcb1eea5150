"""Metrics: a counter decides exactly, a latency with its interval, or not at all."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.bisect.search import Answer
from harness.bisect.symptom import compare_samples, make_rule, ratio_interval, samples
from harness.errors import UsageError
from tests import planted

if TYPE_CHECKING:
    from harness.contracts.record import VariantRecord


def record(outcome: str = "passed", *, latency: list[float] | None = None, **counters: Any) -> VariantRecord:
    """Make a record with counters and samples of the arm ``cached``."""
    arm = {"cached": {"samples_s": latency, "median_s": 0.0}, "ratio": 1.0} if latency else {}
    return replace(planted.record({"peft": "0.13.0"}, outcome), counters=counters, latency=arm)


@given(st.integers(1, 10_000), st.integers(0, 20_000), st.integers(0, 200))
def test_a_counter_is_exact(before: int, now: int, percent: int) -> None:
    """Bad is more than the share above the good end, and nothing else is."""
    rule = make_rule("tokens_fed", percent / 100, record(tokens_fed=before))
    assert (rule.answer(record(tokens_fed=now)) is Answer.BAD) == (now > before * (1 + percent / 100))
    assert rule.answer(record(tokens_fed=before)) is Answer.GOOD


def test_what_has_no_such_metric_is_a_skip() -> None:
    """A failed variant, a cell that was never ready, a counter that is a list or is missing."""
    rule = make_rule("forward_calls", 0.2, record(forward_calls=8))
    never_ready = planted.state_record({"peft": "0.13.0"})
    for one in (record("error", forward_calls=8), record(), record(forward_calls=[1]), never_ready):
        assert rule.answer(one) is Answer.SKIP
    assert "forward_calls more than 20% above the good end's 8" in rule.describe()


def test_a_good_end_without_the_metric_says_what_it_has() -> None:
    """The person sees the names to choose from."""
    with pytest.raises(UsageError, match="tokens_fed, latency_cached"):
        make_rule("nonsense", 0.2, record(latency=[1.0] * 8, tokens_fed=3, list=[1]))


def noisy(median: float, spread: float, seed: int) -> list[float]:
    """Draw eight samples around a median."""
    dice = random.Random(seed)  # noqa: S311 - samples
    return [median * (1 + dice.uniform(-spread, spread)) for _ in range(8)]


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10_000))
def test_a_clear_latency_is_told_and_a_doubtful_one_is_not(seed: int) -> None:
    """Twice as slow is bad, the same is good, and what straddles the threshold is a skip."""
    before = noisy(0.010, 0.02, seed)
    assert compare_samples(noisy(0.020, 0.02, seed + 1), before, 0.2) is Answer.BAD
    assert compare_samples(noisy(0.010, 0.02, seed + 1), before, 0.2) is Answer.GOOD
    wild = [0.012 * factor for factor in (0.5, 0.6, 0.8, 0.95, 1.05, 1.2, 1.4, 1.5)]
    assert compare_samples(wild, before, 0.2) is Answer.SKIP
    assert compare_samples([0.1] * 3, before, 0.2) is Answer.SKIP, "three samples say nothing"


@settings(deadline=None, max_examples=50)
@given(st.lists(st.floats(0.001, 1), min_size=4, max_size=12), st.floats(0.1, 10))
def test_the_interval_scales_and_holds_the_ratio(values: list[float], factor: float) -> None:
    """Samples times a factor have an interval around that factor, and the same twice over."""
    low, high = ratio_interval([one * factor for one in values], values)
    assert low <= factor * (1 + 1e-9)
    assert high >= factor * (1 - 1e-9)
    assert (low, high) == ratio_interval([one * factor for one in values], values)


def test_samples_of_a_latency_are_found_by_arm() -> None:
    """``latency_cached`` reads the samples of the arm ``cached``, never the ratio."""
    one = record(latency=[0.1, 0.2])
    assert samples(one, "latency_cached") == (0.1, 0.2)
    assert samples(one, "latency_ratio") == ()
