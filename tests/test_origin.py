"""Where records come from: all published ones and this machine's own, the newest of each."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from harness.contracts.record import StateRecord
from harness.contracts.records import variants_in
from harness.errors import UsageError
from harness.judge import reference
from harness.judge.origin import asked_origin, newest_of_versions
from harness.judge.reference import published, read_reference, write_reference
from harness.run.runs import Run
from harness.run.store import Store
from tests.planted import LLAMA, record, state_record, write_run

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

PACKAGES = {"peft": "0.13.0", "transformers": "4.45.1"}
CASE = "generate_with_cache"


@pytest.fixture
def reports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Publish one record that is wrong, as the grid."""
    monkeypatch.setenv("PROMPT_BENCH_REPORTS", str(tmp_path))
    monkeypatch.setattr(reference, "REFERENCE", tmp_path / "reference")
    run = Run(id="planted")
    write_run(run, [record(PACKAGES, "wrong"), record(PACKAGES, "passed", case="beam_search")])
    write_reference(run, "grid")
    return tmp_path


def outcomes(cases: set[str], runs: tuple[str, ...] = ()) -> list[str]:
    """Return what is known of some cases."""
    return [str(one.outcome) for one in variants_in(asked_origin((), runs, cases).records)]


def test_what_this_machine_measured_later_counts(reports: Path) -> None:
    """The store is asked beside the references, and the newest record of equal versions is the one."""
    assert outcomes({CASE}) == ["wrong"]
    later = replace(record(PACKAGES, "passed", matrix="mine"), time="2027-01-01T00:00:00Z", key="mine")
    Store(reports / "store.sqlite").add([later])
    origin = asked_origin((), (), {CASE})
    assert [str(one.outcome) for one in variants_in(origin.records)] == ["passed"]
    assert origin.words == "all published records and the store of this machine"


def test_what_a_person_names_is_all_that_counts(reports: Path) -> None:
    """A matrix or a run alone, without the store."""
    Store(reports / "store.sqlite").add([replace(record(PACKAGES, "passed"), time="2027-01-01T00:00:00Z", key="mine")])
    assert outcomes({CASE}, ("planted",)) == ["wrong"]
    named = asked_origin(("grid",), (), {CASE})
    assert ([str(one.outcome) for one in variants_in(named.records)], named.words) == (
        ["wrong"],
        "the reference of grid",
    )


def test_cells_that_differ_in_a_version_are_not_one(reports: Path) -> None:
    """Equal ids are not enough, and neither is an equal pair: numpy may differ; every state is kept."""
    assert reports.is_dir()
    other = record({**PACKAGES, "numpy": "2.0.0"}, "passed", matrix="other")
    states = [state_record(PACKAGES, matrix="a"), state_record(PACKAGES, matrix="b")]
    assert len(newest_of_versions([record(PACKAGES, "wrong"), other, record(PACKAGES, "wrong"), *states])) == 4


def test_without_any_record_the_way_to_some_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line with the command."""
    monkeypatch.setenv("PROMPT_BENCH_REPORTS", str(tmp_path))
    monkeypatch.setattr(reference, "REFERENCE", tmp_path / "reference")
    with pytest.raises(UsageError, match=r"measure with: .* run documented"):
        asked_origin((), (), {CASE})


@pytest.mark.parametrize("name", published())
def test_passing_over_a_line_is_the_same_as_decoding_and_leaving_out(name: str) -> None:
    """For every published line: its case and variant are read before it is decoded, and read right."""

    def wanted(case: str, variant: Mapping[str, str]) -> bool:
        return case < "h" and variant.get("method") == LLAMA["method"]

    everything = read_reference(name)
    left = [one for one in everything if isinstance(one, StateRecord) or wanted(one.case, one.variant)]
    assert read_reference(name, wanted) == left
