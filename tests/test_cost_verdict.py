"""The verdict on cost: a lost cache is told by counts alone, and nothing else is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.contracts.records import variants_in
from harness.interface import Outcome
from harness.judge.cost_verdict import COMPUTED_AGAIN, LOST, CostVerdict, grows, judge_cost, why_costly
from harness.judge.reference import published, read_reference
from harness.judge.verdicts import Verdict, judge
from harness.matrix.cases import Case
from tests.planted import record

ASKED = {"cached", "in_memory", "after_reload", "first_step_cache", "generate"}
"""Aspects that ask for the cache; records from before counters said so tell it by their aspect."""


def counters(per_call: list[int], *, use_cache: bool = True) -> dict[str, Any]:
    """Make counters as a record has them."""
    return {"use_cache": use_cache, "tokens_per_call": per_call, "tokens_fed": sum(per_call)}


@given(st.integers(1, 100), st.integers(1, 8), st.integers(2, 60))
def test_one_token_a_row_is_a_working_cache(prompt: int, rows: int, steps: int) -> None:
    """Whatever the prompt and the batch."""
    assert judge_cost(counters([prompt * rows] + [rows] * steps)) is CostVerdict.AS_EXPECTED


@given(st.integers(1, 100), st.integers(1, 8), st.integers(2, 60), st.integers(0, 30))
def test_all_tokens_again_is_a_lost_one(prompt: int, rows: int, steps: int, virtual: int) -> None:
    """Also where the first step alone has the virtual tokens; and a loss on the way counts as one from the start."""
    fed = [(prompt + step + 1) * rows for step in range(steps)]
    assert judge_cost(counters([(prompt + virtual) * rows, *fed])) is CostVerdict.REGRESSED
    late = [rows] * (steps // 2 - 1) + fed[max(steps // 2 - 1, 0) :]
    assert judge_cost(counters([prompt * rows, *late])) is CostVerdict.REGRESSED
    assert judge_cost(counters([prompt * rows, *fed], use_cache=False)) is CostVerdict.UNKNOWN


@given(st.lists(st.integers(2, 50), min_size=1, max_size=3), st.integers(2, 9), st.integers(0, 6))
def test_a_prompt_is_computed_once_for_each_text(texts: list[int], steps: int, more: int) -> None:
    """As often as something is read in, and no more often; what is counted nowhere says nothing."""
    fed = [number for text in texts for number in (text, *[1] * steps)]
    told = {**counters(fed), "prompts_computed": len(texts) + more}
    assert why_costly(told) == (COMPUTED_AGAIN if more else "")
    assert judge_cost(told) is (CostVerdict.REGRESSED if more else CostVerdict.AS_EXPECTED)
    assert why_costly(counters(fed)) == ""


@pytest.mark.parametrize("per_call", [[], [37], [37, 1]])
def test_too_few_steps_say_nothing(per_call: list[int]) -> None:
    """One step after the first forward cannot grow."""
    assert judge_cost(counters(per_call)) is CostVerdict.UNKNOWN
    assert judge_cost({}) is CostVerdict.UNKNOWN


def test_one_odd_step_is_no_growth() -> None:
    """A single step that is fed more than the one before it is not a square."""
    assert not grows([1, 1, 1, 2, 1, 1])
    assert not grows([1, 1, 1, 1, 1, 2])


def test_a_right_answer_at_the_wrong_price_needs_a_person() -> None:
    """The outcome is as expected, the verdict says regressed: cost; without the loss nobody is called."""
    case = Case(
        name="planted", path=Path("planted.py"), summary="", document=None, variants=(),
    )  # fmt: skip
    passed = record({}, "passed")
    lost = judge(case, replace(passed, counters=counters([37, 38, 39, 40])), "c", {})
    assert (lost.verdict, lost.cost, lost.label, lost.gravest) == (
        Verdict.AS_EXPECTED, CostVerdict.REGRESSED, "regressed: cost", Verdict.REGRESSED,
    )  # fmt: skip
    assert lost.needs_a_person
    assert lost.words == LOST
    fine = judge(case, replace(passed, counters=counters([37, 1, 1, 1])), "c", {})
    assert (fine.label, fine.needs_a_person) == ("as-expected", False)
    wrong = judge(case, replace(record({}, "wrong"), counters=counters([37, 38, 39, 40])), "c", {})
    assert (wrong.label, wrong.cost) == ("regressed", CostVerdict.UNKNOWN), "what it costs belongs to what is wrong"


UNCACHED = {"uncached", "workaround", "generate_uncached"}
"""Aspects that turn the cache off: what they are fed grows at each step."""


@pytest.mark.parametrize("name", published())
def test_no_false_alarm_in_the_reference_records(name: str) -> None:
    """No record that was ever published had its cache lost where it was asked for; uncached ones do grow."""
    counted = [one for one in variants_in(read_reference(name)) if one.counters.get("tokens_per_call")]
    # By aspect alone: with transformers 4.38 a static cache is fed the whole text each step, with LoRA.
    right = [one for one in counted if one.outcome == Outcome.PASSED]
    asked = [one for one in right if one.variant.get("aspect") in {*ASKED, "growth"}]
    alarms = [one for one in asked if judge_cost(one.counters, asked=True) is CostVerdict.REGRESSED]
    # With transformers 5.24 a prompt is put in at every step (a defect of its own): the tolerance of half precision
    # lets three such answers pass, and the counts do not.
    told = [one for one in alarms if one.case == "half_precision" and why_costly(one.counters) == COMPUTED_AGAIN]
    assert {one.cell.packages["transformers"] for one in told} <= {"5.24.0"}
    assert [one for one in alarms if one not in told] == []
    # One that fails at its first forward has nothing that could grow: in the torch matrix each of them does.
    steps = [one for one in counted if len(one.counters["tokens_per_call"]) > 1]
    uncached = [one for one in steps if one.variant.get("aspect") in UNCACHED]
    assert uncached or name in {"references", "torch"}, "only these never turn the cache off"
    verdicts = [judge_cost(one.counters, asked=True) for one in uncached]
    assert not uncached or CostVerdict.REGRESSED in verdicts, "the check can fail: without a cache the tokens grow"
