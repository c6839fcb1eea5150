"""A matrix of two packages as a table of two axes: a row a version of one, a column a version of the other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from packaging.version import InvalidVersion, Version

from harness.interface import CellState, Outcome
from harness.packages import PACKAGES
from harness.report.grid import MARKS, worst_verdict

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.judge.summary import CellSummary, Summary

FEWEST_CELLS = 30
"""Below that a row for each cell is easier to read, and has room for words."""

NOT_READY = "×"  # noqa: RUF001 - a cross is meant
_FEW = 6
_BY_GRAVITY = (
    Outcome.WRONG, Outcome.CRASHED, Outcome.TIMEOUT, Outcome.OUT_OF_MEMORY, Outcome.ERROR, Outcome.NOT_RUN,
    Outcome.NO_DEVICE, Outcome.UNSUPPORTED,
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Pivot:
    """The two packages, the versions of each in order, and the cell at each place that has one."""

    rows: str
    columns: str
    row_versions: tuple[str, ...]
    column_versions: tuple[str, ...]
    cells: dict[tuple[str, str], CellSummary]

    def joined(self, entry: Callable[[CellSummary], str]) -> list[tuple[str, list[str]]]:
        """Return a label and the entries of each row; neighbours with equal entries are one row."""
        found: list[tuple[list[str], list[str]]] = []
        for row in self.row_versions:
            entries = [entry(cell) if (cell := self.cells.get((row, one))) else "" for one in self.column_versions]
            if found and found[-1][1] == entries:
                found[-1][0].append(row)
            else:
                found.append(([row], entries))
        return [(rows[0] if len(rows) == 1 else f"{rows[0]} to {rows[-1]}", entries) for rows, entries in found]


def pivot_of(summary: Summary) -> Pivot | None:
    """Return the pivot of a summary whose many cells differ in two packages alone; None for others."""
    pins = [cell.facts.pins for cell in summary.cells]
    varying = [name for name in PACKAGES if len({one.get(name) for one in pins}) > 1]
    if len(summary.cells) < FEWEST_CELLS or len(varying) != len(("rows", "columns")):
        return None
    sorted_versions = {name: _in_order({one.get(name, "-") for one in pins}) for name in varying}
    rows, columns = sorted(varying, key=lambda name: -len(sorted_versions[name]))
    cells = {(cell.facts.pins.get(rows, "-"), cell.facts.pins.get(columns, "-")): cell for cell in summary.cells}
    if len(cells) < len(summary.cells):
        return None
    return Pivot(
        rows=rows,
        columns=columns,
        row_versions=sorted_versions[rows],
        column_versions=sorted_versions[columns],
        cells=cells,
    )


def worst_mark(cell: CellSummary) -> str:
    """Return one character for a cell: the gravest of its outcomes; a star when a person should look."""
    star = "" if worst_verdict(cell.judged) == "as-expected" and cell.state_verdict == "as-expected" else "*"
    if cell.state != CellState.READY:
        return NOT_READY + star
    outcomes = {one.outcome for one in cell.judged}
    return next((MARKS[one] for one in _BY_GRAVITY if one in outcomes), MARKS[Outcome.PASSED]) + star


def all_marks(cell: CellSummary) -> str:
    """Return one character for each variant of a cell where they are few, else the gravest one."""
    if cell.state != CellState.READY or len(cell.judged) > _FEW:
        return worst_mark(cell)
    star = "*" if any(one.needs_a_person for one in cell.judged) else ""
    return "".join(MARKS[Outcome(one.outcome)] for one in cell.judged) + star


def mark_order(summary: Summary) -> str:
    """Say which variant each mark of :func:`all_marks` stands for; empty where it stands for all."""
    first = next((cell for cell in summary.cells if cell.judged), None)
    if first is None or len(first.judged) > _FEW:
        return f"the gravest outcome of a cell; {NOT_READY} cannot be installed or imported"
    names = ["-".join(v for axis, v in one.variant.items() if axis not in {"device", "dtype"}) for one in first.judged]
    return f"one mark each for {', '.join(names)}; {NOT_READY} cannot be installed or imported"


def _in_order(versions: set[str]) -> tuple[str, ...]:
    return tuple(sorted(versions, key=_key))


def _key(version: str) -> tuple[int, Version, str]:
    try:
        return (0, Version(version), "")
    except InvalidVersion:
        return (1, Version("0"), version)
