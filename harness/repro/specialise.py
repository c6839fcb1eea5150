"""Specialise functions: a parameter that is the same in every call is no parameter any more."""

from __future__ import annotations

import ast
import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness.repro.scope import Calls, Program, Substitute, parameters, walk

if TYPE_CHECKING:
    from collections.abc import Collection

_INLINE_LIMIT, _INLINE_ONCE_LIMIT = 40, 120
"""Characters of an expression that is as readable as the name of the function which gives it."""


@dataclass(frozen=True, kw_only=True)
class _Site:
    """One call: the expression for each parameter, and whether unknown keywords may name more."""

    call: ast.Call
    given: dict[str, ast.expr]
    extra: dict[str, ast.expr]
    is_open: bool


def specialise(program: Program, imports: Collection[str], roots: tuple[str, ...]) -> None:
    """Specialise every function of a program in place, for the calls that are in it."""
    every = Calls(program)
    is_constant = _Constants(program, imports)
    # Callers stand below what they call: from the end, a constant gets all the way down in one round.
    for name, node in reversed(program.items()):
        if not isinstance(node, ast.FunctionDef) or name in roots:
            continue
        calls = every.of(name)
        if not calls or node.args.vararg or any(isinstance(one, ast.Starred) for call in calls for one in call.args):
            continue
        sites = [_site(node, call) for call in calls]
        _name_the_rest(node, sites)
        for parameter in [one.arg for one in [*node.args.args, *node.args.kwonlyargs]]:
            _fix(node, parameter, [_site(node, call) for call in calls], is_constant)
    _inline_trivial(program, roots)


class _Constants:
    """Tell which expressions mean the same wherever they stand."""

    def __init__(self, program: Program, imports: Collection[str]) -> None:
        self._program, self._imports = program, imports

    def __call__(self, node: ast.expr | None) -> bool:
        match node:
            case ast.Constant():
                return True
            case ast.Name(id=name):
                return name.isupper() and isinstance(self._program.get(name), ast.Assign)
            case ast.Attribute(value=ast.Name(id=name)):
                return name in self._imports
            case ast.UnaryOp(operand=operand):
                return self(operand)
            case ast.Tuple(elts=elements):
                return all(self(one) for one in elements)
        return False


def _site(function: ast.FunctionDef, call: ast.Call) -> _Site:
    positional = [one.arg for one in [*function.args.posonlyargs, *function.args.args]]
    given = dict(zip(positional, call.args, strict=False))
    known = {one.arg for one in parameters(function)}
    extra: dict[str, ast.expr] = {}
    for keyword in call.keywords:
        if keyword.arg is None:
            continue
        (given if keyword.arg in known else extra)[keyword.arg] = keyword.value
    return _Site(call=call, given=given, extra=extra, is_open=any(one.arg is None for one in call.keywords))


def _name_the_rest(function: ast.FunctionDef, sites: list[_Site]) -> None:
    """Turn ``**options`` into the keywords that every call gives."""
    rest = function.args.kwarg
    if rest is None or any(site.is_open or set(site.extra) != set(sites[0].extra) for site in sites):
        return
    names = list(sites[0].extra)
    taken = {one.id for one in walk(function) if isinstance(one, ast.Name)}
    spread = _Spread(rest.arg, names)
    uses = sum(isinstance(one, ast.Name) and one.id == rest.arg for one in walk(function))
    if taken & set(names) or spread.count(function) != uses:
        return
    spread.visit(function)
    function.args.kwarg = None
    function.args.kwonlyargs += [ast.arg(name) for name in names]
    function.args.kw_defaults += [None] * len(names)


class _Spread(ast.NodeTransformer):
    """Write ``**options`` out as the keywords that it stands for."""

    def __init__(self, rest: str, names: list[str]) -> None:
        self._rest, self._names = rest, names

    def _is_rest(self, node: ast.AST) -> bool:
        return isinstance(node, ast.Name) and node.id == self._rest

    def count(self, node: ast.AST) -> int:
        found = 0
        for one in walk(node):
            match one:
                case ast.keyword(arg=None, value=value) if self._is_rest(value):
                    found += 1
                case ast.Dict(keys=keys, values=values):
                    found += sum(key is None and self._is_rest(v) for key, v in zip(keys, values, strict=True))
        return found

    def visit_Call(self, node: ast.Call) -> ast.Call:
        self.generic_visit(node)
        keywords: list[ast.keyword] = []
        for one in node.keywords:
            here = one.arg is None and self._is_rest(one.value)
            keywords += [ast.keyword(name, ast.Name(name, ast.Load())) for name in self._names] if here else [one]
        node.keywords = keywords
        return node

    def visit_Dict(self, node: ast.Dict) -> ast.Dict:
        self.generic_visit(node)
        pairs: list[tuple[ast.expr | None, ast.expr]] = []
        for key, value in zip(node.keys, node.values, strict=True):
            if key is None and self._is_rest(value):
                pairs += [(ast.Constant(name), ast.Name(name, ast.Load())) for name in self._names]
            else:
                pairs.append((key, value))
        return ast.Dict([key for key, _ in pairs], [value for _, value in pairs])


def _fix(function: ast.FunctionDef, parameter: str, sites: list[_Site], is_constant: _Constants) -> None:
    """Take one parameter away if every call gives it the same constant, or nobody reads it."""
    default = _default(function, parameter)
    if any(site.is_open and parameter not in site.given for site in sites):
        return
    values = [site.given.get(parameter, default) for site in sites]
    first = values[0]
    same = first is not None and all(value is not None and ast.dump(value) == ast.dump(first) for value in values)
    # A name instead of a plain argument says nothing that is worth a function without it.
    helps = not isinstance(first, ast.Name) or parameter not in [one.arg for one in function.args.args]
    fixable = same and helps and is_constant(first)
    if not fixable and not all(is_constant(value) or isinstance(value, ast.Name) for value in values):
        return
    uses = [one for one in walk(function) if isinstance(one, ast.Name | ast.arg) and _name(one) == parameter]
    if sum(isinstance(one, ast.arg) for one in uses) != 1:
        return
    if any(isinstance(one, ast.Name) and isinstance(one.ctx, ast.Store) for one in uses):
        return
    if fixable:
        fixed = Substitute({parameter: copy.deepcopy(first)} if first is not None else {})
        function.body = [fixed.visit(one) for one in function.body]
    elif len(uses) > 1:
        return
    for site in sites:
        _drop_argument(function, site.call, parameter)
    _drop_parameter(function, parameter)


def _name(node: ast.Name | ast.arg) -> str:
    return node.id if isinstance(node, ast.Name) else node.arg


def _default(function: ast.FunctionDef, parameter: str) -> ast.expr | None:
    given = function.args
    if parameter in (names := [one.arg for one in given.kwonlyargs]):
        return given.kw_defaults[names.index(parameter)]
    names = [one.arg for one in given.args]
    place = names.index(parameter) - (len(names) - len(given.defaults))
    return given.defaults[place] if place >= 0 else None


def _drop_argument(function: ast.FunctionDef, call: ast.Call, parameter: str) -> None:
    names = [one.arg for one in function.args.args]
    if parameter in names and names.index(parameter) < len(call.args):
        del call.args[names.index(parameter)]
    call.keywords = [one for one in call.keywords if one.arg != parameter]


def _drop_parameter(function: ast.FunctionDef, parameter: str) -> None:
    given = function.args
    if parameter in (names := [one.arg for one in given.kwonlyargs]):
        place = names.index(parameter)
        del given.kwonlyargs[place], given.kw_defaults[place]
        return
    names = [one.arg for one in given.args]
    place = names.index(parameter) - (len(names) - len(given.defaults))
    if place >= 0:
        del given.defaults[place]
    del given.args[names.index(parameter)]


def _inline_trivial(program: Program, roots: tuple[str, ...]) -> None:
    """Put a short expression in the place of calls of the function that only returns it."""
    every = Calls(program)
    for name, node in list(program.items()):
        if not isinstance(node, ast.FunctionDef) or name in roots or parameters(node) or node.decorator_list:
            continue
        body = [one for one in node.body if not (isinstance(one, ast.Expr) and isinstance(one.value, ast.Constant))]
        match body:
            case [ast.Return(value=ast.expr() as value)] if calls := len(every.of(name)):
                if len(ast.unparse(value)) <= (_INLINE_ONCE_LIMIT if calls == 1 else _INLINE_LIMIT):
                    inline = _Inline(name, value)
                    program.update(
                        {one: inline.visit(item) for one, item in program.items() if one in every.callers(name)}
                    )


class _Inline(ast.NodeTransformer):
    def __init__(self, name: str, value: ast.expr) -> None:
        self._name, self._value = name, value

    def visit_Call(self, node: ast.Call) -> Any:
        self.generic_visit(node)
        is_call = isinstance(node.func, ast.Name) and node.func.id == self._name
        return copy.deepcopy(self._value) if is_call else node
