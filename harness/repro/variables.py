"""The local variables of one function: constants in their place, and away with what nobody reads."""

from __future__ import annotations

import ast
from collections import Counter

from harness.repro.scope import Substitute, blocks, is_comment, walk

OBSERVERS = {"ForwardCounter"}
"""Context managers that only watch: without a reader of what they saw they can go."""

_PLAIN_LIMIT = 30
"""Characters of a constant that reads as well in place as by a name."""


def inline_variables(function: ast.FunctionDef) -> None:
    """Put constants in the place of variables that never change, and dicts where they are spread once."""
    names = [one for one in walk(function) if isinstance(one, ast.Name)]
    stores = Counter(one.id for one in names if isinstance(one.ctx, ast.Store))
    taken = {one.arg for one in walk(function) if isinstance(one, ast.arg)}
    for node in list(function.body):
        match node:
            case ast.Assign(targets=[ast.Name(id=name)], value=value) if stores[name] == 1 and name not in taken:
                if _is_plain(value) or (isinstance(value, ast.Dict) and _spread_once(function, name, value)):
                    _remove(function.body, node)
                    function.body = [Substitute({name: value}).visit(one) for one in function.body] or [ast.Pass()]


def _is_plain(value: ast.expr) -> bool:
    return isinstance(value, ast.Constant) and len(repr(value.value)) <= _PLAIN_LIMIT


def _spread_once(function: ast.FunctionDef, name: str, value: ast.Dict) -> bool:
    if any(isinstance(one, ast.Call) for one in walk(value)):
        return False
    uses = spreads = 0
    for one in walk(function):
        match one:
            case ast.Name(id=same, ctx=ast.Load()) if same == name:
                uses += 1
            case ast.keyword(arg=None, value=ast.Name(id=same)) if same == name:
                spreads += 1
            case ast.Dict(keys=keys, values=values):
                spreads += sum(k is None and _is_name(v, name) for k, v in zip(keys, values, strict=True))
    return uses == spreads == 1


def _is_name(node: ast.AST, name: str) -> bool:
    return isinstance(node, ast.Name) and node.id == name


def drop_unread(function: ast.FunctionDef) -> None:
    """Take away observers that nobody asks, and assignments, definitions and imports that nobody reads."""
    names = [one for one in walk(function) if isinstance(one, ast.Name)]
    counts = Counter(one.id for one in names)
    reads = {one.id for one in names if isinstance(one.ctx, ast.Load)}
    for owner, field in blocks(function):
        if isinstance(owner, ast.ClassDef):
            # Methods and fields are for whoever has the object.
            continue
        body = [kept for one in getattr(owner, field) for kept in _without_observer(one, counts)]
        for one in [one for one in body if _is_unread(one, reads)]:
            _remove(body, one)
        setattr(owner, field, body or ([ast.Pass()] if field == "body" else []))


def _without_observer(node: ast.stmt, counts: Counter[str]) -> list[ast.stmt]:
    if not isinstance(node, ast.With):
        return [node]
    for item in list(node.items):
        match item:
            case ast.withitem(context_expr=ast.Call(func=ast.Name(id=name)), optional_vars=ast.Name(id=seen)):
                if name in OBSERVERS and counts[seen] == 1:
                    node.items.remove(item)
    return [node] if node.items else node.body


def _is_unread(node: ast.stmt, reads: set[str]) -> bool:
    match node:
        case ast.Assign(targets=[ast.Name(id=name)], value=value):
            return name not in reads and not any(isinstance(one, ast.Call) for one in walk(value))
        case ast.FunctionDef(name=name, decorator_list=[]) | ast.ClassDef(name=name):
            return name not in reads
        case ast.Import(names=[ast.alias(name=name, asname=None)]):
            return name not in reads
    return False


def _remove(body: list[ast.stmt], node: ast.stmt) -> None:
    """Take a statement out, and the comments above it that speak of it."""
    place = body.index(node)
    start = place
    while start and is_comment(body[start - 1]):
        start -= 1
    del body[start : place + 1]
