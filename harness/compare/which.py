"""Which cells and variants a comparison is about."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.catalogue import load_cases, select_variants
from harness.errors import UsageError
from harness.plan import Selection, select_cells

if TYPE_CHECKING:
    from harness.catalogue import Case
    from harness.spec import Cell, Matrix

TIMED = "generate_with_cache:*-cached"
"""The variants that are timed: ``generate`` as users call it, for every family and method."""


def find_cell(matrix: Matrix, name: str) -> Cell:
    """Find the one cell of a matrix whose id is ``name`` or begins with it. Raises :class:`UsageError`."""
    found = [cell for cell in matrix.cells if cell.id == name] or select_cells(matrix, Selection(cells=(name,)))
    if len(found) > 1:
        message = (
            f"{name!r} is the beginning of {len(found)} cells of {matrix.name}: {', '.join(c.id for c in found[:4])}"
        )
        raise UsageError(message)
    return found[0]


def timed_variants(expression: str, device: str = "cpu") -> list[tuple[Case, dict[str, str]]]:
    """List the variants of a case expression, with their device. Raises :class:`UsageError` when there are none."""
    chosen = select_variants(load_cases(), expression)
    return [(case, {**variant, "device": device, "dtype": "float32"}) for case, variant in chosen]
