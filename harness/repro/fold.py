"""Fold expressions: what is known of one variant is worked out here and not in the script."""

from __future__ import annotations

import ast
import copy
import operator
from typing import TYPE_CHECKING, Any

from harness.errors import CaseError
from harness.repro.scope import Program, Substitute, walk

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


_COMPARISONS: dict[type[ast.cmpop], Callable[[Any, Any], bool]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.In: lambda one, many: one in many,
    ast.NotIn: lambda one, many: one not in many,
    ast.Is: operator.is_,
    ast.IsNot: operator.is_not,
}
_REPR = ord("r")
_MISSING = object()


def constants_of(program: Program) -> dict[str, ast.expr]:
    """Return the module's constants: capitals, assigned once, and not what a trial writes into."""
    return {
        name: node.value
        for name, node in program.items()
        if isinstance(node, ast.Assign) and name.isupper() and name not in PLACES.values()
    }


class Fold(ast.NodeTransformer):
    """Work out whatever needs nothing but constants, from the inside out."""

    def __init__(self, program: Program) -> None:
        """``program`` gives the constants and the dataclasses that expressions may name."""
        self._constants = constants_of(program)
        self._classes = {
            name for name, node in program.items() if isinstance(node, ast.ClassDef) and node.decorator_list
        }

    def resolve(self, node: ast.expr) -> ast.expr:
        """Return what a name of a constant stands for, anything else as it is."""
        if isinstance(node, ast.Name) and node.id in self._constants:
            return self.resolve(self._constants[node.id])
        return node

    def _literal(self, node: ast.expr) -> Any:
        try:
            return ast.literal_eval(self.resolve(node))
        except (ValueError, TypeError):
            return _MISSING

    def visit_Compare(self, node: ast.Compare) -> ast.expr:
        """Compare constants."""
        self.generic_visit(node)
        if len(node.ops) != 1 or type(node.ops[0]) not in _COMPARISONS:
            return node
        left, right = self._literal(node.left), self._literal(node.comparators[0])
        if left is _MISSING or right is _MISSING:
            return node
        return ast.Constant(_COMPARISONS[type(node.ops[0])](left, right))

    def visit_UnaryOp(self, node: ast.UnaryOp) -> ast.expr:
        """Negate a constant."""
        self.generic_visit(node)
        match node:
            case ast.UnaryOp(op=ast.Not(), operand=ast.Constant(value=value)):
                return ast.Constant(not value)
        return node

    def visit_BoolOp(self, node: ast.BoolOp) -> ast.expr:
        """Stop at a constant that decides, and drop those before the end that do not."""
        self.generic_visit(node)
        kept: list[ast.expr] = []
        for index, one in enumerate(node.values):
            known = isinstance(one, ast.Constant)
            decides = isinstance(one, ast.Constant) and bool(one.value) is isinstance(node.op, ast.Or)
            # The last one may be the result, whatever it is.
            if not known or decides or index == len(node.values) - 1:
                kept.append(one)
            if decides:
                break
        return kept[0] if len(kept) == 1 else ast.BoolOp(node.op, kept)

    def visit_If(self, node: ast.If) -> ast.If:
        """Simplify what is only asked whether it is true."""
        self.generic_visit(node)
        node.test = _asked(node.test)
        return node

    def visit_IfExp(self, node: ast.IfExp) -> ast.expr:
        """Take the branch that a constant chooses."""
        self.generic_visit(node)
        node.test = _asked(node.test)
        if isinstance(node.test, ast.Constant):
            return node.body if node.test.value else node.orelse
        return node

    def visit_Subscript(self, node: ast.Subscript) -> ast.expr:
        """Look a constant up in a table of the program."""
        self.generic_visit(node)
        if isinstance(node.ctx, ast.Load):
            return self._look_up(node.value, node.slice) or node
        return node

    def _look_up(self, table: ast.expr, key: ast.expr) -> ast.expr | None:
        match self.resolve(table), key:
            case ast.Dict(keys=keys, values=values), ast.Constant(value=wanted):
                for one, value in zip(keys, values, strict=True):
                    if isinstance(one, ast.Constant) and one.value == wanted:
                        return copy.deepcopy(value)
        return None

    def visit_Attribute(self, node: ast.Attribute) -> ast.expr:
        """Read a field of a dataclass that is built on the spot, or the text of a member of an enumeration."""
        self.generic_visit(node)
        match node.value:
            case ast.Call(func=ast.Name(id=name), keywords=keywords) if name in self._classes:
                return next((one.value for one in keywords if one.arg == node.attr), node)
            case ast.Name(id="Outcome"):
                return ast.Constant(node.attr.lower().replace("_", "-"))
        return node

    def visit_Call(self, node: ast.Call) -> ast.expr:
        """Write constant attributes, look-ups and keywords the short way."""
        self.generic_visit(node)
        match node:
            case ast.Call(func=ast.Name(id="getattr"), args=[owner, ast.Constant(value=str(name))], keywords=[]):
                return ast.Attribute(owner, name, ast.Load())
            case ast.Call(func=ast.Attribute(value=table, attr="get"), args=[ast.Constant() as key, *default]):
                entries = self.resolve(table)
                if isinstance(entries, ast.Dict) and isinstance(table, ast.Name):
                    return self._look_up(entries, key) or (default[0] if default else ast.Constant(value=None))
        node.keywords = [keyword for one in node.keywords for keyword in self._spread_keyword(one)]
        return node

    def _spread_keyword(self, keyword: ast.keyword) -> list[ast.keyword]:
        table = self.resolve(keyword.value)
        if keyword.arg is None and isinstance(table, ast.Dict):
            names = [one.value if isinstance(one, ast.Constant) else None for one in table.keys]
            if all(isinstance(name, str) and name.isidentifier() for name in names):
                return [
                    ast.keyword(str(name), value)
                    for name, value in zip(names, copy.deepcopy(table.values), strict=True)
                ]
        return [keyword]

    def visit_Dict(self, node: ast.Dict) -> ast.Dict:
        """Spread dicts within dicts; of two equal keys the later value counts."""
        self.generic_visit(node)
        pairs: list[tuple[ast.expr | None, ast.expr]] = []
        for key, value in zip(node.keys, node.values, strict=True):
            inner = self.resolve(value)
            if key is None and isinstance(inner, ast.Dict):
                pairs += copy.deepcopy(list(zip(inner.keys, inner.values, strict=True)))
            else:
                pairs.append((key, value))
        last = {ast.dump(key): value for key, value in pairs if key is not None}
        merged: list[tuple[ast.expr | None, ast.expr]] = []
        for key, value in pairs:
            # An unknown mapping in between may override what came before it: order then has to stay.
            if key is None or any(one is None for one, _ in pairs):
                merged.append((key, value))
            elif (dumped := ast.dump(key)) in last:
                merged.append((key, last.pop(dumped)))
        return ast.Dict([key for key, _ in merged], [value for _, value in merged])

    def visit_SetComp(self, node: ast.SetComp) -> ast.expr:
        """Write out a set over the values of a table."""
        match node:
            case ast.SetComp(
                elt=element,
                generators=[
                    ast.comprehension(
                        target=ast.Name(id=name),
                        iter=ast.Call(func=ast.Attribute(value=ast.Name() as table, attr="values"), args=[]),
                        ifs=[],
                    )
                ],
            ) if isinstance(entries := self.resolve(table), ast.Dict):
                each = [Substitute({name: value}).visit(copy.deepcopy(element)) for value in entries.values]
                return self.generic_visit(ast.Set(each))  # type: ignore[return-value]
        return self.generic_visit(node)  # type: ignore[return-value]

    def visit_JoinedStr(self, node: ast.JoinedStr) -> ast.expr:
        """Put constants into the text that they stand in."""
        self.generic_visit(node)
        parts: list[ast.expr] = []
        for one in node.values:
            text = _text(one)
            before = _text(parts[-1]) if parts else None
            if text is not None and before is not None:
                parts[-1] = ast.Constant(before + text)
            else:
                parts.append(one if text is None else ast.Constant(text))
        if not parts:
            return ast.Constant("")
        return parts[0] if len(parts) == 1 and isinstance(parts[0], ast.Constant) else ast.JoinedStr(parts)


def _asked(test: ast.expr) -> ast.expr:
    """Simplify a condition: the last constant decides, or says nothing; names before it change neither."""
    match test:
        case ast.BoolOp(op=op, values=[*before, ast.Constant(value=value)]):
            if bool(value) is isinstance(op, ast.Or):
                return ast.Constant(bool(value)) if all(isinstance(one, ast.Name) for one in before) else test
            return before[0] if len(before) == 1 else ast.BoolOp(op, before)
    return test


def _text(part: ast.expr) -> str | None:
    match part:
        case ast.Constant(value=str(text)):
            return text
        case ast.FormattedValue(value=ast.Constant(value=value), conversion=how, format_spec=None):
            return repr(value) if how == _REPR else str(value)
    return None


PLACES = {"scratch": "SCRATCH", "evidence": "EVIDENCE", "counters": "COUNTERS", "latency": "LATENCY"}
"""What a trial holds, and the script's name for it."""

_TRIAL = "trial"


def bind(program: Program, variant: Mapping[str, str]) -> Program:
    """Return the program for one variant, in which nothing asks a trial any more.

    What does something else with its trial than asking it or handing it on is left as it is
    (:func:`refuse_trials`).
    """
    trial = program["Trial"]
    assert isinstance(trial, ast.ClassDef)  # noqa: S101 - the module is ours
    methods = {
        one.name: _function(one) for one in trial.body if isinstance(one, ast.FunctionDef) and one.name[:2] != "__"
    }
    binder = _Bind(variant, set(methods))
    bound: Program = {}
    for name, node in program.items():
        # The methods take the place of their class.
        for new, item in (methods if name == "Trial" else {name: node}).items():
            bound[new] = binder.visit(item)
    check = bound["check"]
    assert isinstance(check, ast.FunctionDef)  # noqa: S101 - a case without a check cannot be measured
    # The benchmark goes with what is timed, which is nothing here.
    check.args.args = []
    return bound


def refuse_trials(program: Program) -> None:
    """Raise :class:`CaseError` when a program still does something with a trial."""
    for name, node in program.items():
        if any(isinstance(one, ast.Name) and one.id == _TRIAL for one in walk(node)):
            message = f"{name} does more with its trial than asking it: no script can be made of that"
            raise CaseError(message)


def _function(method: ast.FunctionDef) -> ast.FunctionDef:
    """Turn a method into a function of a trial."""
    for one in walk(method):
        if isinstance(one, ast.Name) and one.id == "self":
            one.id = _TRIAL
    method.args.args = method.args.args[1:]
    return method


class _Bind(ast.NodeTransformer):
    def __init__(self, variant: Mapping[str, str], methods: set[str]) -> None:
        self._variant, self._methods = variant, methods

    def visit_Attribute(self, node: ast.Attribute) -> ast.expr:
        self.generic_visit(node)
        if not (isinstance(node.value, ast.Name) and node.value.id == _TRIAL):
            return node
        name = node.attr
        if name in PLACES:
            return ast.Name(PLACES[name], ast.Load())
        if name in self._methods:
            return ast.Name(name, ast.Load())
        if name in {"timed", "timing"}:
            # Nothing is timed; only what is asks for the timing, and that is cut.
            return ast.Constant(value=False if name == "timed" else None)
        if name == "variant":
            return ast.Dict(
                [ast.Constant(one) for one in self._variant], [ast.Constant(v) for v in self._variant.values()]
            )
        return ast.Constant(self._variant[name]) if name in self._variant else node

    def visit_Call(self, node: ast.Call) -> ast.Call:
        self.generic_visit(node)
        node.args = [one for one in node.args if not (isinstance(one, ast.Name) and one.id == _TRIAL)]
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> Any:
        node.args.args = [one for one in node.args.args if one.arg != _TRIAL]
        return self.generic_visit(node)
