"""The two cells of a release: what was the newest before, and what is new (pure)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.matrix.spec import Cell


def pair(like: Cell, before: Mapping[str, str], after: Mapping[str, str]) -> tuple[Cell, Cell]:
    """Return the cells of two sets of exact versions; the Python, the cases and other pins are those of ``like``."""
    sides = (
        ({**like.pins, **before}, "what was the newest before"),
        ({**like.pins, **after}, "what is new"),
    )
    one, other = (replace(like, pins=pins, why=why) for pins, why in sides)
    return one, other
