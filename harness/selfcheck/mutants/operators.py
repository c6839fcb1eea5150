"""Small mistakes made by a program: one operator, number, condition or statement of a source is another.

The operators are those of mutation testing's literature (DeMillo, Lipton and Sayward 1978; Offutt and others 1996):
relational, logical and arithmetic operators, constants, conditions, statements, and arguments left out.
"""

from __future__ import annotations

import ast
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

from packaging.specifiers import SpecifierSet

from harness.selfcheck.mutants.planted import Mutant

if TYPE_CHECKING:
    from collections.abc import Iterator

FILES = (
    "peft_model.py",
    *(
        f"tuners/{name}/model.py"
        for name in ("prompt_tuning", "prefix_tuning", "p_tuning", "multitask_prompt_tuning", "cpt", "cartridge")
    ),
)
"""What is mutated, where a release has it."""

_COMPARED = {
    ast.Eq: "!=", ast.NotEq: "==", ast.Lt: "<=", ast.LtE: "<", ast.Gt: ">=", ast.GtE: ">", ast.Is: "is not",
    ast.IsNot: "is", ast.In: "not in", ast.NotIn: "in",
}  # fmt: skip
_COMPUTED = {
    ast.Add: "-", ast.Sub: "+", ast.Mult: "+", ast.Div: "*", ast.FloorDiv: "*", ast.Mod: "*", ast.BitAnd: "|",
    ast.BitOr: "&",
}  # fmt: skip
_ASSIGNED = {ast.Add: "-=", ast.Sub: "+=", ast.Mult: "+=", ast.Div: "*="}


@dataclass(frozen=True, kw_only=True)
class Change:
    """A text of a source, by where it begins and ends in characters, and what stands there instead."""

    kind: str
    start: int
    end: int
    after: str


class Source:
    """A source with its syntax tree, and the places of its nodes in characters."""

    def __init__(self, text: str) -> None:
        """Parse it."""
        self.text, self.tree = text, ast.parse(text)
        self._lines = text.splitlines(keepends=True)
        self._starts = [0]
        for line in self._lines:
            self._starts.append(self._starts[-1] + len(line))

    def begin(self, node: ast.expr | ast.stmt) -> int:
        """Return where a node begins. Its column counts bytes of UTF-8."""
        return self._at(node.lineno, node.col_offset)

    def end(self, node: ast.expr | ast.stmt) -> int:
        """Return where a node ends."""
        return self._at(node.end_lineno or node.lineno, node.end_col_offset or 0)

    def of(self, node: ast.expr | ast.stmt) -> str:
        """Return a node's text."""
        return self.text[self.begin(node) : self.end(node)]

    def line(self, place: int) -> int:
        """Return the number of the line at a place."""
        return self.text.count("\n", 0, place) + 1

    def _at(self, line: int, column: int) -> int:
        text = self._lines[line - 1]
        return self._starts[line - 1] + len(text.encode()[:column].decode())


CARDS = {"create_or_update_model_card", "_get_peft_specific_model_tags"}
"""Functions that write the card of a model, which people read and no answer depends on."""


def changes(source: Source) -> Iterator[Change]:
    """List every change of a source's functions.

    What people read alone is left out: messages of errors and warnings and whether one is warned, annotations, cards.
    """
    for function in ast.walk(source.tree):
        if isinstance(function, ast.FunctionDef) and function.name not in CARDS:
            for statement in function.body:
                yield from _of_statement(source, statement)


def _of_statement(source: Source, statement: ast.stmt) -> Iterator[Change]:
    others = ast.Raise | ast.FunctionDef | ast.ClassDef | ast.Assert | ast.Import | ast.ImportFrom
    if not isinstance(statement, others) and not _is_for_readers(statement):
        yield from _of_whole(source, statement)
        yield from _of_parts(source, statement)


def _of_whole(source: Source, statement: ast.stmt) -> Iterator[Change]:
    """Leave a statement out, or turn its condition or its assignment round."""
    match statement:
        case ast.Expr(value=ast.Call()) | ast.AugAssign() | ast.Delete():
            yield Change(kind="left out", start=source.begin(statement), end=source.end(statement), after="pass")
        case ast.Assign(targets=[ast.Attribute() | ast.Subscript()]):
            yield Change(kind="left out", start=source.begin(statement), end=source.end(statement), after="pass")
        case ast.If(test=test) | ast.While(test=test):
            text = f"not ({source.of(test)})"
            yield Change(kind="negated", start=source.begin(test), end=source.end(test), after=text)
    if isinstance(statement, ast.AugAssign) and type(statement.op) in _ASSIGNED:
        between = (source.end(statement.target), source.begin(statement.value))
        yield Change(kind="operator", start=between[0], end=between[1], after=f" {_ASSIGNED[type(statement.op)]} ")


def _is_for_readers(statement: ast.stmt) -> bool:
    """Return whether a statement is a text, or warns, or asks whether to warn and does nothing else."""
    match statement:
        case ast.Expr(value=ast.Constant()):
            return True
        case ast.Expr(value=ast.Call() as call):
            return "warn" in ast.unparse(call.func)
        case ast.If(body=body, orelse=[]):
            return all(map(_is_for_readers, body))
        case _:
            return False


def _of_parts(source: Source, statement: ast.stmt) -> Iterator[Change]:
    """Change what a statement is made of: its expressions, and the statements in it."""
    for name, value in ast.iter_fields(statement):
        if name in {"annotation", "returns", "decorator_list", "type_params"}:
            continue
        for node in value if isinstance(value, list) else [value]:
            if isinstance(node, ast.stmt):
                yield from _of_statement(source, node)
            elif isinstance(node, ast.ExceptHandler):
                for inner in node.body:
                    yield from _of_statement(source, inner)
            elif isinstance(node, ast.withitem):
                yield from _of_expression(source, node.context_expr)
            elif isinstance(node, ast.expr):
                yield from _of_expression(source, node)


def _of_expression(source: Source, tree: ast.expr) -> Iterator[Change]:  # noqa: C901 - an operator a case
    for node in ast.walk(tree):
        match node:
            case ast.Compare(left=left, ops=[op], comparators=[right]) if type(op) in _COMPARED:
                yield _between(source, left, right, _COMPARED[type(op)], "comparison")
            case ast.BinOp(left=left, op=op, right=right) if type(op) in _COMPUTED:
                yield _between(source, left, right, _COMPUTED[type(op)], "operator")
            case ast.BoolOp(op=op, values=[left, right]):
                yield _between(source, left, right, "and" if isinstance(op, ast.Or) else "or", "logic")
            case ast.UnaryOp(op=ast.Not() | ast.Invert(), operand=operand):
                # In brackets: its own do not belong to it, and it may be of several lines.
                yield _replaced(source, node, f"({source.of(operand)})", "negated")
            case ast.Constant(value=bool(value)):
                yield _replaced(source, node, str(not value), "constant")
            case ast.Constant(value=int(value) | float(value)):
                yield _replaced(source, node, repr(value + 1), "constant")
            case ast.IfExp(body=body, orelse=orelse):
                yield _replaced(source, node, f"({source.of(orelse)})", "one branch")
                yield _replaced(source, node, f"({source.of(body)})", "one branch")
            case ast.Tuple(elts=[first, second]) if isinstance(node.ctx, ast.Load) and not _slices(node):
                yield _replaced(source, node, f"({source.of(second)}, {source.of(first)})", "exchanged")
            case ast.Call(args=arguments, keywords=[*_, ast.keyword(arg=str()) as last]) if (
                arguments and source.text[source.begin(last.value) - 1] != "("
            ):
                # Up to the end of the argument before it, so that no comma is left.
                before = node.keywords[-2].value if len(node.keywords) > 1 else arguments[-1]
                yield Change(kind="argument left out", start=source.end(before), end=source.end(last.value), after="")


def _slices(node: ast.Tuple) -> bool:
    """Return whether a tuple is an index of slices: in brackets of its own it is no Python."""
    return any(isinstance(one, ast.Slice) for one in node.elts)


def _between(source: Source, left: ast.expr, right: ast.expr, operator: str, kind: str) -> Change:
    """Replace what stands between two operands, brackets around them apart."""
    text = source.text[source.end(left) : source.begin(right)]
    closing, opening = text[: len(text) - len(text.lstrip(" )\n"))], text[len(text.rstrip(" (\n")) :]
    return Change(
        kind=kind, start=source.end(left), end=source.begin(right), after=f"{closing or ' '}{operator}{opening or ' '}"
    )


def _replaced(source: Source, node: ast.expr, text: str, kind: str) -> Change:
    return Change(kind=kind, start=source.begin(node), end=source.end(node), after=text)


def generated(file: str, text: str, lines: set[int]) -> list[Mutant]:
    """Make every mutant of a source whose change begins in one of these lines."""
    source = Source(text)
    found: dict[tuple[int, str], Mutant] = {}
    for change in changes(source):
        before = text[change.start : change.end]
        line = source.line(change.start + len(before) - len(before.lstrip()))
        if line not in lines or before == change.after:
            continue
        column = change.start - text.rfind("\n", 0, change.start)
        mutant = Mutant(
            name=f"{file}:{line}:{column} {change.kind}",
            file=file,
            before=before,
            after=change.after,
            wrong=change.kind,
            releases=SpecifierSet(),
            start=change.start,
        )
        found.setdefault((change.start, change.after), mutant)
    return list(found.values())


def sample(mutants: list[Mutant], count: int, seed: int) -> list[Mutant]:
    """Draw mutants, the same for the same seed."""
    dice = random.Random(seed)  # noqa: S311 - a seed that can be said, no secret
    ordered = sorted(mutants, key=lambda one: (one.file, one.start or 0, one.after))
    return sorted(dice.sample(ordered, min(count, len(ordered))), key=lambda one: (one.file, one.start or 0))
