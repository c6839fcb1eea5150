"""Write the cells that would decide as a matrix file (pure)."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from harness.explain.variants import word

if TYPE_CHECKING:
    from harness.explain.account import Account
    from harness.spec import Cell


def matrix_text(account: Account) -> tuple[str, int]:
    """Write a matrix of every deciding cell, each with just the variants that it decides about.

    Returns the text and the number of cells.
    """
    cells: dict[str, Cell] = {}
    words: dict[str, list[str]] = {}
    for cell, group, _ in account.deciding():
        cells[cell.id] = cell
        words.setdefault(cell.id, []).extend(word(account.case, variant) for variant in group.table.variants)
    lines = [
        f"# Cells that decide what the windows of {account.case} leave open; written by `explain --write-cells`.",
        "",
        "[matrix]",
        f"title = {json.dumps(f'What would decide {account.case}')}",
        "latency = false",
    ]
    for name, cell in cells.items():
        lines += ["", "[[cell]]", f'python = "{cell.python}"']
        lines += [f'{package} = "{version}"' for package, version in cell.pins.items()]
        if cell.as_of:
            lines.append(f"as-of = {cell.as_of.isoformat()}")
        lines += ["cases = [", *(f"    {json.dumps(one)}," for one in dict.fromkeys(words[name])), "]"]
    return "\n".join([*lines, ""]), len(cells)
