"""What nobody in a whole program reaches, reads, raises or needs."""

from __future__ import annotations

import ast
from collections import Counter

from harness.repro.scope import Program, Substitute, is_comment, names_used, walk

_COUNTS = ("COUNTERS", "LATENCY")
_NUMBER_LIMIT = 6
"""Characters of a number that may stand where the name of the argument says what it is."""


def drop_unused(program: Program, roots: tuple[str, ...]) -> Program:
    """Keep what can be reached from the roots, in order."""
    reached: set[str] = set()
    waiting = list(roots)
    while waiting:
        name = waiting.pop()
        if name in program and name not in reached:
            reached.add(name)
            waiting += names_used(program[name], program.keys())
    return {name: node for name, node in program.items() if name in reached}


def unread_dicts(program: Program) -> frozenset[str]:
    """Name the dicts of counts that a program writes into and never looks at."""
    uses: Counter[str] = Counter()
    for item in program.values():
        for one in walk(item):
            match one:
                case ast.Name(id=name, ctx=ast.Load()):
                    uses[name] += 1
                case ast.Expr(value=ast.Call(func=ast.Attribute(value=ast.Name(id=name), attr="update"))):
                    uses[name] -= 1
    return frozenset(name for name in _COUNTS if not uses[name])


def empty_managers(program: Program) -> frozenset[str]:
    """Name the context managers of a program that do nothing but yield."""
    found = set()
    for name, node in program.items():
        if isinstance(node, ast.FunctionDef) and any("contextmanager" in ast.unparse(d) for d in node.decorator_list):
            match [one for one in node.body if not is_comment(one) and not _is_docstring(one)]:
                case [ast.Expr(value=ast.Yield(value=None))]:
                    found.add(name)
    return frozenset(found)


def _is_docstring(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def forget_unraised(program: Program) -> None:
    """Take exceptions of our own that nothing raises out of the places that catch them."""
    raised = {
        one.exc.func.id
        for node in program.values()
        for one in walk(node)
        if isinstance(one, ast.Raise) and isinstance(one.exc, ast.Call) and isinstance(one.exc.func, ast.Name)
    }
    ours = {
        name
        for name, node in program.items()
        if isinstance(node, ast.ClassDef) and node.bases and ast.unparse(node.bases[0]).endswith(("Exception", "Error"))
    }
    forget = _Forget(ours - raised)
    for node in program.values():
        forget.visit(node)


class _Forget(ast.NodeTransformer):
    def __init__(self, names: set[str]) -> None:
        self._names = names

    def _is_gone(self, node: ast.AST) -> bool:
        return isinstance(node, ast.Name) and node.id in self._names

    def visit_Match(self, node: ast.Match) -> ast.Match:
        node.cases = [
            one
            for one in node.cases
            if not (isinstance(one.pattern, ast.MatchClass) and self._is_gone(one.pattern.cls))
        ]
        self.generic_visit(node)
        return node

    def visit_BinOp(self, node: ast.BinOp) -> ast.expr:
        self.generic_visit(node)
        if isinstance(node.op, ast.BitOr):
            if self._is_gone(node.right):
                return node.left
            if self._is_gone(node.left):
                return node.right
        return node


def inline_numbers(program: Program, kept: frozenset[str]) -> None:
    """Write a number that is used once, as an argument with a name, in its place.

    ``kept`` names the constants that a reader is to find at the top.
    """
    numbers = {
        name: node.value
        for name, node in program.items()
        if isinstance(node, ast.Assign) and name not in kept and _is_short_number(node.value)
    }
    uses = Counter(one.id for node in program.values() for one in walk(node) if isinstance(one, ast.Name))
    for node in program.values():
        for one in walk(node):
            match one:
                # One use, and the assignment itself.
                case ast.keyword(arg=str(), value=ast.Name(id=name)) if name in numbers and uses[name] <= 2:  # noqa: PLR2004
                    one.value = Substitute(numbers).visit(one.value)


def _is_short_number(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, int) and len(str(node.value)) <= _NUMBER_LIMIT
