"""From records to tables: for each variant of a case, what was measured at which versions (pure)."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from packaging.version import InvalidVersion, Version

from harness.contracts.record import MEASURED, StateRecord
from harness.contracts.records import variants_in
from harness.interface import CellState, Outcome
from harness.judge.windows import ADDED, products
from harness.packages import EXPLAINED

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from harness.contracts.record import CellFacts, Record, VariantRecord
    from harness.judge.boxes import Point


_FINAL_STATES = {CellState.UNSATISFIABLE, CellState.INSTALL_FAILED, CellState.IMPORT_FAILED}
"""States that say something about the versions, not about the machine."""

_PATH = re.compile(r"\s*\(?(?:(?:/[^\s()/]+){2,}/?|[\w.+/-]+/[\w.-]+\.py)\)?")
_COLOUR = re.compile(r"\x1b\[[\d;<n>]*m")
_FRAME = " @ "


@dataclass(frozen=True, kw_only=True, order=True)
class Label:
    """What a window accounts for: an outcome or a cell state, and of which kind.

    ``kind`` is the stable part of the signature: exception type and message, without numbers,
    paths and the frame, which moves from release to release. Empty where outcomes alone are told apart.
    """

    outcome: str
    kind: str = ""


PASSED = Label(outcome=str(Outcome.PASSED))
"""What holds wherever no window says otherwise."""


@dataclass(frozen=True, kw_only=True)
class Axis:
    """A package and its measured versions, ascending."""

    package: str
    versions: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class Table:
    """What was measured for variants that behave alike.

    ``labels`` maps a point (an index into the versions of each axis) to its label; ``kinds``
    gives the kind there, whether or not labels tell kinds apart. ``cells`` gives the record's
    cell at a point. ``undecided`` lists points where equal versions gave different outcomes:
    something else than these packages decides there, and they count as not measured.
    """

    case: str
    variants: tuple[Mapping[str, str], ...]
    axes: tuple[Axis, ...]
    labels: Mapping[Point, Label]
    kinds: Mapping[Point, str]
    cells: Mapping[Point, CellFacts]
    undecided: tuple[Point, ...] = ()

    @property
    def shape(self) -> tuple[int, ...]:
        """Return the number of versions on each axis."""
        return tuple(len(axis.versions) for axis in self.axes)


def kind_of(record: Record) -> str:
    """Return the stable part of what a record says went wrong; empty when it passed."""
    text = record.words.partition(_FRAME)[0]
    return " ".join(_PATH.sub(" <path>", _COLOUR.sub("", text)).split())


def label_of(record: Record, *, by_kind: bool = False) -> Label | None:
    """Label a record by its outcome, or its cell's state; None when nothing was measured of releases."""
    if not _of_releases(record.cell):
        return None
    if isinstance(record, StateRecord):
        state = record.state
        return Label(outcome=state, kind=kind_of(record) if by_kind else "") if state in _FINAL_STATES else None
    if record.outcome not in MEASURED:
        return None
    passed = record.outcome == Outcome.PASSED
    return Label(outcome=record.outcome, kind=kind_of(record) if by_kind and not passed else "")


def _of_releases(cell: CellFacts) -> bool:
    """Return whether a cell is made of releases: sources and whatever was newest have no place in an order."""
    if cell.sources:
        return False
    try:
        releases = releases_of(cell)
        return all(Version(releases[package]) for package in EXPLAINED if package in releases)
    except InvalidVersion:
        return False


def tables_of(
    case: str, records: Iterable[Record], *, by_kind: bool = False, packages: Sequence[str] = EXPLAINED
) -> list[Table]:
    """Return a table for each group of variants of a case that have the same label in every cell.

    A cell that never became ready counts for every variant of a case that its matrix measures.
    Cells whose versions of ``packages`` are equal are one point. The groups with the most
    variants come first.
    """
    mine, states = _of_case(case, records)
    axes = axes_of([*mine, *states], packages)
    columns: dict[tuple[tuple[str, str], ...], dict[Point, list[Record]]] = defaultdict(lambda: defaultdict(list))
    for record in mine:
        columns[tuple(record.variant.items())][point_of(record, axes)].append(record)
    groups: dict[tuple[tuple[Point, Label | None], ...], list[tuple[tuple[str, str], ...]]] = defaultdict(list)
    for variant, column in columns.items():
        for state in states:
            column[point_of(state, axes)].append(state)
        labels = {point: _agreed(found, by_kind=by_kind) for point, found in column.items()}
        groups[tuple(sorted(labels.items(), key=lambda item: item[0]))].append(variant)
    tables = [_table(case, axes, members, columns[members[0]], dict(labels)) for labels, members in groups.items()]
    return sorted(tables, key=lambda table: (-len(table.variants), [tuple(one.values()) for one in table.variants]))


def _of_case(case: str, records: Iterable[Record]) -> tuple[list[VariantRecord], list[StateRecord]]:
    """Split off what was measured of a case, and the states of the cells that never were ready."""
    everything = [record for record in records if label_of(record) is not None]
    mine = [record for record in variants_in(everything) if record.case == case]
    measured = {record.cell.id for record in mine}
    matrices = {record.cell.matrix for record in mine}
    states = [
        record
        for record in everything
        if isinstance(record, StateRecord) and record.cell.id not in measured and record.cell.matrix in matrices
    ]
    return mine, states


def _agreed(found: Sequence[Record], *, by_kind: bool) -> Label | None:
    labels = {label_of(record, by_kind=by_kind) for record in found}
    return labels.pop() if len(labels) == 1 else None


def _table(
    case: str,
    axes: tuple[Axis, ...],
    members: list[tuple[tuple[str, str], ...]],
    column: Mapping[Point, Sequence[Record]],
    labels: Mapping[Point, Label | None],
) -> Table:
    known = {point: label for point, label in labels.items() if label is not None}
    return Table(
        case=case,
        variants=tuple(dict(variant) for variant in members),
        axes=axes,
        labels=known,
        kinds={point: kind_of(column[point][0]) for point in known},
        cells={point: column[point][0].cell for point in labels},
        undecided=tuple(sorted(point for point, label in labels.items() if label is None)),
    )


def axes_of(records: Sequence[Record], packages: Sequence[str] = EXPLAINED) -> tuple[Axis, ...]:
    """List those packages that every cell has and that vary, each with its versions, ascending."""
    cells = [releases_of(record.cell) for record in records]
    axes = []
    for package in packages:
        versions = {cell.get(package) for cell in cells}
        known = [version for version in versions if version is not None]
        if len(known) == len(versions) > 1:
            axes.append(Axis(package=package, versions=tuple(sorted(known, key=Version))))
    return tuple(axes)


def releases_of(cell: CellFacts) -> dict[str, str]:
    """Return the releases in a record's cell; which build of torch it was does not count."""
    return {name: version.partition("+")[0] for name, version in cell.versions.items()}


def point_of(record: Record, axes: Sequence[Axis]) -> Point:
    """Return the place of a record's cell on the axes."""
    releases = releases_of(record.cell)
    return tuple(axis.versions.index(releases[axis.package]) for axis in axes)


def names(variants: Sequence[Mapping[str, str]]) -> list[str]:
    """Name variants in words, one line for each product: ``llama, bloom / p_tuning / cached``."""
    lines = []
    for product in products(variants):
        shown = [values for axis, values in product if values != (ADDED.get(axis),)]
        lines.append(" / ".join(", ".join(values) for values in shown))
    return lines


def word(case: str, variant: Mapping[str, str]) -> str:
    """Return the word of a case expression that selects a recorded variant, whatever device is asked for."""
    own = (value for axis, value in variant.items() if axis != "device" and value != ADDED.get(axis))
    return f"{case}:{'-'.join(own)}"
