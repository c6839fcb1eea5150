"""Read what the case files declare, without importing them.

A case file imports torch and peft when it runs; the judge only needs its literals. They are
read from the syntax tree, which also knows their lines.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass, field, replace
from functools import cache
from typing import TYPE_CHECKING, Any

from harness.errors import CaseError, UsageError
from harness.interface import Variants
from harness.matrix.claims import Claim, read_claims
from harness.matrix.expected import Expectation, read_expected
from harness.paths import ROOT
from harness.selectors import SelectionError, nearest, variant_selector

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping
    from pathlib import Path

    from harness.selectors import VariantSelector

CASES = ROOT / "cases"
_MAKERS = {"Variants": Variants}
DECLARED = {"DOCUMENT", "VARIANTS", "ORACLE", "UPSTREAM", "RING", "BY_NAME"}
"""What a case file declares in literals."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """What one case file declares, what is expected of it, and what the documents claim about it.

    ``ring`` is the part of all cases that it belongs to, which a matrix asks for as ``ring=NAME``: ``documented`` for
    the cases of a document and ``library`` for others, unless the file says otherwise. A case ``by_name`` runs only
    where its name is written out: no pattern means it. ``needs`` are the modules that it
    says it needs (``trial.need``) beside those that every cell has.
    """

    name: str
    path: Path
    summary: str
    document: str | None
    variants: tuple[dict[str, str], ...]
    claims: tuple[Claim, ...] = ()
    expectations: tuple[Expectation, ...] = ()
    oracle: str = ""
    upstream: tuple[str, ...] = ()
    ring: str = ""
    by_name: bool = False
    needs: tuple[str, ...] = ()
    _entries: dict[tuple[tuple[str, str], ...], tuple[Expectation, ...]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def entries_of(self, variant: Mapping[str, str]) -> tuple[Expectation, ...]:
        """Return the expectations that speak of a variant, whatever the versions, in order."""
        key = tuple(variant.items())
        if key not in self._entries:
            self._entries[key] = tuple(
                one
                for one in self.expectations
                if all(variant.get(axis) in values for axis, values in one.only.items())
            )
        return self._entries[key]


def load_cases(folder: Path = CASES, *, whole: Collection[str] | None = None) -> tuple[Case, ...]:
    """Read every case file of a folder, in order of document and name.

    With ``whole`` only those cases come with what is expected of them and claimed about them; the others declare what
    they check alone, which is quick. Raises :class:`CaseError` when one cannot be read.
    """
    paths = [path for path in sorted(folder.glob("*.py")) if path.stem not in {"__init__", "conftest"}]
    cases = (
        read_case(path) if whole is None or path.stem in whole else _parse(path, path.read_text(encoding="utf-8"))
        for path in paths
    )
    return tuple(sorted(cases, key=lambda case: (case.document or "~", case.name)))


def select_variants(cases: tuple[Case, ...], expression: str | None) -> list[tuple[Case, dict[str, str]]]:
    """List the variants that an expression selects (:mod:`harness.selectors`), all of them without one.

    Raises :class:`UsageError` when a word means nothing.
    """
    selected = read_selector(expression, cases)
    return [(case, variant) for case in cases for variant in case.variants if selected(case.name, variant)]


def find_case(cases: tuple[Case, ...], name: str) -> Case:
    """Return the case of this name. Raises :class:`UsageError` with the nearest ones."""
    known = {case.name: case for case in cases}
    if name not in known:
        message = f"no case {name!r}; {nearest(name, known)}"
        raise UsageError(message)
    return known[name]


def read_selector(
    expression: str | Iterable[str] | None, cases: tuple[Case, ...], *, implied: str | None = None
) -> VariantSelector:
    """Read a case expression as :func:`harness.selectors.variant_selector` does. Raises :class:`UsageError`."""
    try:
        return variant_selector(expression, cases, implied=implied)
    except SelectionError as error:
        raise UsageError(str(error)) from None


@cache
def kit_modules() -> dict[str, str]:
    """Return the defining module of each name that cases import from ``harness.kit``, by its list of imports."""
    tree = ast.parse((ROOT / "harness" / "kit" / "__init__.py").read_text(encoding="utf-8"))
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module]
    return {
        name.name: str(node.module)
        for node in imports
        if str(node.module).startswith("harness.")
        for name in node.names
    }


def read_case(path: Path) -> Case:
    """Read one case file, and beside it what is expected of the case and claimed about it.

    Raises :class:`CaseError` or :class:`harness.errors.DataError` with file and line.
    """
    declared = _parse(path, path.read_text(encoding="utf-8"))
    return replace(
        declared,
        claims=read_claims(path, declared.variants),
        expectations=read_expected(path, declared.variants),
    )


@cache
def syntax_tree(path: Path, source: str) -> ast.Module:
    """Parse the text of a file, once. Raises :class:`CaseError` with file and line."""
    try:
        return ast.parse(source)
    except SyntaxError as error:
        message = f"{path.name}:{error.lineno}: {error.msg}"
        raise CaseError(message) from None


@cache
def _parse(path: Path, source: str) -> Case:
    tree = syntax_tree(path, source)
    literals = _literals(tree, path)
    for name in ("VARIANTS",):
        if name not in literals:
            message = f"{path.name}: a case declares {name}; see docs/cases.md"
            raise CaseError(message)
    try:
        variants = tuple(variant for axes in literals["VARIANTS"] for variant in axes)
    except (TypeError, ValueError, AttributeError) as error:
        message = f"{path.name}: VARIANTS must be a tuple of Variants(axes={{axis: (values, ...)}}): {error}"
        raise CaseError(message) from None
    return Case(
        name=path.stem,
        path=path,
        summary=(ast.get_docstring(tree) or "").partition("\n")[0],
        document=literals.get("DOCUMENT"),
        variants=variants,
        oracle=literals.get("ORACLE", ""),
        upstream=tuple(literals.get("UPSTREAM", ())),
        ring=literals.get("RING") or ("documented" if literals.get("DOCUMENT") else "library"),
        by_name=bool(literals.get("BY_NAME", False)),
        needs=_needs(tree),
    )


def _needs(tree: ast.Module) -> tuple[str, ...]:
    """Return the modules named in calls of ``trial.need``, sorted."""
    found = set()
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Attribute(attr="need"), args=[ast.Constant(value=str(name))]):
                found.add(name)
    return tuple(sorted(found))


def _literals(tree: ast.Module, path: Path) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for node in tree.body:
        target, value = _assignment(node)
        if target is None or value is None:
            continue
        try:
            values[target] = _evaluate(value, values)
        except (ValueError, TypeError) as error:
            if target in DECLARED:
                message = f"{path.name}:{node.lineno}: {target} must be made of literals: {error}"
                raise CaseError(message) from None
    return values


def _assignment(node: ast.stmt) -> tuple[str | None, ast.expr | None]:
    match node:
        case ast.Assign(targets=[ast.Name(id=name)], value=value):
            return name, value
        case ast.AnnAssign(target=ast.Name(id=name), value=value):
            return name, value
        case _:
            return None, None


def _evaluate(node: ast.expr, names: dict[str, Any]) -> Any:
    match node:
        case ast.Call(func=ast.Name(id=maker), args=[], keywords=keywords) if maker in _MAKERS:
            return _MAKERS[maker](**{str(one.arg): _evaluate(one.value, names) for one in keywords})
        case ast.Name(id=name) if name in names:
            return names[name]
        case ast.Tuple(elts=items) | ast.List(elts=items):
            return tuple(_evaluate(item, names) for item in items)
        case ast.Dict(keys=keys, values=items) if all(key is not None for key in keys):
            return {_evaluate(k, names): _evaluate(v, names) for k, v in zip(keys, items, strict=True) if k is not None}
        case _:
            return ast.literal_eval(node)
