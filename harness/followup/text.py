"""What an issue says of a cause (pure): one sentence, who is hit, where, how to see it, what would tell more."""

from __future__ import annotations

import shlex
from collections import Counter
from typing import TYPE_CHECKING

from harness.escape import fence, markdown, markdown_code, one_line
from harness.followup.issues import Cause, cause_id, place_of, places_of
from harness.interface import variant_id
from harness.judge.verdicts import Verdict
from harness.judge.windows import declared
from harness.packages import HEADINGS, TOLD_PACKAGES
from harness.program import CONSOLE_SCRIPT
from harness.report.files import repro_command

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.judge.causes import Group
    from harness.judge.summary import Summary
    from harness.judge.verdicts import Judged

_BROKEN = {Verdict.REGRESSED, Verdict.CHANGED}
_TITLE = 120
_MOST_ROWS = 12
_MOST_CHARACTERS = 60_000
"""Of a text: the tracker takes 65,536, and the mark needs some."""


def causes_of(summary: Summary) -> list[Cause]:
    """Return what a night has to tell, the largest cause first."""
    return [_cause(group, summary) for group in groups_to_tell(summary)]


def groups_to_tell(summary: Summary) -> list[Group]:
    """Leave out what was not measured, and what passes again: an issue is about something that broke."""
    return [group for group in summary.groups if Verdict(group.verdict.partition(":")[0]) in _BROKEN]


def _cause(group: Group, summary: Summary) -> Cause:
    parts = [
        f"{one_line(group.words)}.",
        f"**Who is hit**: {_who(group.members)}.",
        _where(group, summary),
        _example(group.representative),
        _more(group, summary.matrix),
        f"Last seen in the night `{markdown_code(summary.run)}`.",
    ]
    return Cause(
        id=cause_id(group),
        places=places_of(group),
        cells=tuple(sorted({one.cell for one in group.members})),
        title=_title(group),
        text="\n\n".join(parts)[:_MOST_CHARACTERS],
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
    cases = len({one.case for one in members})
    return f"{' on '.join(said) or 'all'} ({len(members)} results of {cases} {'case' if cases == 1 else 'cases'})"


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
    begins = f"**It begins at** {markdown(one_line(group.step))}.\n\n" if group.step else ""
    return begins + "\n".join(lines)


def _example(first: Judged) -> str:
    said = first.record.words if first.record else "nothing was measured"
    name = markdown_code(place_of(first))
    return f"For example `{name}` in `{markdown_code(first.cell)}`:\n\n{_fenced(one_line(said))}"


def _more(group: Group, matrix: str) -> str:
    """Return the commands that show it, and that would tell more."""
    variant = f"{group.representative.case}:{variant_id(declared(group.representative.variant))}"
    bisects = [shlex.join(["bisect", "--case", variant, "--axis", axis]) for axis in ("transformers", "peft")]
    lines = [repro_command(group, matrix, CONSOLE_SCRIPT), *(f"{CONSOLE_SCRIPT} {words}" for words in bisects)]
    return f"A script for it, and the release and commit on either side:\n\n{_fenced(chr(10).join(lines))}"


def _fenced(text: str) -> str:
    return f"{fence(text)}\n{text}\n{fence(text)}"
