"""Prune statements: branches that one variant never takes, and detours."""

from __future__ import annotations

import ast
from collections import Counter
from typing import TYPE_CHECKING, Any

from harness.repro.scope import Program, Substitute, blocks, drop_unread, inline_variables, is_comment, names_used, walk

if TYPE_CHECKING:
    from harness.repro.fold import Fold


_ENDS = (ast.Return, ast.Raise, ast.Continue, ast.Break)


def prune(node: ast.stmt, fold: Fold, unread: frozenset[str], empty: frozenset[str]) -> None:
    """Prune one definition in place.

    ``unread`` names dicts that are written and never read, ``empty`` context managers that do nothing.
    """
    for owner, field in blocks(node):
        body: list[ast.stmt] = getattr(owner, field)
        if body:
            flat = [kept for one in body for kept in _statement(one, fold, unread, empty)]
            flat = _join_updates(_inline_messages(_until_the_end(flat)))
            if (
                isinstance(owner, ast.FunctionDef)
                and flat
                and isinstance(flat[-1], ast.Return)
                and flat[-1].value is None
            ):
                flat = flat[:-1]
            if all(is_comment(one) for one in flat):
                flat = [ast.Pass()] if field == "body" else []
            setattr(owner, field, flat)
    for one in walk(node):
        if isinstance(one, ast.FunctionDef):
            inline_variables(one)
            drop_unread(one)


def _statement(  # noqa: PLR0911 - a table of shapes and what becomes of them
    node: ast.stmt, fold: Fold, unread: frozenset[str], empty: frozenset[str]
) -> list[ast.stmt]:
    """Return what a statement comes to."""
    match node:
        case ast.If(test=ast.Constant(value=value)):
            return node.body if value else node.orelse
        case ast.If(test=test, body=[ast.Pass()], orelse=[]) if not any(isinstance(c, ast.Call) for c in walk(test)):
            return []
        case ast.Match(subject=subject) if isinstance(known := fold.resolve(subject), ast.Constant):
            return _chosen(node, known)
        case ast.Try(handlers=[], finalbody=[]):
            return node.body
        case ast.Expr(value=ast.Call(func=ast.Attribute(value=ast.Name(id=name), attr="update"))) if name in unread:
            return []
        case ast.With(items=[ast.withitem(context_expr=ast.Call(func=ast.Name(id=name)))]) if name in empty:
            return node.body
        case ast.Pass():
            return []
    return [node]


def _chosen(node: ast.Match, subject: ast.Constant) -> list[ast.stmt]:
    """Return the body of the case that a constant chooses, after the name that the case gives it."""
    for one in node.cases:
        if one.guard is None and _matches(one.pattern, subject.value):
            match one.pattern:
                case ast.MatchAs(pattern=None, name=str(name)):
                    named = ast.Assign([ast.Name(name, ast.Store())], subject)
                    return [ast.fix_missing_locations(named), *one.body]
            return one.body
    return []


def _matches(pattern: ast.pattern, value: Any) -> bool:
    match pattern:
        case ast.MatchValue(value=ast.Constant(value=wanted)):
            return bool(wanted == value)
        case ast.MatchOr(patterns=patterns):
            return any(_matches(one, value) for one in patterns)
        case ast.MatchAs(pattern=None):
            return True
    return False


def _until_the_end(body: list[ast.stmt]) -> list[ast.stmt]:
    ends = next((index for index, one in enumerate(body) if _ends(one)), len(body))
    return body[: ends + 1]


def _ends(node: ast.stmt) -> bool:
    """Return whether nothing after a statement is reached; a ``with`` may swallow an error, not this one."""
    match node:
        case ast.With(items=[ast.withitem(context_expr=manager)], body=[*_, ast.Return()]):
            return ast.unparse(manager) == "torch.no_grad()"
    return isinstance(node, _ENDS)


def _inline_messages(body: list[ast.stmt]) -> list[ast.stmt]:
    """Write ``raise X("words")`` where the words had a line of their own."""
    result: list[ast.stmt] = []
    for node in body:
        match (result[-1] if result else None), node:
            case (
                ast.Assign(targets=[ast.Name(id=name)], value=words),
                ast.Raise(exc=ast.Call(args=[ast.Name(id=used)])),
            ) if name == used:
                result[-1] = Substitute({name: words}).visit(node)
            case _:
                result.append(node)
    return result


def _join_updates(body: list[ast.stmt]) -> list[ast.stmt]:
    """Write a dict at once that was made and then updated by keywords."""
    result: list[ast.stmt] = []
    for node in body:
        last = next((one for one in reversed(result) if not is_comment(one)), None)
        match last, node:
            case (
                ast.Assign(targets=[ast.Name(id=name)], value=ast.Dict() as made),
                ast.Expr(
                    value=ast.Call(func=ast.Attribute(value=ast.Name(id=same), attr="update"), args=[], keywords=more)
                ),
            ) if name == same and all(one.arg for one in more):
                made.keys += [ast.Constant(one.arg) for one in more]
                made.values += [one.value for one in more]
            case _:
                result.append(node)
    return result


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
