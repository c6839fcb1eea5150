"""Many cells over two packages become a table of two axes; nothing is lost by joining rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from harness.contracts.plan import Plan
from harness.contracts.records import append_records
from harness.judge.reference import read_reference
from harness.judge.summary import summarise
from harness.matrix.cases import load_cases
from harness.matrix.plan import Selection, plan_run
from harness.matrix.read import load_matrix
from harness.report.pivot import all_marks, mark_order, pivot_of, worst_mark
from harness.report.shown import shown
from harness.report.terminal import console, print_summary
from harness.run.runs import Run

if TYPE_CHECKING:
    from pathlib import Path

    from harness.judge.summary import Summary


@pytest.fixture
def grid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Summary:
    """Judge the reference of the grid."""
    monkeypatch.setenv("PROMPT_BENCH_REPORTS", str(tmp_path))
    matrix, run = load_matrix("grid"), Run(id="grid")
    head = Plan(matrix="grid", title=matrix.title, device="cpu", run="grid")
    run.add_plan(head, plan_run(matrix, load_cases(), Selection()))
    append_records(run.folder / "records" / "reference.jsonl", read_reference("grid"))
    return summarise(run, load_cases())


def test_every_cell_has_its_place(grid: Summary) -> None:
    """Transformers down and peft across; the silent loss and the import failures are where they were measured."""
    pivot = pivot_of(grid)
    assert pivot is not None
    assert (pivot.rows, pivot.columns) == ("transformers", "peft")
    assert len(pivot.cells) == len(grid.cells) == 774
    assert worst_mark(pivot.cells["4.44.2", "0.12.0"]) == "≠"
    assert worst_mark(pivot.cells["4.42.4", "0.14.0"]) == "×"  # noqa: RUF001
    assert worst_mark(pivot.cells["4.46.3", "0.14.0"]) == "✓"
    assert all_marks(pivot.cells["4.46.3", "0.14.0"]) == "✓" * 6
    assert mark_order(grid).startswith("one mark each for llama-prompt_tuning-cached, llama-prompt_tuning-workaround")


def test_joined_rows_stand_for_all_of_them(grid: Summary) -> None:
    """Each version is in one row only, and equal to that row."""
    pivot = pivot_of(grid)
    assert pivot is not None
    labels = [label for label, _ in pivot.joined(all_marks)]
    firsts = [label.partition(" to ")[0] for label in labels]
    assert firsts == [version for version in pivot.row_versions if version in firsts]
    for label, entries in pivot.joined(all_marks):
        first, _, last = label.partition(" to ")
        rows = pivot.row_versions
        for row in rows[rows.index(first) : rows.index(last or first) + 1]:
            assert [all_marks(pivot.cells[row, one]) for one in pivot.column_versions] == entries


def test_it_fits_a_terminal(grid: Summary, capsys: pytest.CaptureFixture[str]) -> None:
    """Eighteen versions of peft in a hundred columns."""
    print_summary(shown(grid), console())
    lines = capsys.readouterr().out.splitlines()
    assert max(len(line) for line in lines) <= 100
    assert len(lines) < 60
