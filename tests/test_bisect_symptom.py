"""From a record to good, bad or skip."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.bisect.search import Answer
from harness.bisect.symptom import Symptom, fails, has_no_answer, shown, symptom_of
from harness.interface import Outcome
from tests import planted
from tests.strategies import outcomes, records

if TYPE_CHECKING:
    from harness.contracts.record import Record, VariantRecord


def record(outcome: str, words: str | None = None, signature: str | None = None) -> VariantRecord:
    """Make a record with an outcome and its words."""
    return replace(planted.record({"peft": "0.13.0"}, outcome), signature=signature, message=words)


STATE = replace(planted.state_record({"peft": "0.13.0"}), message="no module")


@given(records(), records(), st.booleans())
def test_only_this_failure_is_bad(bad_end: VariantRecord, other: VariantRecord, any_failure: bool) -> None:
    """A record is bad when it fails like the bad end, or fails at all with ``any_failure``."""
    if not fails(bad_end):
        return
    symptom = symptom_of(bad_end, any_failure=any_failure)
    assert symptom.answer(bad_end) is Answer.BAD
    answer = symptom.answer(other)
    if has_no_answer(other):
        assert answer is Answer.SKIP
    elif other.outcome == Outcome.PASSED:
        assert answer is Answer.GOOD
    elif any_failure:
        assert answer is Answer.BAD
    elif answer is Answer.BAD:
        assert other.outcome == bad_end.outcome


@given(outcomes)
def test_every_outcome_has_an_answer(outcome: str) -> None:
    """What is not measured is a skip; a timeout that was not asked for may be the machine's."""
    answer = Symptom(outcome="wrong", words="x").answer(record(outcome, "y"))
    skips = {"unsupported", "no-device", "not-run", "timeout", "out-of-memory"}
    assert (answer is Answer.SKIP) == (outcome in skips)


def test_a_cell_that_was_never_ready_is_a_skip() -> None:
    """Whatever the symptom, any failure included."""
    for any_failure in (False, True):
        assert Symptom(outcome="error", words="e", any_failure=any_failure).answer(STATE) is Answer.SKIP
    assert shown(STATE) == "import-failed: no module"


def test_numbers_in_a_wrong_answer_do_not_matter() -> None:
    """The same wrong answer with another number in it is the same; other words are another."""
    symptom = symptom_of(record("wrong", "differs by 0.25 at row 3"))
    assert symptom.answer(record("wrong", "differs by 1.5 at row 12")) is Answer.BAD
    assert symptom.answer(record("wrong", "drops the prompt")) is Answer.GOOD


def test_another_signature_is_not_this_failure() -> None:
    """An error elsewhere is told as another failure, not as the symptom."""
    symptom = symptom_of(record("error", "m", "KeyError: 'a' @ peft:f"))
    assert symptom.answer(record("error", "m", "KeyError: 'a' @ peft:f")) is Answer.BAD
    assert symptom.answer(record("error", "m", "TypeError: b @ peft:f")) is Answer.GOOD


@pytest.mark.parametrize("good", [record("passed"), record("unsupported", "u"), STATE])
def test_what_does_not_fail_is_no_symptom(good: Record) -> None:
    """The bad end has to fail."""
    with pytest.raises(ValueError, match="not a failure"):
        symptom_of(good)
