"""The failing cell is one that other commands can be given."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING

from harness.bisect.flow import cell_and_matrix
from harness.bisect.probe import Locks
from harness.environments.locks import lock_book
from harness.environments.resolve import Lock
from harness.matrix.read import load_matrix, parse_matrix
from harness.matrix.spec import Cell
from harness.matrix.write import matrix_text

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_a_cell_of_a_matrix_is_named_by_it(tmp_path: Path) -> None:
    """Nothing is written for it."""
    cell = load_matrix("grid").cells[0]
    assert cell_and_matrix(cell, Locks(), tmp_path) == (cell.id, "grid")
    assert list(tmp_path.iterdir()) == []


def test_another_cell_gets_a_matrix_with_its_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What floated with a date is pinned; the lock is found by whoever loads the matrix."""
    monkeypatch.setenv("PROMPT_BENCH_CACHE", str(tmp_path / "cache"))
    cell = Cell(
        python="3.11", pins={"torch": "2.13.0", "transformers": "newest", "peft": "0.12.0"}, as_of=date(2024, 7, 24)
    )
    lock = Lock(pins=("numpy==2.0", "peft==0.12.0", "torch==2.13.0", "transformers==4.43.2"))
    locks = Locks()
    locks.put(cell, lock)
    named = cell_and_matrix(cell, locks, tmp_path)
    assert named is not None
    matrix = load_matrix(named[1])
    (read,) = matrix.cells
    assert read.id == named[0] == "peft0.12.0-tf4.43.2-torch2.13.0-py3.11@20240724"
    assert lock_book(matrix).get(read) == lock


def test_a_cell_is_written_as_it_is_read(tmp_path: Path) -> None:
    """From a cell to TOML and back."""
    cell = Cell(python="3.11", pins={"torch": "2.13.0", "transformers": "4.45.2", "peft": "0.13.0"}, why="w")
    (read,) = parse_matrix(matrix_text("The failing end", [cell]), tmp_path / "cell.toml").cells
    assert (read.id, read.python, read.as_of, read.why) == (cell.id, cell.python, None, "w")
