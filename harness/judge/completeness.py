"""What a case file has to have, and where it is missing (pure, but for reading the file)."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.interface import Oracle
from harness.matrix.cases import read_case

if TYPE_CHECKING:
    from pathlib import Path

_ORACLES = ", ".join(repr(str(oracle)) for oracle in Oracle)


@dataclass(frozen=True, kw_only=True)
class Missing:
    """One thing that a case lacks: the 1-based line where it would stand, and what to write there."""

    line: int
    text: str


def missing_from_case(path: Path) -> list[Missing]:
    """List what a case file lacks, in the order of its lines.

    Asked for: a docstring whose first line says what must hold, an upstream link or a document with claims, an oracle
    by name, at least one variant, and ``check(trial)`` with a docstring. Raises :class:`CaseError` when the file
    cannot be read.
    """
    case = read_case(path)
    tree = ast.parse(path.read_text(encoding="utf-8"))
    lines = {_name(node): node.lineno for node in tree.body}
    found = []
    if not case.summary.endswith("."):
        found.append(Missing(line=1, text="the docstring's first line says what must hold, and ends with a full stop"))
    if not (case.upstream or (case.document and case.claims)):
        text = 'UPSTREAM = ("https://...",) names an issue or pull request, where no claim of a document does'
        found.append(Missing(line=lines.get("UPSTREAM", 1), text=text))
    if any(not str(link).startswith("https://") for link in case.upstream):
        found.append(Missing(line=lines["UPSTREAM"], text="UPSTREAM is a tuple of https:// links"))
    if case.oracle not in set(Oracle):
        found.append(Missing(line=lines.get("ORACLE", 1), text=f"ORACLE is one of {_ORACLES}; not {case.oracle!r}"))
    if not case.variants:
        found.append(Missing(line=lines["VARIANTS"], text="VARIANTS has no variant"))
    check = next((node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "check"), None)
    if check is None or [argument.arg for argument in check.args.args][:1] != ["trial"]:
        found.append(Missing(line=check.lineno if check else 1, text="a case has a function check(trial)"))
    elif ast.get_docstring(check) is None:
        found.append(
            Missing(line=check.lineno, text="check has a docstring: what decides, and why that can be trusted")
        )
    return sorted(found, key=lambda one: one.line)


def _name(node: ast.stmt) -> str:
    match node:
        case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
            return name
        case ast.FunctionDef(name=name):
            return name
        case _:
            return ""
