"""A run's plan: everything that was asked for, cell by cell. ``plan.json`` in the run's folder."""

from __future__ import annotations

import json
import re
import warnings
from dataclasses import asdict, dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any

from harness.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class AskedVariant:
    """A variant of a case that was asked for in a cell."""

    case: str
    variant: dict[str, str]


@dataclass(frozen=True, kw_only=True)
class AskedCell:
    """A cell that was asked for, as its matrix has it, and the variants to measure in it.

    ``state`` is the cell state that is expected, ``says`` a regular expression for the words that come with it.
    """

    id: str
    base: str
    python: str
    pins: dict[str, str]
    as_of: str | None = None
    why: str = ""
    state: str = "ready"
    says: str = ""
    asked: tuple[AskedVariant, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a run was asked for. ``merged`` names the runs that were joined, None in a run that was measured."""

    matrix: str
    title: str
    device: str
    run: str
    cells: tuple[AskedCell, ...] = ()
    merged: tuple[str, ...] | None = field(default=None)

    def with_cells(self, cells: Iterable[AskedCell]) -> Plan:
        """Return the plan with more cells; what is asked of one cell twice is joined, each variant once."""
        by_id = {cell.id: cell for cell in self.cells}
        for cell in cells:
            before = by_id[cell.id].asked if cell.id in by_id else ()
            by_id[cell.id] = replace(cell, asked=(*before, *(one for one in cell.asked if one not in before)))
        return replace(self, cells=tuple(by_id.values()))


_FIELDS = {kind: frozenset(known.name for known in fields(kind)) for kind in (Plan, AskedCell, AskedVariant)}


def read_plan(path: Path) -> Plan:
    """Read a plan. Raises :class:`InputError` that names the file and the path of the mistake."""
    if not path.is_file():
        raise InputError(str(path), "not a plan: no regular file")
    # Imported here: `here` writes plans where this package is not installed.
    import msgspec

    try:
        data = msgspec.json.decode(path.read_bytes())
        plan = msgspec.convert(data, Plan)
        _refuse_unknown(data, Plan, "$")
        for number, cell in enumerate(data.get("cells", ())):
            _refuse_unknown(cell, AskedCell, f"$.cells[{number}]")
            _refuse_pattern(plan.cells[number].says, f"$.cells[{number}].says")
            for index, asked in enumerate(cell.get("asked", ())):
                _refuse_unknown(asked, AskedVariant, f"$.cells[{number}].asked[{index}]")
    except (msgspec.MsgspecError, ValueError, RecursionError, OSError) as error:
        raise InputError(str(path), f"not a plan: {error}") from None
    return plan


def _refuse_unknown(data: Mapping[str, Any], kind: type[Plan | AskedCell | AskedVariant], path: str) -> None:
    """Raise :class:`ValueError` for a field that would be lost when the plan is written again."""
    if unknown := sorted(data.keys() - _FIELDS[kind]):
        message = f"Object contains unknown field `{unknown[0]}` - at `{path}`"
        raise ValueError(message)


def _refuse_pattern(pattern: str, path: str) -> None:
    if problem := pattern_problem(pattern):
        message = f"{problem} - at `{path}`"
        raise ValueError(message)


def pattern_problem(pattern: str) -> str | None:
    """Say why a text is no regular expression; None when it is one."""
    try:
        with warnings.catch_warnings():
            # What may mean something else in a later Python means today what it says.
            warnings.simplefilter("ignore", FutureWarning)
            re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        return f"not a regular expression: {error}"
    return None


def plan_text(plan: Plan) -> str:
    """Return a plan as JSON: the one writer of plans."""
    data: dict[str, Any] = asdict(plan)
    if plan.merged is None:
        del data["merged"]
    return json.dumps(data, ensure_ascii=False)
