"""Which names a piece of code binds, which it takes from outside, and how to put something in their place."""

from __future__ import annotations

import ast
import copy
from collections import Counter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping


Program = dict[str, ast.stmt]
"""Top-level definitions by name, in the order in which they stand in the script."""

Function = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
_INNER = (ast.expr, ast.arguments, ast.arg, ast.pattern, ast.stmt)


def walk(node: ast.AST) -> Iterator[ast.AST]:
    """Yield a node and all below it, in no order: ``ast.walk`` at a third of its cost."""
    waiting = [node]
    while waiting:
        one = waiting.pop()
        yield one
        for value in vars(one).values():
            if type(value) is list:
                waiting += [item for item in value if isinstance(item, ast.AST)]
            elif isinstance(value, _INNER):
                waiting.append(value)


def is_comment(node: ast.stmt) -> bool:
    """Return whether a statement is a comment in disguise (:mod:`harness.repro.source`)."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Name) and node.value.id.startswith("__comment_")


def parameters(function: Function) -> list[ast.arg]:
    """List every parameter of a function, ``*args`` and ``**kwargs`` among them."""
    given = function.args
    extra = [one for one in (given.vararg, given.kwarg) if one is not None]
    return [*given.posonlyargs, *given.args, *given.kwonlyargs, *extra]


def bound(node: ast.AST) -> set[str]:
    """Return the names that a function binds, or those of the comprehensions in a plain statement.

    A comprehension's own names count as its function's: nothing here reuses them otherwise.
    """
    if isinstance(node, Function):
        names = {one.arg for one in parameters(node)}
        body = node.body if isinstance(node.body, list) else [node.body]
        return names.union(*(_stored(part) for part in body))
    if isinstance(node, ast.ClassDef):
        return set()
    loops = [one for one in walk(node) if isinstance(one, ast.comprehension)]
    return set[str]().union(*(_stored(loop.target) for loop in loops))


def _stored(node: ast.AST) -> set[str]:
    """Return the names that are stored in code, without those of functions inside it."""
    match node:
        case ast.Name(id=name, ctx=ast.Store()):
            return {name}
        case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
            return {name}
        case ast.Lambda():
            return set()
        case ast.ExceptHandler(name=str(name)) | ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)):
            own = {name}
        case ast.Import(names=names) | ast.ImportFrom(names=names):
            return {(one.asname or one.name).partition(".")[0] for one in names}
        case _:
            own = set()
    return own.union(*(_stored(child) for child in ast.iter_child_nodes(node)))


class _Free(ast.NodeVisitor):
    def __init__(self) -> None:
        self.found: set[str] = set()
        self.frames: list[set[str]] = []

    def visit_Name(self, node: ast.Name) -> None:
        if isinstance(node.ctx, ast.Load) and not any(node.id in frame for frame in self.frames):
            self.found.add(node.id)

    def _function(self, node: Any) -> None:
        # Defaults and decorators belong to the scope around.
        outside = [
            *node.args.defaults,
            *(one for one in node.args.kw_defaults if one),
            *getattr(node, "decorator_list", []),
        ]
        for part in outside:
            self.visit(part)
        self.frames.append(bound(node))
        for part in node.body if isinstance(node.body, list) else [node.body]:
            self.visit(part)
        self.frames.pop()

    visit_FunctionDef = visit_Lambda = _function


def free_names(node: ast.AST) -> set[str]:
    """Return the names that a top-level definition takes from its module (or from Python)."""
    free = _Free()
    if not isinstance(node, Function | ast.ClassDef):
        free.frames.append(bound(node))
    free.visit(node)
    return free.found


def names_used(node: ast.AST, known: Collection[str]) -> set[str]:
    """Return the free names of a definition that are ``known``, the quick way where it binds none of them itself."""
    loaded: set[str] = set()
    own: set[str] = set()
    for one in walk(node):
        if isinstance(one, ast.Name):
            (loaded if isinstance(one.ctx, ast.Load) else own).add(one.id)
        elif isinstance(one, ast.arg):
            own.add(one.arg)
    found = {name for name in loaded if name in known}
    return found & free_names(node) if found & own else found


class Substitute(ast.NodeTransformer):
    """Put expressions in the place of names, wherever no inner scope binds them anew."""

    def __init__(self, values: Mapping[str, ast.expr]) -> None:
        """``values`` maps names to what takes their place."""
        self._values = dict(values)

    def visit_Name(self, node: ast.Name) -> ast.expr:
        """Replace one name that is read."""
        if isinstance(node.ctx, ast.Load) and node.id in self._values:
            return copy.deepcopy(self._values[node.id])
        return node

    def _function(self, node: Any) -> Any:
        outer = self._values
        self._values = {name: value for name, value in outer.items() if name not in bound(node)}
        self.generic_visit(node)
        self._values = outer
        return node

    visit_FunctionDef = visit_Lambda = _function


def substitute(node: Any, values: Mapping[str, ast.expr]) -> Any:
    """Replace free names of a definition; names that it binds itself are left alone."""
    return Substitute(values).visit(node) if values else node


class Calls:
    """Every call in a program by the name that is called, found in one walk."""

    def __init__(self, program: Program) -> None:
        """Look through all definitions."""
        self._calls: dict[str, list[ast.Call]] = {}
        self._uses: Counter[str] = Counter()
        self._callers: dict[str, set[str]] = {}
        for name, item in program.items():
            for one in walk(item):
                if isinstance(one, ast.Name):
                    self._uses[one.id] += 1
                elif isinstance(one, ast.Call) and isinstance(one.func, ast.Name):
                    self._calls.setdefault(one.func.id, []).append(one)
                    self._callers.setdefault(one.func.id, set()).add(name)

    def of(self, name: str) -> list[ast.Call]:
        """List the calls of a function; empty when its name is used otherwise anywhere, too."""
        calls = self._calls.get(name, [])
        return calls if len(calls) == self._uses[name] else []

    def callers(self, name: str) -> set[str]:
        """Name the definitions that call a function."""
        return self._callers.get(name, set())


def blocks(node: ast.AST) -> Iterator[tuple[ast.AST, str]]:
    """Yield every list of statements inside a node, as its owner and field, the innermost first."""
    for child in ast.iter_child_nodes(node):
        yield from blocks(child)
    for field in ("body", "orelse", "finalbody"):
        if isinstance(getattr(node, field, None), list):
            yield node, field


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
