"""Plan (pure): a matrix, the cases and a selection in; cells with their variants out."""

from __future__ import annotations

import difflib
import fnmatch
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.errors import UsageError
from harness.interface import selects, with_defaults
from harness.machine import gpus
from harness.matrix.cases import means, select_variants
from harness.matrix.weights import refuse_unknown
from harness.program import PROGRAM

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from harness.matrix.cases import Case
    from harness.matrix.spec import Cell, Matrix
    from harness.matrix.weights import RealWeights


_NAMED_CHOICES = 12


@dataclass(frozen=True, kw_only=True)
class Selection:
    """What a person asked to run: ids or patterns, a case expression, a device, a shard ``(i, n)``, real weights.

    With real weights only variants of their families are planned, and those of cases without an axis for it.
    """

    cells: tuple[str, ...] = ()
    bases: tuple[str, ...] = ()
    case: str | None = None
    device: str = "cpu"
    shard: tuple[int, int] | None = None
    weights: RealWeights | None = None


@dataclass(frozen=True, kw_only=True)
class PlannedCell:
    """A cell and the variants to measure in it, each with its case."""

    cell: Cell
    variants: tuple[tuple[Case, dict[str, str]], ...]


def plan_run(matrix: Matrix, cases: tuple[Case, ...], selection: Selection) -> tuple[PlannedCell, ...]:
    """Choose cells and variants. Raises :class:`UsageError` when a selection matches nothing."""
    chosen = select_variants(cases, selection.case)
    everything = select_variants(cases, None)
    if selection.weights:
        refuse_unknown(selection.weights, (one["model"] for _, one in everything if "model" in one))
    planned = []
    for cell in select_cells(matrix, selection):
        for word in cell.cases:
            if not any(means(word.removeprefix("!"), case, variant) for case, variant in everything):
                message = f"{matrix.path.name}: cell {cell.id} asks for {word!r}, which no case in cases/ has"
                raise UsageError(message)
        variants = tuple(
            (case, {**with_defaults(variant, selection.device), **more})
            for case, variant in chosen
            if (more := selection.weights.of(variant) if selection.weights else {}) is not None
            if _wanted(cell.cases, case, variant)
        )
        planned.append(PlannedCell(cell=cell, variants=variants))
    # One base of several may well have nothing of what was asked for; a whole matrix may not.
    if not any(one.variants for one in planned) and not selection.bases:
        message = f"nothing in matrix {matrix.name} has what was asked for; see: {PROGRAM} plan {matrix.name}"
        raise UsageError(message)
    return tuple(planned)


def find_cell(matrix: Matrix, name: str) -> Cell:
    """Give a cell by its id, or by a beginning or pattern that only one has. Raises :class:`UsageError`."""
    found = [cell for cell in matrix.cells if cell.id == name] or select_cells(matrix, Selection(cells=(name,)))
    if len(found) > 1:
        some = ", ".join(cell.id for cell in found[:_NAMED_CHOICES])
        message = f"{name!r} begins {len(found)} cells of {matrix.name}; name one: {some}"
        raise UsageError(message)
    return found[0]


def select_cells(matrix: Matrix, selection: Selection) -> list[Cell]:
    """List the cells of a matrix that a selection names. Raises :class:`UsageError` when a name matches none."""
    cells = list(matrix.cells)
    for asked, attribute, what in ((selection.bases, "base_id", "base"), (selection.cells, "id", "cell")):
        if not asked:
            continue
        names = [getattr(cell, attribute) for cell in matrix.cells]
        for pattern in asked:
            if not fnmatch.filter(names, f"{pattern}*"):
                close = difflib.get_close_matches(pattern, names, n=1, cutoff=0.3)
                hint = f"; did you mean {close[0]!r}?" if close else ""
                listed = f"; list them with: {PROGRAM} plan {matrix.name}"
                message = f"no {what} {pattern!r} in matrix {matrix.name}{hint}{listed}"
                raise UsageError(message)
        cells = [cell for cell in cells if any(fnmatch.fnmatch(getattr(cell, attribute), f"{one}*") for one in asked)]
    if selection.shard is not None:
        index, count = selection.shard
        bases = list(dict.fromkeys(cell.base_id for cell in cells))[index - 1 :: count]
        cells = [cell for cell in cells if cell.base_id in bases]
    return cells


def _wanted(words: Sequence[str], case: Case, variant: Mapping[str, str]) -> bool:
    """Tell whether a cell's words mean a variant: one of them does, and none that begins with ``!``."""
    if any(selects(word.removeprefix("!"), case.name, variant) for word in words if word.startswith("!")):
        return False
    # Nothing but exceptions means everything else.
    wanted = [word for word in words if not word.startswith("!")] or ["*"]
    return any(means(word, case, variant) for word in wanted)


def concrete_device(device: str) -> str:
    """Turn ``auto`` into ``cuda`` where the NVIDIA driver lists a GPU, else ``cpu``."""
    if device != "auto":
        return device
    return "cuda" if gpus() else "cpu"
