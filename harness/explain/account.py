"""The whole account of a case: its groups of variants, their windows, and what is not certain yet (pure)."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from harness.explain.certainty import Bound, Hole, bounds_of, holes_of
from harness.explain.learn import Window, explain_table, kinds_in
from harness.explain.table import Label, tables_of, word
from harness.interface import CellState
from harness.packages import EXPLAINED

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from harness.contracts.record import Record
    from harness.explain.table import Axis, Table
    from harness.judge.boxes import Box
    from harness.matrix.spec import Cell


@dataclass(frozen=True, kw_only=True, eq=False)
class Told:
    """A window with how often each kind of failure was met in it, its ends, and its rivals."""

    window: Window
    kinds: tuple[tuple[str, int], ...]
    bounds: tuple[Bound, ...]
    holes: tuple[Hole, ...]

    @property
    def cells(self) -> tuple[Cell, ...]:
        """List the cells that would make this window more certain."""
        return (*(one.cell for one in self.bounds if one.cell is not None), *(one.cell for one in self.holes))


@dataclass(frozen=True, kw_only=True, eq=False)
class Group:
    """Variants that behave alike, and the windows that account for them, the largest first."""

    table: Table
    told: tuple[Told, ...]
    proven: bool

    def counts(self) -> list[tuple[Label, int]]:
        """Count the measured cells of each label, the most frequent first."""
        counts = Counter(self.table.labels.values())
        return sorted(counts.items(), key=lambda item: (-item[1], item[0]))


@dataclass(frozen=True, kw_only=True, eq=False)
class Account:
    """A case, explained. ``shared`` are windows of cell states that are the same in every group."""

    case: str
    axes: tuple[Axis, ...]
    cells: int
    groups: tuple[Group, ...]
    shared: tuple[Told, ...]

    def deciding(self) -> list[tuple[Cell, Group, Told]]:
        """List every cell that would make a window more certain, with where it belongs."""
        return [(cell, group, told) for group in self.groups for told in group.told for cell in told.cells]


def account_of(
    case: str,
    records: Iterable[Record],
    releases: Mapping[str, Sequence[str]],
    *,
    by_kind: bool = False,
    packages: Sequence[str] = EXPLAINED,
) -> Account | None:
    """Explain what was measured of a case; None when nothing was.

    ``releases`` maps packages to the releases that are known; ``by_kind`` tells failures of
    different kinds apart, not outcomes alone; ``packages`` are those that may account for them.
    """
    tables = tables_of(case, records, by_kind=by_kind, packages=packages)
    if not tables:
        return None
    groups = []
    for table in tables:
        explanation = explain_table(table)
        told = tuple(
            Told(
                window=window,
                kinds=tuple(kinds_in(window, table)),
                bounds=bounds_of(window, table, releases),
                holes=holes_of(window, table),
            )
            for window in explanation.windows
        )
        groups.append(Group(table=table, told=told, proven=explanation.proven))
    cells = {point for table in tables for point in table.cells}
    return Account(case=case, axes=tables[0].axes, cells=len(cells), groups=tuple(groups), shared=_shared(groups))


def _shared(groups: Sequence[Group]) -> tuple[Told, ...]:
    def states(group: Group) -> list[Told]:
        return [told for told in group.told if told.window.label.outcome in set(CellState)]

    first = states(groups[0])
    same = all([one.window for one in states(group)] == [one.window for one in first] for group in groups)
    return tuple(first) if same and len(groups) > 1 else ()


def conditions_of(box: Box, axes: Sequence[Axis]) -> dict[str, str]:
    """Write a box as a specifier for each package that it bounds: ``{"peft": ">=0.12.0,<0.14.0"}``."""
    where = {}
    for (low, high), axis in zip(box, axes, strict=True):
        ends = [f">={axis.versions[low]}"] if low > 0 else []
        if high < len(axis.versions) - 1:
            ends.append(f"<{axis.versions[high + 1]}")
        if ends:
            where[axis.package] = ",".join(ends)
    return where


def deciding_cells(account: Account) -> list[Cell]:
    """List every deciding cell, each with just the variants that it decides about."""
    cells: dict[str, Cell] = {}
    words: dict[str, list[str]] = {}
    for cell, group, _ in account.deciding():
        cells[cell.id] = cell
        words.setdefault(cell.id, []).extend(word(account.case, variant) for variant in group.table.variants)
    return [replace(cell, cases=tuple(dict.fromkeys(words[name])), why="") for name, cell in cells.items()]
