"""The matrix of two cells, before and after something was released, as the text of a matrix file (pure)."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.matrix.spec import Cell

NAME = "released"
"""Of the matrix, and of its file."""


def pair(like: Cell, before: Mapping[str, str], after: Mapping[str, str]) -> tuple[Cell, Cell]:
    """Return the cells of two sets of exact versions; the Python, the cases and other pins are those of ``like``."""
    sides = (
        ({**like.pins, **before}, "what was the newest before"),
        ({**like.pins, **after}, "what is new"),
    )
    one, other = (replace(like, pins=pins, why=why) for pins, why in sides)
    return one, other


def pair_text(cells: tuple[Cell, Cell], *, title: str, limit_s: float) -> str:
    """Write the matrix file of two cells that have the same Python and cases; no latency is measured in it."""
    first = cells[0]
    lines = [
        "[matrix]",
        f"title = {_text(title)}",
        f"python = {_text(first.python)}",
        f"limit-seconds = {limit_s:g}",
        "latency = false",
        f"cases = [{', '.join(map(_text, first.cases))}]",
    ]
    for cell in cells:
        lines += ["", "[[cell]]", f"why = {_text(cell.why)}"]
        lines += [f"{name} = {_text(pin)}" for name, pin in cell.pins.items()]
    return "\n".join(lines) + "\n"


def _text(text: str) -> str:
    """Write a TOML string; JSON's escapes are among TOML's."""
    return json.dumps(text, ensure_ascii=False)
