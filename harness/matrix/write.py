"""A matrix file with the cells that a program has put together (pure); :mod:`harness.matrix.read` reads it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from harness.matrix.spec import Cell


def matrix_text(title: str, cells: Iterable[Cell], *, limit_s: float | None = None, comment: str = "") -> str:
    """Write a matrix file, in which no latency is measured; the limit is in seconds for a variant (None: the usual)."""
    lines = [f"# {comment}", ""] if comment else []
    lines += ["[matrix]", f"title = {_quoted(title)}", "latency = false"]
    lines += [] if limit_s is None else [f"limit-seconds = {limit_s:g}"]
    for cell in cells:
        lines += ["", "[[cell]]", f"why = {_quoted(cell.why)}"] if cell.why else ["", "[[cell]]"]
        lines.append(f"python = {_quoted(cell.python)}")
        lines += [f"as-of = {cell.as_of.isoformat()}"] if cell.as_of else []
        lines += [f"{name} = {_quoted(pin)}" for name, pin in cell.pins.items()]
        lines += ["cases = [", *(f"    {_quoted(one)}," for one in cell.cases), "]"]
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    """Write a TOML string; JSON's escapes are among TOML's."""
    return json.dumps(text, ensure_ascii=False)
