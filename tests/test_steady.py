"""What changes from run to run is told, and what stays is not."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.contracts.record import Record, VariantRecord
from harness.contracts.records import place_of
from harness.errors import UsageError
from harness.interface import Outcome
from harness.matrix.cases import load_cases
from harness.matrix.plan import Selection, plan_run
from harness.matrix.read import load_matrix
from harness.selfcheck.steady import ends, hold
from tests.strategies import records

if TYPE_CHECKING:
    from collections.abc import Iterable

CHANGES = ({"outcome": Outcome.PASSED}, {"outcome": Outcome.WRONG}, {"signature": "x y z"})
Run = dict[tuple[str, ...], Record]


def run_of(found: Iterable[VariantRecord]) -> Run:
    """Make a run of records."""
    return {place_of(one): one for one in found}


@given(found=st.lists(records(), max_size=3), times=st.integers(2, 4))
def test_equal_runs_are_steady(found: list[VariantRecord], times: int) -> None:
    """Times and keys are not compared; the durations of each run are added up by cell."""
    run = run_of(found)
    later = run_of(replace(one, key="other", time="later", duration_s=2.0) for one in found)
    held = hold([run, *[later] * (times - 1)])
    assert (held.compared, held.unsteady, held.restless) == (len(run), (), ())
    for cell, seconds in held.seconds.items():
        variants = sum(place[0] == cell for place in run)
        assert seconds == pytest.approx([0.1 * variants, *[2.0 * variants] * (times - 1)])


@given(
    record=records(),
    turn=st.integers(0, 2),
    change=st.sampled_from(CHANGES),
)
def test_one_other_outcome_in_any_run_is_told(record: VariantRecord, turn: int, change: dict[str, Any]) -> None:
    """Whichever run it is."""
    runs = [run_of([record]) for _ in range(3)]
    changed = replace(record, **change)
    runs[turn] = run_of([changed])
    if changed == record:
        return
    held = hold(runs)
    assert len(held.unsteady) == 1
    assert not held.restless


@given(record=records(), turn=st.integers(0, 2))
def test_a_record_that_one_run_lacks_is_told(record: VariantRecord, turn: int) -> None:
    """A variant that was not measured again is not steady."""
    runs: list[Run] = [run_of([record]) for _ in range(3)]
    runs[turn] = {}
    assert len(hold(runs).unsteady) == 1


@given(record=records())
def test_other_evidence_beside_an_equal_outcome_is_counted_apart(record: VariantRecord) -> None:
    """It does not make a variant unsteady."""
    held = hold([run_of([record]), run_of([replace(record, evidence={"margin": 0.5})])])
    assert not held.unsteady
    assert len(held.restless) == 1


def test_the_ends_are_the_oldest_and_the_newest_pair() -> None:
    """By peft, then by transformers; cells that float cannot be put in order."""
    planned = plan_run(load_matrix("library"), load_cases(), Selection())
    old, new = (one.cell.pins for one in ends(planned))
    assert (old["peft"], old["transformers"]) == ("0.9.0", "4.38.2")
    assert (new["peft"], new["transformers"]) == ("0.21.2", "5.24.0")
    with pytest.raises(UsageError, match="--cell"):
        ends([one for one in plan_run(load_matrix("nightly"), load_cases(), Selection()) if one.cell.floating][:2])
