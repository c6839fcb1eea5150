"""How certain a window is, and which cell to measure next where it is not (pure)."""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING

from packaging.version import Version

from harness.explain.table import releases_of
from harness.judge.boxes import contains
from harness.matrix.spec import Cell
from harness.packages import EXPLAINED

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from harness.contracts.record import CellFacts
    from harness.explain.learn import Window
    from harness.explain.table import Table
    from harness.judge.boxes import Box, Point

    Releases = Mapping[str, Sequence[str]]

_COMBINATIONS = 20_000
"""Unmeasured combinations to look through for one that tells two explanations apart."""


@dataclass(frozen=True, kw_only=True)
class Bound:
    """One end of a window, as far as it is known.

    The outcome changes somewhere after ``below`` and not after ``above``, both measured.
    ``between`` lists the releases between them, None when the releases are not known. ``alike``
    tells whether the two cells differ in this package alone. ``cell`` is the next one to
    measure: a version in the middle, with what a neighbour has otherwise.
    """

    package: str
    below: str
    above: str
    between: tuple[str, ...] | None
    alike: bool
    cell: Cell | None

    @property
    def certain(self) -> bool:
        """Return whether the two versions are adjacent releases, and nothing else differs."""
        return self.between == () and self.alike


@dataclass(frozen=True, kw_only=True)
class Hole:
    """An unmeasured combination that tells a window from another box that would do in its place."""

    alternative: Box
    cell: Cell


def bounds_of(window: Window, table: Table, releases: Releases) -> tuple[Bound, ...]:
    """Return every end of a window that is a condition, in the order of the axes, the lower end first.

    ``releases`` maps packages to the releases that are known, in any order.
    """
    bounds = []
    for axis, (low, high) in enumerate(window.reach):
        if low > 0:
            bounds.append(_bound(window, table, releases, axis, low - 1))
        if high < table.shape[axis] - 1:
            bounds.append(_bound(window, table, releases, axis, high + 1))
    return tuple(bounds)


def holes_of(window: Window, table: Table) -> tuple[Hole, ...]:
    """Name, for each alternative to a window, a combination of measured versions that would decide."""
    holes = []
    for alternative in window.alternatives:
        point = _telling(window.box, alternative, table)
        if point is not None:
            versions = {axis.package: axis.versions[index] for axis, index in zip(table.axes, point, strict=True)}
            near = min(table.cells, key=lambda other: (_distance(point, other), other))
            holes.append(Hole(alternative=alternative, cell=_cell(table.cells[near], versions, _day(versions, table))))
    return tuple(holes)


def cell_of(facts: CellFacts) -> Cell:
    """Return the cell that a record's facts describe, with what its matrix pinned."""
    return _cell(facts, {}, as_of(facts))


def as_of(facts: CellFacts) -> date | None:
    """Read the day of a cell out of its id."""
    found = re.search(r"@(\d{4})(\d{2})(\d{2})$", facts.id)
    return date(*map(int, found.groups())) if found else None


def _bound(window: Window, table: Table, releases: Releases, axis: int, beyond: int) -> Bound:
    """Describe the end of a window on one axis; at the index ``beyond`` its reach meets something foreign."""
    upper = beyond > window.reach[axis][1]
    nearest = (max if upper else min)(point[axis] for point in window.points)
    ours = [point for point in window.points if point[axis] == nearest]
    slab = tuple((beyond, beyond) if one == axis else interval for one, interval in enumerate(window.reach))
    theirs = [point for point in table.labels if contains(slab, point)]
    # Two cells that differ in this package alone say most; among several such pairs, the newest.
    inner, outer = min(
        itertools.product(ours, theirs),
        key=lambda pair: (_distance(*pair), tuple(-index for index in pair[0])),
    )
    package, versions = table.axes[axis].package, table.axes[axis].versions
    below, above = sorted((versions[inner[axis]], versions[outer[axis]]), key=Version)
    between = _between(below, above, versions, releases.get(package))
    alike = all(one == other for number, (one, other) in enumerate(zip(inner, outer, strict=True)) if number != axis)
    next_version = between[len(between) // 2] if between else None if alike else versions[outer[axis]]
    days = [as_of(table.cells[point]) for point in (inner, outer)]
    day = max((one for one in days if one), default=None) if all(days) else None
    cell = _cell(table.cells[inner], {package: next_version}, day) if next_version else None
    return Bound(package=package, below=below, above=above, between=between, alike=alike, cell=cell)


def _between(below: str, above: str, measured: Sequence[str], known: Sequence[str] | None) -> tuple[str, ...] | None:
    low, high = Version(below), Version(above)
    found = sorted({one for one in map(Version, {*measured, *(known or ())}) if low < one < high})
    return None if known is None and not found else tuple(map(str, found))


def _telling(box: Box, other: Box, table: Table) -> Point | None:
    spans = [range(min(a[0], b[0]), max(a[1], b[1]) + 1) for a, b in zip(box, other, strict=True)]
    best: tuple[int, Point] | None = None
    for point in itertools.islice(itertools.product(*spans), _COMBINATIONS):
        if point not in table.labels and contains(box, point) != contains(other, point):
            near = min(_distance(point, measured) for measured in table.labels)
            best = min(best or (near, point), (near, point))
    return best[1] if best else None


def _distance(one: Point, other: Point) -> int:
    return sum(abs(a - b) for a, b in zip(one, other, strict=True))


def _day(versions: Mapping[str, str], table: Table) -> date | None:
    """Return the first day on which all these versions were together: the latest of their first days."""
    days = []
    for package, version in versions.items():
        own = [as_of(facts) for facts in table.cells.values() if releases_of(facts).get(package) == version]
        if not own or None in own:
            return None
        days.append(min(day for day in own if day))
    return max(days, default=None)


def _cell(facts: CellFacts, changed: Mapping[str, str], day: date | None) -> Cell:
    releases = {**releases_of(facts), **changed}
    pins = {name: releases[name] for name in EXPLAINED if name in releases and name != "python"}
    return Cell(python=releases["python"], pins=pins, as_of=day)


def unique_cells(cells: Iterable[Cell]) -> list[Cell]:
    """Return each cell once, by id, in order."""
    return list({cell.id: cell for cell in cells}.values())
