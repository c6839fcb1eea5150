"""Verdicts, by properties."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from harness.contracts.record import FAILED, MEASURED
from harness.interface import Outcome
from harness.judge.verdicts import Verdict, covers, defect_of, judge
from harness.matrix.cases import Case
from harness.matrix.expected import UNATTRIBUTED, Expectation
from tests.strategies import outcomes, records

if TYPE_CHECKING:
    from harness.contracts.record import VariantRecord

CASE = Case(
    name="planted",
    path=Path("planted.py"),
    summary="",
    document="009",
    variants=(),
    claims=(),
    expectations=(),
)


def expecting(outcome: str, signature: str = "") -> Case:
    """Make a case that expects an outcome everywhere."""
    return replace(CASE, expectations=(Expectation(outcome=outcome, defect="known", signature=signature),))


@given(record=records(), expected=outcomes)
def test_every_record_has_the_one_right_verdict(record: VariantRecord, expected: str) -> None:
    """The verdict follows from the two outcomes alone when no signature is asked for."""
    verdict = judge(expecting(expected), record, "c", record.variant).verdict
    if record.outcome not in MEASURED:
        assert verdict is Verdict.UNKNOWN
    elif record.outcome == expected:
        assert verdict is Verdict.AS_EXPECTED
    elif record.outcome == "passed":
        assert verdict is Verdict.FIXED
    elif expected == "passed":
        assert verdict is Verdict.REGRESSED
    else:
        assert verdict is Verdict.CHANGED


@given(record=records())
def test_without_an_expectation_only_passed_is_expected(record: VariantRecord) -> None:
    """The default is passed; no device is unknown but nobody's work."""
    judged = judge(CASE, record, "c", record.variant)
    assert (judged.verdict is Verdict.AS_EXPECTED) is (record.outcome == "passed")
    assert judged.needs_a_person is (record.outcome not in {"passed", "no-device"})


@given(variant=st.just({"model": "llama"}))
def test_no_record_is_unknown_and_needs_a_person(variant: dict[str, str]) -> None:
    """What was asked for and not measured is never green."""
    judged = judge(CASE, None, "c", variant)
    assert (judged.verdict, judged.needs_a_person) == (Verdict.UNKNOWN, True)


@given(record=records())
def test_another_signature_is_changed(record: VariantRecord) -> None:
    """The same outcome for another reason is news."""
    record = replace(record, outcome=Outcome.ERROR, signature="KeyError: x")
    assert judge(expecting("error", "KeyError"), record, "c", record.variant).verdict is Verdict.AS_EXPECTED
    assert judge(expecting("error", "RuntimeError"), record, "c", record.variant).verdict is Verdict.CHANGED


@given(record=records(), expected=outcomes)
def test_a_failure_is_put_down_to_the_entry_that_accounts_for_it(record: VariantRecord, expected: str) -> None:
    """To its defect where the entry is right, to none where it says otherwise; what does not fail has none."""
    case = expecting(expected)
    defect = defect_of(case, record)
    if record.outcome not in FAILED:
        assert defect == ""
    else:
        assert defect == ("known" if record.outcome == expected else UNATTRIBUTED)
    assert judge(case, record, "c", record.variant).defect == defect


def test_windows_cover_versions_and_variants() -> None:
    """Local labels do not matter, a missing package is covered by nothing."""
    packages = {"torch": "2.13.0+cpu", "peft": "0.13.0"}
    assert covers({"torch": "==2.13.0", "peft": "<0.13.1"}, {"model": ("llama",)}, packages, {"model": "llama"})
    assert not covers({"peft": ">0.13.0"}, {}, packages, {})
    assert not covers({"sentence-transformers": ">=1"}, {}, packages, {})
    assert not covers({}, {"model": ("llama",)}, packages, {"model": "bloom"})


def test_every_outcome_is_known_to_the_judge() -> None:
    """A new outcome must be given a meaning here first."""
    assert set(Outcome) - MEASURED == {Outcome.NOT_RUN, Outcome.NO_DEVICE}
