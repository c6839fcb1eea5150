"""The grid and what needs a person, on a terminal or in a log, within 100 columns."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from harness.escape import printable
from harness.interface import Outcome
from harness.judge.claims import Audit
from harness.judge.verdicts import Verdict
from harness.packages import HEADINGS, TOLD_PACKAGES
from harness.report.files import defect_rows
from harness.report.grid import (
    MARKS,
    across,
    aside,
    cell_text,
    heading,
    legend,
    worst_verdict,
)
from harness.report.pivot import NOT_READY, pivot_of, worst_mark
from harness.report.shown import shown

if TYPE_CHECKING:
    from harness.judge.summary import Summary
    from harness.report.pivot import Pivot

_STYLES = {Verdict.REGRESSED: "red", Verdict.CHANGED: "yellow", Verdict.FIXED: "cyan", Verdict.UNKNOWN: "magenta"}
CLAIM_STYLES = {
    Audit.HOLDS: "green", Audit.HOLDS_FROM: "green", Audit.HOLDS_UNTIL: "yellow", Audit.HOLDS_IN: "yellow",
    Audit.DOES_NOT_HOLD: "red", Audit.UNTESTED: "dim",
}  # fmt: skip
_SHOWN = 12
_COLUMN = 13
_CASES_ACROSS = 6
"""So many columns of cases fit into the width; more are listed down the page."""
_NARROW = 7


def console() -> Console:
    """Make a console: as wide as the terminal, 100 columns and plain where there is none."""
    probe = Console()
    return probe if probe.is_terminal else Console(width=100, no_color=True, highlight=False)


def print_summary(summary: Summary, out: Console) -> None:
    """Print the grid, the claims, and what needs a person."""
    summary = shown(summary)
    packages = [name for name in TOLD_PACKAGES if name != "torch" or len(_torches(summary)) > 1]
    one_torch = "" if "torch" in packages else f", torch {''.join(_torches(summary))}"
    out.print(escape(f"\n{summary.title} ({summary.device}{one_torch})"), style="bold")
    if pivot := pivot_of(summary):
        _print_pivot(pivot, out)
    elif len(across(summary)) > _CASES_ACROSS:
        _print_cases(summary, packages, out)
    else:
        _print_cells(summary, packages, out)
    out.print(legend(), style="dim")
    _print_claims(summary, out)
    _print_defects(summary, out)
    print_attention(summary, out)
    verdicts = ", ".join(f"{count} {verdict}" for verdict, count in sorted(summary.verdicts().items()))
    out.print(f"\n{len(summary.judged)} variants in {len(summary.cells)} cells: {verdicts or 'nothing measured'}")


def _print_pivot(pivot: Pivot, out: Console) -> None:
    """Print one mark a cell; a version stands over two lines to fit eighteen of them into the width."""
    out.print(f"{pivot.rows} down, {pivot.columns} across; {NOT_READY} cannot be installed or imported", style="dim")
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    table.add_column("", no_wrap=True)
    for version in pivot.column_versions:
        major, _, rest = version.partition(".")
        table.add_column(escape(f"{major}.\n{rest}"), no_wrap=True)
    for label, entries in pivot.joined(worst_mark):
        table.add_row(escape(label.partition(" to ")[0]) + (" .." if " to " in label else ""), *entries)
    out.print(table)


def _print_cells(summary: Summary, packages: list[str], out: Console) -> None:
    columns = across(summary)
    table = Table(box=None, pad_edge=False, padding=(0, 1), header_style="bold")
    for name in packages:
        table.add_column(HEADINGS.get(name, name), no_wrap=True)
    for case in columns:
        table.add_column(heading(case, _COLUMN), overflow="fold", max_width=_COLUMN)
    for cell in summary.cells:
        versions = [cell.versions.get(name, "-").partition("+")[0] for name in packages]
        row = []
        for case in columns:
            verdict = worst_verdict(cell.of_case(case.name))
            style = _STYLES.get(verdict, "")
            text = cell_text(cell, case.name)
            row.append(f"[{style}]{text}[/]" if style else text)
        table.add_row(*map(escape, versions), *row)
    out.print(table)
    for line in aside(summary):
        out.print(escape(line))


def _print_cases(summary: Summary, packages: list[str], out: Console) -> None:
    """Print cases down and cells across, with a column for no more than what did not pass."""
    packages = [name for name in packages if any(name in cell.versions for cell in summary.cells)]
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    table.add_column("\n".join(packages), overflow="fold")
    for cell in summary.cells:
        versions = (cell.versions.get(name, "-").partition("+")[0] for name in packages)
        table.add_column(escape("\n".join(versions)), overflow="fold", max_width=_NARROW)
    for case in summary.cases:
        row = []
        for cell in summary.cells:
            judged = cell.of_case(case.name)
            style = _STYLES.get(worst_verdict(judged), "")
            text = cell_text(cell, case.name)
            if any(one.outcome != Outcome.PASSED for one in judged):
                text = " ".join(word for word in text.split() if not word.endswith(MARKS[Outcome.PASSED]))
            elif judged:
                text = text.lstrip("0123456789")
            row.append(f"[{style}]{text}[/]" if style else text)
        table.add_row(f"{case.document or ''} {case.name}".strip(), *row)
    out.print(table)


def _torches(summary: Summary) -> set[str]:
    return {cell.versions.get("torch", "-").partition("+")[0] for cell in summary.cells}


def _print_claims(summary: Summary, out: Console) -> None:
    if not summary.claims:
        return
    out.print("\nClaims of the documents, in these cells", style="bold")
    for one in summary.claims:
        style = CLAIM_STYLES[one.audit]
        out.print(f"  [{style}]{escape(one.words)}[/] {one.claim.id}: {escape(one.claim.english)}", highlight=False)


def _print_defects(summary: Summary, out: Console) -> None:
    rows = defect_rows(summary)
    if not rows:
        return
    count = sum(len(row.judged) for row in rows)
    out.print(f"\n{len(rows)} known defects account for {count} failing variants", style="bold")
    for row in rows[:_SHOWN]:
        out.print(f"  {len(row.judged)} x {row.id}: {escape(row.words)}", highlight=False)
    if len(rows) > _SHOWN:
        out.print(f"  and {len(rows) - _SHOWN} more; the report has them all")


def print_attention(summary: Summary, out: Console) -> None:
    """Print what somebody has to look at, one entry for each cause; nothing when there is nothing."""
    groups = summary.groups
    summary = shown(summary)
    for cell in summary.skipped():
        out.print(escape(f"\nskipped {cell.id}: {cell.words[:400]}"), highlight=False)
    for cell in summary.cells_for_a_person():
        out.print(f"\n[red]{cell.state}[/] " + escape(f"{cell.id}: {cell.words[:400]}"))
    if not groups:
        return
    out.print("\nNeeds a person", style="bold")
    for group in groups[:_SHOWN]:
        style = _STYLES[Verdict(group.verdict.partition(":")[0])]
        words = escape(printable(group.words[:220]))
        out.print(f"  [{style}]{group.verdict}[/] {len(group.members)} x {words}", highlight=False)
        first = group.representative
        others = f", and {len(group.cases) - 1} more cases" if len(group.cases) > 1 else ""
        name = f"{first.case}:{'-'.join(first.variant.values())}"
        out.print(escape(printable(f"      e.g. {name}{others}")), style="dim")
        out.print(escape(printable(f"      in {first.cell}")), style="dim")
    if len(groups) > _SHOWN:
        out.print(f"  and {len(groups) - _SHOWN} more causes; the report has them all")
