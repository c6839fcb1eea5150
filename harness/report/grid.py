"""What every kind of report shows: the grid's cells, in one character and in words."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from harness.interface import CellState, Outcome
from harness.judge.verdicts import Verdict
from harness.packages import WINDOW_AXES

if TYPE_CHECKING:
    from collections.abc import Iterable

    from harness.judge.summary import CellSummary, Summary
    from harness.judge.verdicts import Judged
    from harness.matrix.cases import Case

MARKS = {
    Outcome.PASSED: "✓",
    Outcome.WRONG: "≠",
    Outcome.ERROR: "!",
    Outcome.CRASHED: "X",
    Outcome.TIMEOUT: "T",
    Outcome.OUT_OF_MEMORY: "M",
    Outcome.UNSUPPORTED: "·",
    Outcome.NO_DEVICE: "○",
    Outcome.NOT_RUN: "?",
}
"""One character for an outcome: ran and right, ran and wrong, raised, and so on."""

ORDER = tuple(MARKS)

MOST_ROWS = 40
"""Rows of a grid on a terminal or in Markdown: a screen of them."""


def tally(judged: Iterable[Judged]) -> str:
    """Write outcomes as counts with marks: ``12✓ 3≠ 5!``."""
    counts = Counter(Outcome(one.outcome) for one in judged)
    return " ".join(f"{counts[outcome]}{MARKS[outcome]}" for outcome in ORDER if counts[outcome])


def worst_verdict(judged: Iterable[Judged]) -> Verdict:
    """Return the verdict that a reader should see first."""
    present = {one.gravest for one in judged if one.needs_a_person}
    for verdict in (Verdict.REGRESSED, Verdict.CHANGED, Verdict.FIXED, Verdict.UNKNOWN):
        if verdict in present:
            return verdict
    return Verdict.AS_EXPECTED


def cell_text(cell: CellSummary, case: str) -> str:
    """Return the grid's entry for one case in one cell."""
    if cell.state != CellState.READY:
        return cell.state
    judged = cell.of_case(case)
    if not judged:
        return "-"
    mark = "" if worst_verdict(judged) is Verdict.AS_EXPECTED else " *"
    return tally(judged) + mark


def across(summary: Summary) -> tuple[Case, ...]:
    """List the cases that get a column: of many cells, what only one was asked for has none."""
    asked = {case.name: sum(bool(cell.of_case(case.name)) for cell in summary.cells) for case in summary.cases}
    return tuple(case for case in summary.cases if asked[case.name] > 1 or len(summary.cells) == 1)


def aside(summary: Summary) -> list[str]:
    """Say of each case without a column where it was measured, and what came out."""
    told = []
    columns = across(summary)
    for case in summary.cases:
        if case not in columns:
            (cell,) = (one for one in summary.cells if one.of_case(case.name))
            place = ", ".join(f"{name} {cell.versions[name]}" for name in WINDOW_AXES if name in cell.versions)
            told.append(f"{case.name}: {cell_text(cell, case.name)} in {place} alone")
    return told


def heading(case: Case, width: int, *, beside: bool = False) -> str:
    """Write a case's name over its column, broken at underscores into lines of at most ``width``.

    Its document stands above it, or ``beside`` it in the first line.
    """
    words = case.name.replace("_", "_ ").split(" ")
    lines = [] if beside else [case.document or ""]
    line = f"{case.document} " if beside and case.document else ""
    for word in words:
        if line and len(line) + len(word) > width:
            lines.append(line)
            line = ""
        line += word
    return "\n".join([*lines, line]).strip()


def grid_rows(summary: Summary, most: int = MOST_ROWS) -> tuple[CellSummary, ...]:
    """List the cells that a grid without a pivot has rows for, the newest first.

    Where there are more than so many cells, those with something for a person come before the others.
    """
    cells = tuple(reversed(summary.cells))
    if len(cells) <= most:
        return cells
    loud = {cell.id for cell in summary.cells_for_a_person()}
    loud |= {cell.id for cell in cells if any(one.needs_a_person for one in cell.judged)}
    first = [cell for cell in cells if cell.id in loud][:most]
    return (*first, *[cell for cell in cells if cell.id not in loud][: most - len(first)])


def legend() -> str:
    """Explain the marks in one line."""
    return "  ".join(f"{mark} {outcome}" for outcome, mark in MARKS.items()) + "  * a person should look"
