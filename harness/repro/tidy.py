r"""Tidy what ``ast.unparse`` writes: no brackets that nobody needs, raw strings where they help.

A formatter leaves both alone, because somebody may have meant them.
"""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


def tidy(source: str) -> str:
    """Give the same program, easier to read; its syntax tree stays the same."""
    lines = source.encode().split(b"\n")
    edits = sorted(_edits(ast.parse(source), lines), reverse=True)
    for row, start, end, new in edits:
        lines[row] = lines[row][:start] + new + lines[row][end:]
    return b"\n".join(lines).decode()


def _edits(node: ast.AST, lines: list[bytes]) -> Iterator[tuple[int, int, int, bytes]]:
    match node:
        case ast.JoinedStr():
            # Positions inside f-strings are only right from Python 3.12 on.
            return
        case (
            ast.Return(value=ast.Tuple(elts=[_, *_] as items) as pair)
            | ast.Assign(targets=[ast.Tuple()], value=ast.Tuple(elts=[_, *_] as items) as pair)
        ):
            if not any(isinstance(one, ast.Starred) for one in items):
                yield from _without_brackets(pair, lines, inside=True)
        case ast.BoolOp(values=values):
            for value in values:
                if isinstance(value, ast.UnaryOp):
                    yield from _without_brackets(value, lines, inside=False)
        case ast.Constant(value=str(text)) if "\\" in text and text.isprintable() and node.lineno == node.end_lineno:
            if '"' not in text and not text.endswith("\\"):
                yield node.lineno - 1, node.col_offset, node.end_col_offset or 0, f'r"{text}"'.encode()
    for child in ast.iter_child_nodes(node):
        yield from _edits(child, lines)


def _without_brackets(node: ast.expr, lines: list[bytes], *, inside: bool) -> Iterator[tuple[int, int, int, bytes]]:
    row, start, end = node.lineno - 1, node.col_offset, node.end_col_offset or 0
    if node.end_lineno != node.lineno:
        return
    if not inside:
        start, end = start - 1, end + 1
    if lines[row][start : start + 1] == b"(" and lines[row][end - 1 : end] == b")":
        yield row, start, start + 1, b""
        yield row, end - 1, end, b""
