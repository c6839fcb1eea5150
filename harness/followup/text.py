"""What an issue says of a cause (pure).

One sentence, who is hit, the first bad release and commit, where it fails, what moved, a script of at most forty lines,
a way round, and what it would take to know more.
"""

from __future__ import annotations

import shlex
from collections import Counter
from typing import TYPE_CHECKING

from harness.contracts.record import FAILED, MEASURED
from harness.contracts.records import variants_in
from harness.escape import fence, markdown, markdown_code, one_line, printable
from harness.followup.findings import Finding
from harness.followup.issues import Cause, cause_id, place_of, places_of
from harness.interface import Outcome, variant_id
from harness.judge.causes import mechanism_of
from harness.judge.verdicts import Verdict
from harness.judge.windows import Inseparable, declared, draft_windows
from harness.packages import HEADINGS, TOLD_PACKAGES
from harness.program import CONSOLE_SCRIPT
from harness.report.files import repro_command

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from harness.contracts.record import VariantRecord
    from harness.judge.causes import Group
    from harness.judge.summary import Summary
    from harness.judge.verdicts import Judged

_BROKEN = {Verdict.REGRESSED, Verdict.CHANGED}
_TITLE = 120
_MOST_ROWS = 12
_MOST_WAYS = 3
_MOST_SAID = 300
_MOST_CHARACTERS = 60_000
"""Of a text: the tracker takes 65,536, and the mark needs some."""


def causes_of(
    summary: Summary, findings: Mapping[str, Finding] | None = None, moves: Mapping[str, str] | None = None
) -> list[Cause]:
    """Return what a night has to tell, the largest cause first.

    ``findings`` has what was found out about a cause, by its id; ``moves`` what moved under a cell since it was as
    expected, by the cell's id.
    """
    return [
        _cause(group, summary, (findings or {}).get(cause_id(group), Finding()), moves or {})
        for group in groups_to_tell(summary)
    ]


def groups_to_tell(summary: Summary) -> list[Group]:
    """Leave out what was not measured, and what passes again: an issue is about something that broke."""
    return [group for group in summary.groups if Verdict(group.verdict.partition(":")[0]) in _BROKEN]


def _cause(group: Group, summary: Summary, found: Finding, moves: Mapping[str, str]) -> Cause:
    parts = [
        f"{one_line(group.words)}.",
        f"**Who is hit**: {_who(group.members)}.",
        _begins(group, found),
        _where(group, summary),
        _window(group, summary),
        _moved(group, moves),
        _example(group.representative),
        _script(found),
        _way_round(group, summary),
        _more(group, summary.matrix, found),
        f"Last seen in the night `{markdown_code(summary.run)}`.",
    ]
    return Cause(
        id=cause_id(group),
        places=places_of(group),
        cells=tuple(sorted({one.cell for one in group.members})),
        title=_title(group),
        text="\n\n".join(part for part in parts if part)[:_MOST_CHARACTERS],
    )


def _title(group: Group) -> str:
    words = one_line(group.words)
    return words if len(words) <= _TITLE else f"{words[: _TITLE - 1]}…"


def _who(members: Sequence[Judged]) -> str:
    """Say which methods on which families, as far as the variants name them."""
    said = []
    for axis in ("method", "model"):
        counted = Counter(one.variant[axis] for one in members if axis in one.variant)
        if counted:
            said.append(", ".join(markdown(name) for name, _ in counted.most_common()))
    counts = (len(members), "result"), (len({one.case for one in members}), "case")
    results, cases = (f"{count} {what}{'s' * (count != 1)}" for count, what in counts)
    return f"{' on '.join(said) or 'all'} ({results} of {cases})"


def _where(group: Group, summary: Summary) -> str:
    """Return a table of the cells: how many of the cause's variants fail there, and how many are as expected."""
    places = set(places_of(group))
    failing = Counter(one.cell for one in group.members)
    lines = [
        f"| {' | '.join(HEADINGS.get(name, name) for name in TOLD_PACKAGES)} | fail | as expected |",
        f"|{' --- |' * (len(TOLD_PACKAGES) + 2)}",
    ]
    rows = []
    for cell in summary.cells:
        good = sum(1 for one in cell.judged if one.record and not one.needs_a_person and place_of(one) in places)
        if failing[cell.id] or good:
            versions = " | ".join(markdown(cell.versions.get(name, "-").partition("+")[0]) for name in TOLD_PACKAGES)
            rows.append((-failing[cell.id], f"| {versions} | {failing[cell.id]} | {good} |"))
    shown = [row for _, row in sorted(rows, key=lambda row: row[0])]
    lines += shown[:_MOST_ROWS]
    if len(shown) > _MOST_ROWS:
        lines.append(f"\nand {len(shown) - _MOST_ROWS} more cells")
    return "\n".join(lines)


def _begins(group: Group, found: Finding) -> str:
    """Say with which release and commit it begins: what a bisect said, else what the measured neighbours do."""
    told = [*found.begins] or ([f"{group.step}, by the cells that were measured"] if group.step else [])
    lines = [f"**First bad release**: {'; '.join(markdown(one_line(one)) for one in told)}."] if told else []
    lines += ["**First bad commit**:\n\n" + _fenced("\n".join(map(printable, found.commits)))] if found.commits else []
    return "\n\n".join(lines)


def _window(group: Group, summary: Summary) -> str:
    """Say in which versions the example fails, among all that was measured of it, published records too."""
    first = group.representative
    case = next((one for one in summary.cases if one.name == first.case), None)
    if case is None or first.record is None:
        return ""
    mine = [
        one
        for one in variants_in(summary.records)
        if one.case == first.case and dict(one.variant) == dict(first.variant) and one.outcome in MEASURED
    ]
    mechanism = mechanism_of(first.record)
    failing: list[VariantRecord] = []
    others: list[VariantRecord] = []
    for one in mine:
        (failing if one.outcome in FAILED and mechanism_of(one) == mechanism else others).append(one)
    try:
        drafts = draft_windows(failing, others, case.variants)
    except Inseparable:
        return "**Version window**: none; with equal versions it fails and does not fail."
    said = [
        ", ".join(f"{name} {versions}" for name, versions in draft.where) or "every measured version"
        for draft in drafts
    ]
    return f"**Version window** of the example, among {len(mine)} records: {'; or '.join(map(markdown, said))}."


def _moved(group: Group, moves: Mapping[str, str]) -> str:
    """Say what moved under the cells of a cause that nobody changed."""
    told = [(cell, moves[cell]) for cell in sorted({one.cell for one in group.members}) if cell in moves]
    lines = [f"- `{markdown_code(cell)}` {markdown(words)}" for cell, words in told[:_MOST_ROWS]]
    return "\n".join(["**The same pair, another lock**:\n", *lines]) if lines else ""


def _script(found: Finding) -> str:
    return (
        f"**A script for `uv run`**:\n\n{_fenced(printable(found.script.rstrip()), 'python')}" if found.script else ""
    )


def _way_round(group: Group, summary: Summary) -> str:
    """Say what avoids it: the release before, and what passes beside the example in its very cell."""
    ways = []
    if begins := group.first_bad:
        ways.append(f"{begins.package} {begins.good}, with which it does not fail so")
    first = group.representative
    told = {axis: first.variant.get(axis) for axis in ("model", "method")}
    passing = [
        place_of(one)
        for cell in summary.cells
        if cell.id == first.cell
        for one in cell.of_case(first.case)
        if one.outcome == Outcome.PASSED and {axis: one.variant.get(axis) for axis in told} == told
    ]
    ways += [f"`{markdown_code(place)}` passes in the same cell" for place in passing[:_MOST_WAYS]]
    return f"**Way round**: {'; '.join(ways) or 'none is known'}."


def _example(first: Judged) -> str:
    said = first.record.words if first.record else "nothing was measured"
    name = markdown_code(place_of(first))
    return f"For example `{name}` in `{markdown_code(first.cell)}`:\n\n{_fenced(one_line(said))}"


def _more(group: Group, matrix: str, found: Finding) -> str:
    """Say what is not known, and return the commands that show it and would tell more."""
    variant = f"{group.representative.case}:{variant_id(declared(group.representative.variant))}"
    axes = [group.first_bad.package] if group.first_bad else ["transformers", "peft"]
    bisects = [shlex.join(["bisect", "--case", variant, "--axis", axis, "--repo", "PATH"]) for axis in axes]
    lines = [repro_command(group, matrix, CONSOLE_SCRIPT), *(f"{CONSOLE_SCRIPT} {words}" for words in bisects)]
    unknown = "\n" * bool(found.unknown) + "".join(
        f"\n- not known: {markdown(one_line(one)[:_MOST_SAID])}" for one in found.unknown
    )
    return (
        f"**To know more**, the whole case as a script, and the commit in a clone at PATH:{unknown}"
        f"\n\n{_fenced(chr(10).join(lines))}"
    )


def _fenced(text: str, language: str = "") -> str:
    return f"{fence(text)}{language}\n{text}\n{fence(text)}"
