"""Plan (pure): a matrix, the cases and a selection in; cells with their variants out."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from harness.errors import NoDeviceHere, UsageError
from harness.interface import with_defaults
from harness.machine import gpus
from harness.matrix.cases import read_selector, select_variants
from harness.matrix.weights import refuse_unknown
from harness.program import PROGRAM
from harness.selectors import SelectionError, cell_selector, one_cell

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.matrix.cases import Case
    from harness.matrix.spec import Cell, Matrix
    from harness.matrix.weights import RealWeights
    from harness.selectors import CellSelector, VariantSelector


@dataclass(frozen=True, kw_only=True)
class Selection:
    """What a person asked to run: ids or patterns, a case expression, a device, the cells of a shard, real weights.

    A shard is the whole ids of its cells, and may have none (:mod:`harness.matrix.shards`).
    With real weights only variants of their families are planned, and those of cases without an axis for it.
    """

    cells: tuple[str, ...] = ()
    bases: tuple[str, ...] = ()
    case: str | None = None
    device: str = "cpu"
    shard: frozenset[str] | None = None
    weights: RealWeights | None = None


def with_python(matrix: Matrix, python: str) -> Matrix:
    """Return a matrix whose cells have another Python (a minor version); cells that become the same are one."""
    cells = {cell.id: cell for cell in (replace(one, python=python) for one in matrix.cells)}
    return replace(matrix, cells=tuple(cells.values()))


@dataclass(frozen=True, kw_only=True)
class PlannedCell:
    """A cell and the variants to measure in it, each with its case."""

    cell: Cell
    variants: tuple[tuple[Case, dict[str, str]], ...]


def plan_run(matrix: Matrix, cases: tuple[Case, ...], selection: Selection) -> tuple[PlannedCell, ...]:
    """Choose cells and variants. Raises :class:`UsageError` when a selection matches nothing."""
    chosen = select_variants(cases, selection.case)
    if selection.weights:
        everything = [variant for case in cases for variant in case.variants]
        refuse_unknown(selection.weights, (one["model"] for one in everything if "model" in one))
    planned = []
    asked: dict[tuple[str, ...], VariantSelector] = {}
    for cell in select_cells(matrix, selection):
        if cell.cases not in asked:
            asked[cell.cases] = _asked_by(cell, matrix, cases)
        variants = tuple(
            (case, {**with_defaults(variant, selection.device), **more})
            for case, variant in chosen
            if (more := selection.weights.of(variant) if selection.weights else {}) is not None
            if asked[cell.cases](case.name, variant)
        )
        planned.append(PlannedCell(cell=cell, variants=variants))
    # One base of several, or one shard, may well have nothing of what was asked for; a whole matrix may not.
    if not any(one.variants for one in planned) and not selection.bases and selection.shard is None:
        message = f"nothing in matrix {matrix.name} has what was asked for; see: {PROGRAM} plan {matrix.name}"
        raise UsageError(message)
    return tuple(planned)


def _asked_by(cell: Cell, matrix: Matrix, cases: tuple[Case, ...]) -> VariantSelector:
    """Read the words of a cell; nothing but exceptions means everything else that a pattern means."""
    try:
        return read_selector(cell.cases, cases, implied="*")
    except UsageError as error:
        message = f"{matrix.path.name}: cell {cell.id}: {error}"
        raise UsageError(message) from None


def find_cell(matrix: Matrix, name: str) -> Cell:
    """Return the cell that an id, its beginning or a pattern means. Raises :class:`UsageError` unless it is one."""
    try:
        found = one_cell(name, [cell.id for cell in matrix.cells], place=f"matrix {matrix.name}")
    except SelectionError as error:
        raise UsageError(str(error)) from None
    return next(cell for cell in matrix.cells if cell.id == found)


def read_cells(asked: Sequence[str], known: Sequence[str], *, place: str, what: str = "cell") -> CellSelector:
    """Read what was asked for as :func:`harness.selectors.cell_selector` does. Raises :class:`UsageError`."""
    try:
        return cell_selector(asked, known, place=place, what=what)
    except SelectionError as error:
        raise UsageError(str(error)) from None


def select_cells(matrix: Matrix, selection: Selection) -> list[Cell]:
    """List the cells of a matrix that a selection names. Raises :class:`UsageError` when a name matches none."""
    place = f"matrix {matrix.name}"
    by_id = read_cells(selection.cells, [cell.id for cell in matrix.cells], place=place)
    by_base = read_cells(selection.bases, matrix.bases, place=place, what="base")
    shard = selection.shard
    return [
        cell
        for cell in matrix.cells
        if by_id(cell.id) and by_base(cell.base_id) and (shard is None or cell.id in shard)
    ]


def concrete_device(device: str) -> str:
    """Turn ``auto`` into ``cuda`` where the NVIDIA driver lists a GPU, else ``cpu``.

    Raises :class:`NoDeviceHere` for ``cuda`` where it lists none.
    """
    if device == "cpu":
        return device
    if gpus():
        return "cuda"
    if device == "cuda":
        message = "no GPU here: nvidia-smi lists none; measure with --device cpu, or on a machine that has one"
        raise NoDeviceHere(message)
    return "cpu"
