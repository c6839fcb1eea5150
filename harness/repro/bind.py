"""Bind the trial of a case to one variant: what a check asks of it becomes constants and functions."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, Any

from harness.errors import CaseError
from harness.repro.scope import Program, walk

if TYPE_CHECKING:
    from collections.abc import Mapping

PLACES = {"scratch": "SCRATCH", "evidence": "EVIDENCE", "counters": "COUNTERS", "latency": "LATENCY"}
"""What a trial holds, and the script's name for it."""

_TRIAL = "trial"


def bind(program: Program, variant: Mapping[str, str]) -> Program:
    """Give the program for one variant, without a trial in it.

    Raises :class:`CaseError` when a case does something else with its trial than asking it or
    handing it on.
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
    for name, node in bound.items():
        if any(isinstance(one, ast.Name) and one.id == _TRIAL for one in walk(node)):
            message = f"{name} does more with its trial than asking it: no script can be made of that"
            raise CaseError(message)
    return bound


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
