"""What every kind of report shows: the grid's cells, in one character and in words."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from harness.interface import CellState, Outcome
from harness.judge import Verdict

if TYPE_CHECKING:
    from collections.abc import Iterable

    from harness.judge import Judged
    from harness.summary import CellSummary

MARKS = {
    Outcome.PASSED: "✓",
    Outcome.WRONG: "≠",
    Outcome.ERROR: "!",
    Outcome.CRASHED: "☠",
    Outcome.TIMEOUT: "⧖",
    Outcome.OUT_OF_MEMORY: "M",
    Outcome.UNSUPPORTED: "·",
    Outcome.NO_DEVICE: "○",
    Outcome.NOT_RUN: "?",
}
"""One character for an outcome: ran and right, ran and wrong, raised, and so on."""

ORDER = tuple(MARKS)

PACKAGES_SHOWN = ("peft", "transformers", "sentence-transformers", "torch")


def tally(judged: Iterable[Judged]) -> str:
    """Write outcomes as counts with marks: ``12✓ 3≠ 5!``."""
    counts = Counter(Outcome(one.outcome) for one in judged)
    return " ".join(f"{counts[outcome]}{MARKS[outcome]}" for outcome in ORDER if counts[outcome])


def worst_verdict(judged: Iterable[Judged]) -> Verdict:
    """Give the verdict that a reader should see first."""
    present = {one.verdict for one in judged if one.needs_a_person}
    for verdict in (Verdict.REGRESSED, Verdict.CHANGED, Verdict.FIXED, Verdict.UNKNOWN):
        if verdict in present:
            return verdict
    return Verdict.AS_EXPECTED


def cell_text(cell: CellSummary, case: str) -> str:
    """Give the grid's entry for one case in one cell."""
    if cell.state != CellState.READY:
        return cell.state
    judged = cell.of_case(case)
    if not judged:
        return "-"
    mark = "" if worst_verdict(judged) is Verdict.AS_EXPECTED else " *"
    return tally(judged) + mark


def legend() -> str:
    """Explain the marks in one line."""
    return "  ".join(f"{mark} {outcome}" for outcome, mark in MARKS.items()) + "  * a person should look"
