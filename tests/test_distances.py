"""A wrong answer is as far from its reference as before, or it is another one."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.interface import Outcome
from harness.judge.distances import SHARE, distances_of, distances_that_differ
from tests.planted import LLAMA, record

if TYPE_CHECKING:
    from harness.contracts.record import VariantRecord

FAR = st.floats(0, 1e9) | st.sampled_from([math.inf, math.nan])


def wrong(**distances: float | str) -> VariantRecord:
    """Make the record of a wrong answer with these distances."""
    return replace(record({"peft": "1"}, Outcome.WRONG, variant=LLAMA), evidence={"distances": distances})


@given(FAR, FAR)
def test_the_same_both_ways_round(one: float, other: float) -> None:
    """Nothing differs from itself, and what differs does so whichever came first."""
    first, second = wrong(logits=one), wrong(logits=other)
    assert distances_that_differ(first, first) == {}
    assert bool(distances_that_differ(first, second)) == bool(distances_that_differ(second, first))


@given(st.floats(0, 1), st.floats(0, 1))
def test_what_is_allowed_is_no_difference(one: float, other: float) -> None:
    """Rounding is other on other machines; a wrong record also has distances that are within it."""
    assert distances_that_differ(wrong(logits=one), wrong(logits=other)) == {}


@given(st.floats(2, 1e6), st.floats(0, 1))
def test_beyond_the_share_it_is_another_answer(far: float, part: float) -> None:
    """However large it is; within the share it is the same."""
    nearer = far * (1 - SHARE * part * 0.99)
    assert distances_that_differ(wrong(logits=far), wrong(logits=nearer)) == {}
    assert distances_that_differ(wrong(logits=far), wrong(logits=far * (1 + 3 * SHARE)))


@pytest.mark.parametrize("outcome", [one for one in Outcome if one != Outcome.WRONG])
def test_only_wrong_answers_have_a_distance_that_counts(outcome: Outcome) -> None:
    """One that passes is near enough, and one that raises came to none."""
    other = replace(record({"peft": "1"}, outcome, variant=LLAMA), evidence={"distances": {"logits": 9.0}})
    assert distances_that_differ(wrong(logits=30.0), other) == {}


def test_a_record_may_hold_anything() -> None:
    """What a cell writes is read as it is: texts of infinities count, other texts and shapes do not."""
    assert distances_of(wrong(logits="inf", forward="far", generate=3)) == {"logits": math.inf, "generate": 3.0}
    assert distances_of(replace(wrong(), evidence={"distances": [1]})) == {}
