"""The grid and what needs a person, on a terminal or in a log, within 100 columns."""

from __future__ import annotations

import textwrap
from collections import Counter
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from harness.escape import one_line
from harness.interface import Outcome
from harness.judge.claims import Audit
from harness.judge.defects import load_defects
from harness.judge.verdicts import Verdict
from harness.packages import HEADINGS, TOLD_PACKAGES, WINDOW_AXES
from harness.report.files import defect_rows, repro_command
from harness.report.grid import (
    MARKS,
    MOST_ROWS,
    across,
    aside,
    cell_text,
    grid_rows,
    heading,
    legend,
    worst_verdict,
)
from harness.report.pivot import NOT_READY, pivot_of, worst_mark

if TYPE_CHECKING:
    from harness.judge.summary import Summary
    from harness.report.pivot import Pivot
    from harness.report.shown import Shown

_STYLES = {Verdict.REGRESSED: "red", Verdict.CHANGED: "yellow", Verdict.FIXED: "cyan", Verdict.UNKNOWN: "magenta"}
CLAIM_STYLES = {
    Audit.HOLDS: "green", Audit.HOLDS_FROM: "green", Audit.HOLDS_UNTIL: "yellow", Audit.HOLDS_IN: "yellow",
    Audit.DOES_NOT_HOLD: "red", Audit.UNTESTED: "dim",
}  # fmt: skip
_SHOWN = 12
_STEPS = 3
_LIVE = 3
_WIDTH = 100
_COLUMN = 13
_CASES_ACROSS = 6
"""So many columns of cases fit into the width; more are listed down the page."""
_NARROW = 7
_NARROW_NAME = 16
"""Of a case beside its marks, at the least."""

_CELLS_ACROSS = 12


def console() -> Console:
    """Make a console: as wide as the terminal, 100 columns and plain where there is none."""
    probe = Console()
    return probe if probe.is_terminal else Console(width=100, no_color=True, highlight=False)


def print_summary(run: Shown, out: Console) -> None:
    """Print what a reader needs first: the counts, what needs a person, known causes; then a screen of the grid."""
    summary = run.summary
    packages = [name for name in TOLD_PACKAGES if name != "torch" or len(_torches(summary)) > 1]
    one_torch = "" if "torch" in packages else f", torch {''.join(_torches(summary))}"
    out.print(escape(f"\n{summary.title} ({summary.device}{one_torch})"), style="bold")
    out.print(escape(tally(summary)), highlight=False)
    _print_attention(run, out)
    _print_defects(summary, out)
    _print_counts(summary, out)
    _print_claims(summary, out)
    out.print("")
    if pivot := pivot_of(summary):
        _print_pivot(pivot, out)
    elif len(across(summary)) > _CASES_ACROSS and len(summary.cells) <= _CELLS_ACROSS:
        _print_cases(summary, packages, out)
    else:
        _print_cells(summary, packages, out)
    out.print(legend(), style="dim")


def tally(summary: Summary) -> str:
    """Count the verdicts in a sentence; what this machine has no device for is said as that, and not as unknown."""
    lacking = Counter(
        one_line((one.record.message or "").partition(",")[0]) if one.record else ""
        for one in summary.judged
        if one.outcome == Outcome.NO_DEVICE
    )
    verdicts = summary.verdicts.copy()
    verdicts[str(Verdict.UNKNOWN)] -= lacking.total()
    parts = [f"{count} {verdict}" for verdict, count in sorted(verdicts.items()) if count]
    parts += [
        f"{count} need {what.removeprefix('needs ')}"
        if what.startswith("needs ")
        else f"{count} have no device ({what})"
        for what, count in lacking.most_common()
    ]
    counted = ", ".join(parts) or "nothing measured"
    cells = "1 cell" if len(summary.cells) == 1 else f"{len(summary.cells)} cells"
    return f"{len(summary.judged)} variants in {cells}: {counted}"


def closing(summary: Summary, verdict: str, report: str) -> str:
    """Return the last paragraph of a run: the verdict, what is live on its newest releases, where the report is."""
    texts = [f"verdict: {verdict}. {tally(summary)}."]
    ready = [cell for cell in summary.cells if any(one.record for one in cell.judged)]
    if ready:
        # Cells stand in the order of their versions, the newest last.
        versions = [{name: cell.versions.get(name, "") for name in WINDOW_AXES} for cell in ready]
        newest = [cell for cell, one in zip(ready, versions, strict=True) if one == versions[-1]]
        found = Counter(one.defect for cell in newest for one in cell.judged if one.defect)
        pair = " and ".join(f"{name} {version}" for name, version in versions[-1].items())
        live = ", ".join(f"{name} ({count})" for name, count in found.most_common(_LIVE))
        more = f" and {len(found) - _LIVE} more" if len(found) > _LIVE else ""
        texts.append(f"Live with {pair}, the newest here: {live}{more}." if found else f"Nothing fails with {pair}.")
    texts.append(f"The report: {report}")
    return "\n".join(textwrap.wrap(" ".join(texts), _WIDTH, break_long_words=False, break_on_hyphens=False))


def _print_pivot(pivot: Pivot, out: Console) -> None:
    """Print one mark a cell; a version stands over two lines to fit eighteen of them into the width."""
    out.print(f"{pivot.rows} down, {pivot.columns} across; {NOT_READY} cannot be installed or imported", style="dim")
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    table.add_column("", no_wrap=True)
    for version in pivot.column_versions:
        major, _, rest = version.partition(".")
        table.add_column(escape(f"{major}.\n{rest}"), no_wrap=True)
    joined = pivot.joined(worst_mark)[::-1]
    for label, entries in joined[:MOST_ROWS]:
        table.add_row(escape(label.partition(" to ")[0]) + (" .." if " to " in label else ""), *entries)
    out.print(table)


def _print_cells(summary: Summary, packages: list[str], out: Console) -> None:
    columns = across(summary)
    table = Table(box=None, pad_edge=False, padding=(0, 1), header_style="bold")
    for name in packages:
        table.add_column(HEADINGS.get(name, name), no_wrap=True)
    for case in columns:
        table.add_column(heading(case, _COLUMN), overflow="fold", max_width=_COLUMN)
    rows = grid_rows(summary)
    for cell in rows:
        versions = [cell.versions.get(name, "-").partition("+")[0] for name in packages]
        row = []
        for case in columns:
            verdict = worst_verdict(cell.of_case(case.name))
            style = _STYLES.get(verdict, "")
            text = cell_text(cell, case.name)
            row.append(f"[{style}]{text}[/]" if style else text)
        table.add_row(*map(escape, versions), *row)
    out.print(table)
    if len(rows) < len(summary.cells):
        out.print(f"{len(rows)} of {len(summary.cells)} cells; the report has them all", style="dim")
    for line in aside(summary)[:_SHOWN]:
        out.print(escape(line))


def _print_cases(summary: Summary, packages: list[str], out: Console) -> None:
    """Print cases down and cells across, with a column for no more than what did not pass.

    A cell that was skipped, of which more is said elsewhere, has no column.
    """
    cells = [cell for cell in summary.cells if not cell.is_skipped]
    packages = [name for name in packages if any(name in cell.versions for cell in cells)]
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    table.add_column("\n".join(packages), no_wrap=True)
    for cell in cells:
        versions = (cell.versions.get(name, "-").partition("+")[0] for name in packages)
        table.add_column(escape("\n".join(versions)), overflow="fold", max_width=_NARROW)
    for case in summary.cases:
        row = []
        for cell in cells:
            judged = cell.of_case(case.name)
            style = _STYLES.get(worst_verdict(judged), "")
            text = cell_text(cell, case.name)
            if any(one.outcome != Outcome.PASSED for one in judged):
                text = " ".join(word for word in text.split() if not word.endswith(MARKS[Outcome.PASSED]))
            elif judged:
                text = text.lstrip("0123456789")
            row.append(f"[{style}]{text}[/]" if style else text)
        table.add_row(heading(case, max(_NARROW_NAME, _WIDTH - len(cells) * (_NARROW + 1)), beside=True), *row)
    out.print(table)


def _torches(summary: Summary) -> set[str]:
    return {cell.versions.get("torch", "-").partition("+")[0] for cell in summary.cells}


def _print_claims(summary: Summary, out: Console) -> None:
    """Print how many claims of each document hold: the words stand in the report, and `claims` prints them."""
    if not summary.claims:
        return
    out.print(
        "\nClaims of the documents, in these cells (in words: the report, or `prompt-bench claims`)", style="bold"
    )
    for document in sorted({one.claim.document for one in summary.claims}):
        counts = Counter(one.audit for one in summary.claims if one.claim.document == document)
        told = ", ".join(f"[{CLAIM_STYLES[one]}]{counts[one]} {one}[/]" for one in Audit if counts[one])
        out.print(f"  {document}: {told}", highlight=False)


def _print_defects(summary: Summary, out: Console) -> None:
    rows = defect_rows(summary, load_defects())
    if not rows:
        return
    count = sum(len(row.judged) for row in rows)
    out.print(f"\n{len(rows)} known defects account for {count} failing variants", style="bold")
    for row in rows[:_SHOWN]:
        out.print(f"  {len(row.judged)} x {escape(row.words)}", highlight=False)
    if len(rows) > _SHOWN:
        out.print(f"  and {len(rows) - _SHOWN} more; the report has them all")


def _print_counts(summary: Summary, out: Console) -> None:
    """Print at which releases exact counts change; nothing where no two cells are neighbours, or none does."""
    steps = summary.count_steps
    if not steps:
        return
    out.print(f"\nExact counts change at {len(steps)} steps between neighbouring releases", style="bold")
    for step in steps[:_STEPS]:
        out.print(f"  {escape(step.words)}", highlight=False)
    if len(steps) > _STEPS:
        out.print(f"  and {len(steps) - _STEPS} more")


def _print_attention(run: Shown, out: Console) -> None:
    """Print what somebody has to look at, one entry for each cause; nothing when there is nothing."""
    summary, groups = run.summary, run.groups
    for cell in summary.skipped()[:_SHOWN]:
        out.print(escape(f"\nskipped {cell.id}: {cell.words[:400]}"), highlight=False)
    states = summary.cells_for_a_person()
    for cell in states[:_SHOWN]:
        out.print(f"\n[red]{cell.state}[/] " + escape(f"{cell.id}: {cell.words[:400]}"))
    if len(states) > _SHOWN:
        out.print(f"and {len(states) - _SHOWN} more cells that are not as expected; the report has them all")
    if not groups:
        return
    out.print("\nNeeds a person", style="bold")
    for group in groups[:_SHOWN]:
        style = _STYLES[Verdict(group.verdict.partition(":")[0])]
        words = escape(group.words[:220])
        out.print(f"  [{style}]{group.verdict}[/] {len(group.members)} x {words}", highlight=False)
        first = group.representative
        others = f", and {len(group.cases) - 1} more cases" if len(group.cases) > 1 else ""
        name = f"{first.case}:{'-'.join(first.variant.values())}"
        out.print(escape(f"      e.g. {name}{others}"), style="dim")
        out.print(escape(f"      in {first.cell}"), style="dim")
        if first.record is not None:
            out.print(escape(f"      {repro_command(group, summary.matrix)}"), style="dim")
    if len(groups) > _SHOWN:
        out.print(f"  and {len(groups) - _SHOWN} more causes; the report has them all")
