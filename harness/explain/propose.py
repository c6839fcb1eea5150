"""The proposed edits of all case files, as one diff."""

from __future__ import annotations

import ast
import difflib
import json
import re
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from packaging.version import Version

from harness.contracts.records import measured_of
from harness.errors import CaseError
from harness.explain.boxes import contains, largest_boxes, weight
from harness.explain.cover import smallest_cover
from harness.explain.table import ADDED, products
from harness.interface import Outcome
from harness.judge.expectations import check_windows, expectation_nodes
from harness.judge.verdicts import covers, expectation_for, matches
from harness.packages import TOLD_PACKAGES, WINDOW_AXES
from harness.paths import ROOT
from harness.program import PROGRAM

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from harness.contracts.record import Record, VariantRecord
    from harness.explain.boxes import Box, Point
    from harness.matrix.cases import Case


def proposed(case: Case, source: str, records: Iterable[Record]) -> str:
    """Give the proposed source. Raises :class:`CaseError` when no windows of versions can say it."""
    try:
        return propose(case, source, records)
    except Inseparable as error:
        name = case.path.name
        message = f"{name}: {error}; measure them again: {PROGRAM} run MATRIX --fresh --case {case.name}"
        raise CaseError(message) from None


def proposed_diff(cases: Sequence[Case], records: Sequence[Record]) -> str:
    """Give a diff that `git apply` takes, empty when no window has to change. Raises :class:`CaseError`."""
    return "".join(diff_of(case, proposed(case, case.path.read_text(encoding="utf-8"), records)) for case in cases)


def diff_of(case: Case, after: str) -> str:
    """Give the diff from a case file as it is to another source."""
    before = case.path.read_text(encoding="utf-8")
    name = case.path.relative_to(ROOT).as_posix() if case.path.is_relative_to(ROOT) else case.path.name
    lines = difflib.unified_diff(
        before.splitlines(keepends=True), after.splitlines(keepends=True), f"a/{name}", f"b/{name}"
    )
    return "".join(lines)


LINK = "docs/grid.md"
"""Where a proposed window points until somebody knows the issue or the commit."""

_PLACEHOLDER = re.compile(r"<\w+>|(?<![A-Za-z])\d+")
_SHORT, _LONG = 12, 60


def propose(case: Case, source: str, records: Iterable[Record]) -> str:
    """Give the source of a case file with windows that every record bears out.

    A window that is right stays as it is, to the letter. One that is not is drawn anew over the
    records that it accounts for, with its link and signature; so is one whose signature a failure
    outside of all windows has, for the same variant. What is left gets new windows at the end.
    Raises :class:`harness.explain.propose.Inseparable`.
    """
    mine = measured_of(case.name, records)
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


def pattern_of(record: VariantRecord) -> str:
    """Give a regular expression for how a record failed: the first long piece without numbers or paths."""
    text = record.signature or record.message or ""
    pieces = [piece.strip() for piece in _PLACEHOLDER.split(text.partition(" @ ")[0])]
    piece = next((piece for piece in pieces if len(piece) >= _SHORT), max(pieces, key=len, default=""))
    if len(piece) > _LONG:
        piece = piece[:_LONG].rpartition(" ")[0]
    return re.escape(piece.strip()).replace("\\ ", " ").replace("\\'", "'").replace("\\-", "-")


def _without(records: Sequence[VariantRecord], left_out: Sequence[VariantRecord]) -> list[VariantRecord]:
    ids = {id(one) for one in left_out}
    return [one for one in records if id(one) not in ids]


def _assign(
    case: Case, records: Sequence[VariantRecord]
) -> tuple[dict[int, list[VariantRecord]], set[int], dict[tuple[str, str], list[VariantRecord]]]:
    """Give each failing record to the window that accounts for it, or should, or to a kind of its own.

    The set names the windows that were given records from outside.
    """
    owned: dict[int, list[VariantRecord]] = defaultdict(list)
    moved: set[int] = set()
    orphans: dict[tuple[str, str], list[VariantRecord]] = defaultdict(list)
    for record in records:
        if record.outcome == Outcome.PASSED:
            continue
        versions = record.cell.versions
        like = [
            number
            for number, one in enumerate(case.expectations)
            if matches(one, record) and covers({}, one.only, versions, record.variant)
        ]
        inside = [one for one in like if covers(case.expectations[one].where, {}, versions, {})]
        near = [one for one in like if case.expectations[one].signature]
        if inside:
            owned[inside[0]].append(record)
        elif near:
            owned[near[0]].append(record)
            moved.add(near[0])
        else:
            orphans[record.outcome, pattern_of(record)].append(record)
    return owned, moved, orphans


def unexpected(case: Case, records: Iterable[Record]) -> list[VariantRecord]:
    """List the records of a case that are not what its windows expect."""
    mine = measured_of(case.name, records)
    return [one for one in mine if not matches(expectation_for(case, one.cell.versions, one.variant), one)]


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


MORE_AXES = (*(name for name in TOLD_PACKAGES if name not in WINDOW_AXES), "accelerate", "numpy", "python")
"""Tried in this order where the first ones do not tell failing cells from others."""

Variant = tuple[tuple[str, str], ...]
Where = tuple[tuple[str, str], ...]
Only = tuple[tuple[str, tuple[str, ...]], ...]


class Inseparable(Exception):
    """Equal versions fail and do not fail: no window of versions can say when."""


@dataclass(frozen=True, kw_only=True)
class Draft:
    """One window: specifiers by package, and values by variant axis, as an expectation has them."""

    where: Where
    only: Only


def draft_windows(
    failing: Sequence[VariantRecord], others: Sequence[VariantRecord], variants: Iterable[Mapping[str, str]]
) -> list[Draft]:
    """Give windows that cover every record of ``failing`` and none of ``others``.

    ``variants`` are all that the case has: an axis whose every value fails is not named.
    Raises :class:`Inseparable`.
    """
    inside, outside = _by_variant(failing), _by_variant(others)
    groups: dict[Where, list[Variant]] = defaultdict(list)
    for variant, records in inside.items():
        for where in _windows(records, outside.get(variant, [])):
            groups[where].append(variant)
    known = [{axis: value for axis, value in one.items() if axis not in ADDED} for one in variants]
    return [
        Draft(where=where, only=_shortened(product, known))
        for where, members in groups.items()
        for product in products([dict(one) for one in members])
    ]


def _by_variant(records: Iterable[VariantRecord]) -> dict[Variant, list[VariantRecord]]:
    found: dict[Variant, list[VariantRecord]] = defaultdict(list)
    for record in records:
        found[tuple((axis, value) for axis, value in record.variant.items() if axis not in ADDED)].append(record)
    return found


def _shortened(only: Only, variants: Sequence[Mapping[str, str]]) -> Only:
    """Leave out each axis without which the same variants of the case are meant."""
    for axis, values in only:
        rest = tuple(item for item in only if item[0] != axis)
        if all(variant.get(axis) in values for variant in variants if _meant(rest, variant)):
            only = rest
    return only


def _meant(only: Only, variant: Mapping[str, str]) -> bool:
    return all(variant.get(axis) in values for axis, values in only)


def _windows(failing: Sequence[VariantRecord], others: Sequence[VariantRecord]) -> list[Where]:
    """Give the fewest boxes of versions, as specifiers."""
    axes = list(WINDOW_AXES)
    for more in (*MORE_AXES, None):
        table = _Table(axes, [*failing, *others])
        inside, outside = {table.point(one) for one in failing}, {table.point(one) for one in others}
        if not inside & outside:
            return table.windows(sorted(inside), sorted(outside))
        if more and all(more in one.cell.versions for one in [*failing, *others]):
            axes.append(more)
    message = f"the versions of {failing[0].cell.id} fail and do not fail"
    raise Inseparable(message)


class _Table:
    """Versions in order on each axis."""

    def __init__(self, axes: Sequence[str], records: Sequence[VariantRecord]) -> None:
        self.axes = list(axes)
        self.versions = [sorted({_version(one, axis) for one in records}) for axis in self.axes]

    def point(self, record: VariantRecord) -> Point:
        return tuple(known.index(_version(record, axis)) for axis, known in zip(self.axes, self.versions, strict=True))

    def windows(self, inside: list[Point], outside: list[Point]) -> list[Where]:
        shape = [len(known) for known in self.versions]
        boxes = largest_boxes(shape, inside, outside)
        masks = [sum(1 << number for number, point in enumerate(inside) if contains(box, point)) for box in boxes]
        cover = smallest_cover(masks, [weight(box, shape) for box in boxes])
        return [self._where([point for point in inside if contains(boxes[one], point)]) for one in cover.columns]

    def _where(self, points: list[Point]) -> Where:
        hull: Box = tuple((min(ends), max(ends)) for ends in zip(*points, strict=True))
        where = []
        for axis, known, (low, high) in zip(self.axes, self.versions, hull, strict=True):
            whole = low == 0 and high == len(known) - 1
            if axis in WINDOW_AXES or not whole:
                where.append((axis, _specifier(known, low, high)))
        return tuple(where)


def _specifier(known: Sequence[Version], low: int, high: int) -> str:
    """Write an interval of versions; open where the newest that was measured still fails."""
    if high == len(known) - 1 and len(known) > 1:
        return f">={known[low]}"
    return f"=={known[low]}" if low == high else f">={known[low]},<={known[high]}"


def _version(record: VariantRecord, package: str) -> Version:
    return Version(record.cell.versions[package].partition("+")[0])
