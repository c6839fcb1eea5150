"""Prune statements: branches that one variant never takes, and detours."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, Any

from harness.repro.scope import Substitute, blocks, is_comment, walk
from harness.repro.variables import drop_unread, inline_variables

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
    """Give what a statement comes to."""
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
    """Give the body of the case that a constant chooses, after the name that the case gives it."""
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
    """Tell whether nothing after a statement is reached; a ``with`` may swallow an error, not this one."""
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
