"""Edit the expectations of a case file so that they say what the records say (pure)."""

from __future__ import annotations

import ast
import json
import re
from collections import defaultdict
from typing import TYPE_CHECKING, Any

from harness.errors import CaseError
from harness.interface import Outcome
from harness.judge import covers, expectation_for, matches, versions_of
from harness.propose.drafts import Draft, draft_windows
from harness.records import MEASURED
from harness.windows import check_windows, expectation_nodes

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from harness.catalogue import Case
    from harness.records import Record

LINK = "docs/grid.md"
"""Where a proposed window points until somebody knows the issue or the commit."""

_PLACEHOLDER = re.compile(r"<\w+>|(?<![A-Za-z])\d+")
_SHORT, _LONG = 12, 60


def propose(case: Case, source: str, records: Iterable[Record]) -> str:
    """Give the source of a case file with windows that every record bears out.

    A window that is right stays as it is, to the letter. One that is not is drawn anew over the
    records that it accounts for, with its link and signature; so is one whose signature a failure
    outside of all windows has, for the same variant. What is left gets new windows at the end.
    Raises :class:`harness.propose.drafts.Inseparable`.
    """
    mine = [one for one in records if one.get("case") == case.name and one.get("outcome") in MEASURED]
    nodes = expectation_nodes(source)
    amiss = {problem.line for problem in check_windows(case, mine, [node.lineno for node in nodes])}
    owned, moved, orphans = _assign(case, mine)
    names = _constants(source)
    edits: list[tuple[int, int, list[str]]] = []
    for number, node in enumerate(nodes):
        if node.lineno not in amiss and number not in moved:
            continue
        written = {str(one.arg): ast.get_source_segment(source, one.value) or "" for one in _keywords(node)}
        rest = [f"{name}={written[name]}," for name in ("outcome", "signature", "link") if name in written]
        drafts = draft_windows(owned[number], _without(mine, owned[number]), case.variants)
        lines = [line for draft in drafts for line in _entry(draft, rest, names)]
        if lines:
            lines[:0] = _comments(source, node)
        edits.append((node.lineno, node.end_lineno or node.lineno, lines))
    added = [
        line
        for (outcome, pattern), failing in orphans.items()
        for draft in draft_windows(failing, _without(mine, failing), case.variants)
        for line in _entry(draft, _rest(outcome, pattern), names)
    ]
    return _apply(source, edits, added, nodes)


def pattern_of(record: Record) -> str:
    """Give a regular expression for how a record failed: the first long piece without numbers or paths."""
    text = record.get("signature") or record.get("message") or ""
    pieces = [piece.strip() for piece in _PLACEHOLDER.split(text.partition(" @ ")[0])]
    piece = next((piece for piece in pieces if len(piece) >= _SHORT), max(pieces, key=len, default=""))
    if len(piece) > _LONG:
        piece = piece[:_LONG].rpartition(" ")[0]
    return re.escape(piece.strip()).replace("\\ ", " ").replace("\\'", "'").replace("\\-", "-")


def _without(records: Sequence[Record], left_out: Sequence[Record]) -> list[Record]:
    ids = {id(one) for one in left_out}
    return [one for one in records if id(one) not in ids]


def _assign(
    case: Case, records: Sequence[Record]
) -> tuple[dict[int, list[Record]], set[int], dict[tuple[str, str], list[Record]]]:
    """Give each failing record to the window that accounts for it, or should, or to a kind of its own.

    The set names the windows that were given records from outside.
    """
    owned: dict[int, list[Record]] = defaultdict(list)
    moved: set[int] = set()
    orphans: dict[tuple[str, str], list[Record]] = defaultdict(list)
    for record in records:
        if record["outcome"] == Outcome.PASSED:
            continue
        versions = versions_of(record["cell"])
        like = [
            number
            for number, one in enumerate(case.expectations)
            if matches(one, record) and covers({}, one.only, versions, record["variant"])
        ]
        inside = [one for one in like if covers(case.expectations[one].where, {}, versions, {})]
        near = [one for one in like if case.expectations[one].signature]
        if inside:
            owned[inside[0]].append(record)
        elif near:
            owned[near[0]].append(record)
            moved.add(near[0])
        else:
            orphans[record["outcome"], pattern_of(record)].append(record)
    return owned, moved, orphans


def unexpected(case: Case, records: Iterable[Record]) -> list[Record]:
    """List the records of a case that are not what its windows expect."""
    mine = [one for one in records if one.get("case") == case.name and one.get("outcome") in MEASURED]
    return [one for one in mine if not matches(expectation_for(case, versions_of(one["cell"]), one["variant"]), one)]


def _comments(source: str, node: ast.expr) -> list[str]:
    """Give the comments inside an entry, to stand above it."""
    inside = source.split("\n")[node.lineno : node.end_lineno]
    return [f"    {line.strip()}" for line in inside if line.lstrip().startswith("#")]


def _keywords(node: ast.expr) -> list[ast.keyword]:
    return node.keywords if isinstance(node, ast.Call) else []


def _constants(source: str) -> dict[tuple[str, ...], str]:
    """Map tuples of strings to the module's names for them."""
    names = {}
    for node in ast.parse(source).body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and isinstance(node.value, ast.Tuple):
            try:
                value: Any = ast.literal_eval(node.value)
            except ValueError:
                continue
            if all(isinstance(one, str) for one in value) and len(value) > 1:
                names[tuple(sorted(value))] = node.targets[0].id
    return names


def _rest(outcome: str, pattern: str) -> list[str]:
    return [f"outcome={json.dumps(outcome)},", f"signature={_literal(pattern)},", f"link={json.dumps(LINK)},"]


def _literal(pattern: str) -> str:
    return (
        f"r{json.dumps(pattern)}".replace("\\\\", "\\") if "\\" in pattern else json.dumps(pattern, ensure_ascii=False)
    )


def _entry(draft: Draft, rest: Sequence[str], names: dict[tuple[str, ...], str]) -> list[str]:
    where = ", ".join(f"{json.dumps(package)}: {json.dumps(specifier)}" for package, specifier in draft.where)
    lines = ["    Expectation(", f"        where={{{where}}},"]
    if draft.only:
        values = ", ".join(f"{json.dumps(axis)}: {_values(some, names)}" for axis, some in draft.only)
        lines.append(f"        only={{{values}}},")
    return [*lines, *(f"        {line}" for line in rest), "    ),"]


def _values(values: tuple[str, ...], names: dict[tuple[str, ...], str]) -> str:
    if name := names.get(tuple(sorted(values))):
        return name
    inner = ", ".join(json.dumps(value) for value in values)
    return f"({inner},)" if len(values) == 1 else f"({inner})"


def _apply(source: str, edits: list[tuple[int, int, list[str]]], added: list[str], nodes: Sequence[ast.expr]) -> str:
    lines = source.split("\n")
    if added and nodes:
        last = nodes[-1].end_lineno or nodes[-1].lineno
        lines[last:last] = added
    elif added:
        # What stands there holds no window: "EXPECTATIONS = ()", on one line or on several.
        first, last = _expectations(source)
        lines[first - 1 : last] = ["EXPECTATIONS = (", *added, ")"]
    for first, last, text in sorted(edits, reverse=True):
        # A comment stays above what it speaks of, and goes when nothing is left of that.
        start = first - 1
        while not text and start and lines[start - 1].lstrip().startswith("#"):
            start -= 1
        lines[start:last] = text
    return "\n".join(lines)


def _expectations(source: str) -> tuple[int, int]:
    """Give the first and the last line, from 1, of the declaration."""
    for node in ast.parse(source).body:
        target = node.targets[0] if isinstance(node, ast.Assign) else None
        if isinstance(target, ast.Name) and target.id == "EXPECTATIONS":
            return node.lineno, node.end_lineno or node.lineno
    message = "the case file has no EXPECTATIONS; add EXPECTATIONS = ()"
    raise CaseError(message)
