"""The failing cell by itself: a matrix that has it, written when none does, for ``repro`` and ``run``."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from harness.bisect.search import Answer
from harness.locks import LockBook
from harness.matrix import MATRICES, load_matrix
from harness.resolve import Lock

if TYPE_CHECKING:
    from pathlib import Path

    from harness.bisect.flow import Result
    from harness.bisect.probe import Locks
    from harness.spec import Cell


def failing_cell(result: Result) -> Cell | None:
    """Give the cell that shows the defect next to the change, or the bad corner; None without one."""
    for found in result.axes:
        if (change := found.finding.change) is not None:
            return found.axis.cells[change.right if change.becomes is Answer.BAD else change.left]
    return next(iter(result.corners.cells.values())) if result.corners else None


def cell_and_matrix(cell: Cell, locks: Locks, folder: Path) -> tuple[str, str] | None:
    """Give the id of a cell and the name of a matrix that has it, with its lock.

    Where no kept matrix does, one is written to ``folder``: ``cell.toml``, and its lock beside it.
    What floated with a date is pinned there to what it was. None when the cell has no lock.
    """
    for path in sorted(MATRICES.glob("*.toml")):
        if any(one.id == cell.id for one in load_matrix(path.stem).cells):
            return cell.id, path.stem
    lock = locks.get(cell)
    if not isinstance(lock, Lock):
        return None
    pinned = replace(cell, pins={name: lock.versions[name] for name in cell.pins}, why="the failing end of a bisect")
    path = folder / "cell.toml"
    path.write_text(as_toml(pinned), encoding="utf-8")
    LockBook(folder / "locks" / "cell.json").keep({pinned: lock})
    return pinned.id, str(path)


def as_toml(cell: Cell) -> str:
    """Write a cell as a matrix file with nothing else in it."""
    lines = ["[matrix]", 'title = "The failing end of a bisect"', "[[cell]]", f'why = "{cell.why}"']
    lines += [f'python = "{cell.python}"', *(f'{name} = "{version}"' for name, version in cell.pins.items())]
    lines += [f"as-of = {cell.as_of.isoformat()}"] if cell.as_of else []
    return "\n".join(lines) + "\n"
