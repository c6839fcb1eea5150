"""The published references, reported: green as they are, red for one changed outcome, never green for a hole."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from harness.cli import cli
from harness.contracts.plan import Plan
from harness.contracts.record import StateRecord
from harness.contracts.records import append_records, variants_in
from harness.interface import Outcome
from harness.judge.reference import read_reference
from harness.judge.summary import summarise
from harness.matrix.cases import load_cases
from harness.matrix.plan import Selection, plan_run
from harness.matrix.read import load_matrix
from harness.report.grid import across, aside
from harness.run.runs import Run

if TYPE_CHECKING:
    from pathlib import Path

    from harness.contracts.record import Record


@pytest.fixture
def _reports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROMPT_BENCH_REPORTS", str(tmp_path))


def as_run(name: str, records: list[Record]) -> Run:
    """Make a run that was asked for the whole matrix and has these records."""
    matrix = load_matrix(name)
    run = Run(id=name)
    head = Plan(matrix=name, title=matrix.title, device="cpu", run=name)
    run.add_plan(head, plan_run(matrix, load_cases(), Selection()))
    append_records(run.folder / "records" / "reference.jsonl", records)
    return run


@pytest.mark.usefixtures("_reports")
@pytest.mark.parametrize("name", ["documented", "grid", "torch", "library", "families"])
def test_every_record_of_a_reference_has_its_verdict(name: str) -> None:
    """All that the matrix asks for is there, and as expected; the report ends with 0."""
    summary = summarise(as_run(name, read_reference(name)), load_cases())
    assert set(summary.verdicts) <= {"as-expected", "unknown"}
    assert summary.for_a_person() == []
    report = CliRunner().invoke(cli, ["report", name])
    assert report.exit_code == 0, report.output


@pytest.mark.usefixtures("_reports")
def test_what_one_cell_alone_was_asked_for_has_no_column() -> None:
    """It stands below the grid, so that the five documents fit side by side."""
    summary = summarise(as_run("documented", read_reference("documented")), load_cases())
    assert [case.document for case in across(summary)] == ["000", "001", "002", "003", "004"]
    assert aside(summary) == ["generate_cost_growth: 1✓ in peft 0.21.2, transformers 5.23.0 alone"]


@pytest.mark.usefixtures("_reports")
def test_a_past_night_is_as_expected() -> None:
    """The nightly floats: its reference is one night's, for the cases of that night; nothing of it needs a person."""
    summary = summarise(as_run("nightly", read_reference("nightly")), load_cases())
    assert [one for one in summary.for_a_person() if one.record] == []


@pytest.mark.usefixtures("_reports")
@pytest.mark.parametrize("name", ["documented", "grid"])
def test_one_flipped_outcome_is_red_and_named(name: str) -> None:
    """A passed record made wrong turns the verdict red with that cell; a filter for something else does not see it."""
    records = read_reference(name)
    flipped = next(one for one in variants_in(reversed(records)) if one.outcome == Outcome.PASSED)
    wrong = replace(flipped, outcome=Outcome.WRONG, message="planted")
    as_run(name, [wrong if one is flipped else one for one in records])
    report = CliRunner().invoke(cli, ["report", name])
    assert report.exit_code == 1
    assert flipped.cell.id in report.output.replace("\n", "")
    assert "regressed" in report.output
    assert CliRunner().invoke(cli, ["report", name, "--fail-on", "fixed"]).exit_code == 0
    assert CliRunner().invoke(cli, ["report", name, "--fail-on", "regressed"]).exit_code == 1
    elsewhere = next(one.cell.id for one in variants_in(records) if one.cell != flipped.cell)
    assert CliRunner().invoke(cli, ["report", name, "--cell", elsewhere]).exit_code == 0


@pytest.mark.usefixtures("_reports")
@pytest.mark.parametrize("state", [False, True])
def test_a_cell_without_records_is_unknown(state: bool) -> None:
    """Whether it was measured or could not be imported: without its records the verdict is red."""
    records = read_reference("grid")
    cell = next(one.cell.id for one in records if isinstance(one, StateRecord) == state)
    as_run("grid", [one for one in records if one.cell.id != cell])
    report = CliRunner().invoke(cli, ["report", "grid"])
    assert report.exit_code == 1
    assert "unknown" in report.output or "not-run" in report.output
    assert cell in report.output.replace("\n", "")


@pytest.mark.usefixtures("_reports")
def test_the_claims_are_audited_against_the_references() -> None:
    """Where the sentences of the documents hold; a cure that is none does not, and a person has said so of each."""
    told = CliRunner().invoke(cli, ["claims"])
    assert told.exit_code == 0, told.output
    lines = told.output.splitlines()
    assert "003.torch-2.5.1: does not hold" in lines
    assert "000.error-in-0.13.0: holds in peft ==0.13.0, transformers ==4.45.1" in lines
    assert "001.several-devices: untested" in lines
    assert "004.message: holds" in lines
    assert CliRunner().invoke(cli, ["claims", "--document", "9"]).exit_code == 2
