"""Read a case and the modules that it uses into one flat list of definitions.

What a script does not need is left behind: annotations, declarations, imports of this project.
Comments that have a line of their own travel as statements of the shape ``__comment_N__``.
"""

from __future__ import annotations

import ast
import builtins
import copy
import io
import sys
import tokenize
from collections import Counter
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any

from harness.errors import CaseError
from harness.matrix.cases import kit_modules
from harness.packages import REQUIRED_PACKAGES
from harness.paths import ROOT
from harness.repro.scope import Program, substitute

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

ALWAYS = ("harness.kit.tokens", "harness.kit.models", "harness.kit.methods", "harness.kit.oracles")
"""Modules whose order in a script is the reader's: first the model, then the method."""

_DECLARATIONS = {"DOCUMENT", "VARIANTS", "CLAIMS", "EXPECTATIONS"}
_HOISTED = {*REQUIRED_PACKAGES, *sys.stdlib_module_names}
_CONTINUES = ("else", "elif", "except", "finally", "case ", "def ", "class ")


@dataclass(frozen=True, kw_only=True)
class Flat:
    """One flat program: definitions, the imports they may need by bound name, and comments by marker."""

    program: Program
    imports: dict[str, ast.stmt] = field(default_factory=dict)
    comments: dict[str, str] = field(default_factory=dict)
    kept: frozenset[str] = frozenset()
    """Constants of the case, which stand at the top by name."""


@dataclass(kw_only=True)
class _Module:
    """A module as it was read: its definitions, and where the names it imports from here come from."""

    definitions: list[tuple[str, ast.stmt, list[str]]] = field(default_factory=list)
    borrowed: dict[str, tuple[str, str]] = field(default_factory=dict)
    inner: dict[str, dict[str, tuple[str, str]]] = field(default_factory=dict)
    imports: dict[str, ast.stmt] = field(default_factory=dict)
    comments: dict[str, str] = field(default_factory=dict)

    @property
    def needs(self) -> list[str]:
        places = [*self.borrowed.values(), *(place for one in self.inner.values() for place in one.values())]
        return sorted({module for module, _ in places})


def flatten(case: Path, ending: str) -> Flat:
    """Join a case file, the modules that it uses and the script's own ending.

    Raises :class:`CaseError` when two modules mean different things by one imported name.
    """
    modules = {"case": _read(case.read_text(encoding="utf-8"), case.name), "ending": _read(ending, "ending")}
    waiting = [*ALWAYS, "harness.kit.trial", *modules["case"].needs, *modules["ending"].needs]
    while waiting:
        name = waiting.pop(0)
        if name not in modules:
            modules[name] = _read_module(name)
            waiting += modules[name].needs
    # The case's own constants first, then what builds the model, then the check, then the verdict.
    order = [*ALWAYS, *_in_order({name: one for name, one in modules.items() if name not in ALWAYS})]
    order = [*(name for name in order if name != "harness.kit.outcomes"), "case", "harness.kit.outcomes", "ending"]
    taken = Counter(name for module in modules.values() for name, _, _ in module.definitions)
    flat = Flat(program={}, kept=frozenset(name for name, _, _ in modules["case"].definitions if name.isupper()))
    constants, rest = Program(), Program()
    for module_name in order:
        module = modules[module_name]
        _join(flat.imports, module.imports, case.name)
        flat.comments.update(module.comments)
        for name, node, _ in module.definitions:
            places = {**module.borrowed, **module.inner.get(name, {})}
            known = {own: (module_name, own) for own, _, _ in module.definitions} | places
            renamed = {old: unique(*place, taken) for old, place in known.items() if unique(*place, taken) != old}
            final = unique(module_name, name, taken)
            moved = substitute(copy.deepcopy(node), {old: ast.Name(new, ast.Load()) for old, new in renamed.items()})
            early = module_name == "case" and isinstance(moved, ast.Assign)
            (constants if early else rest)[final] = _named(moved, final)
            flat.comments.update(
                {f"above {final}": "\n".join(lines) for one, _, lines in module.definitions if one == name}
            )
    flat.program.update({**constants, **rest})
    return flat


def _in_order(modules: Mapping[str, _Module]) -> list[str]:
    """Order modules so that each stands after those that it needs; by name where that leaves a choice."""
    order: list[str] = []
    entered: set[str] = set()

    def enter(name: str) -> None:
        if name in modules and name.startswith("harness") and name not in entered:
            entered.add(name)
            for needed in modules[name].needs:
                enter(needed)
            order.append(name)

    for name in sorted(modules):
        enter(name)
    return order


def unique(module: str, name: str, taken: Counter[str]) -> str:
    """Return a name that no other module has: its own, or with the module's before it."""
    if taken[name] < 2 or module == "case":  # noqa: PLR2004 - two of one name need telling apart
        return name
    prefix = module.rpartition(".")[2]
    return f"{prefix.upper()}_{name}" if name.isupper() else f"{prefix}_{name.lstrip('_')}"


def _join(imports: dict[str, ast.stmt], more: dict[str, ast.stmt], case: str) -> None:
    for name, statement in more.items():
        if ast.dump(imports.setdefault(name, statement)) != ast.dump(statement):
            message = f"{case}: {name!r} is imported from two places; a script can have only one of them"
            raise CaseError(message)


def _named(node: ast.stmt, name: str) -> ast.stmt:
    match node:
        case ast.FunctionDef() | ast.ClassDef():
            node.name = name
        case ast.Assign(targets=[ast.Name() as target]):
            target.id = name
    return node


@cache
def _read_module(name: str) -> _Module:
    path = ROOT.joinpath(*name.split(".")).with_suffix(".py")
    return _read(path.read_text(encoding="utf-8"), path.stem)


def _read(source: str, stem: str) -> _Module:
    module = _Module()
    text, module.comments = mark_comments(source, stem.removesuffix(".py"))
    above: list[str] = []
    for node in ast.parse(text).body:
        match node:
            case ast.Expr(value=ast.Name(id=marker)) if marker in module.comments:
                above.append(module.comments[marker])
            case ast.Expr(value=ast.Constant(value=str(words))) if module.definitions:
                # A string below a constant says what it is.
                module.definitions[-1][2].extend(f"# {line.strip()}" for line in words.splitlines())
            case ast.Import() | ast.ImportFrom():
                _import(node, module.borrowed, module.imports)
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                inner = module.inner.setdefault(name, {})
                module.definitions.append((name, _Strip(inner, module.imports).visit(node), above))
                above = []
            case ast.Assign() | ast.AnnAssign():
                for name, value in _assigned(node):
                    if name not in _DECLARATIONS:
                        plain = ast.Assign([ast.Name(name, ast.Store())], value)
                        module.definitions.append((name, ast.fix_missing_locations(plain), above))
                    above = []
    return module


def _assigned(node: ast.Assign | ast.AnnAssign) -> list[tuple[str, ast.expr]]:
    match node:
        case ast.Assign(targets=[ast.Tuple(elts=targets)], value=ast.Tuple(elts=values)):
            return [(one.id, value) for one, value in zip(targets, values, strict=True) if isinstance(one, ast.Name)]
        case ast.Assign(targets=[ast.Name(id=name)], value=value):
            return [(name, value)]
        case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
            return [(name, value)]
        case _:
            return []


def _import(node: ast.stmt, borrowed: dict[str, tuple[str, str]], imports: dict[str, ast.stmt]) -> bool:
    """Take an import in; False when it has to stay where it is."""
    match node:
        case ast.ImportFrom(module="__future__"):
            return True
        case ast.ImportFrom(module=str(module), names=names) if module.split(".")[0] == "harness":
            for one in names:
                defined_in = kit_modules()[one.name] if module == "harness.kit" else module
                borrowed[one.asname or one.name] = (defined_in, one.name)
        case ast.ImportFrom(module=module, names=names):
            imports.update({one.asname or one.name: ast.ImportFrom(module, [one], 0) for one in names})
        case ast.Import(names=names):
            imports.update({one.asname or one.name: ast.Import([one]) for one in names})
    return True


class _Strip(ast.NodeTransformer):
    """Take annotations, long docstrings and imports that can stand at the top out of a definition."""

    def __init__(self, borrowed: dict[str, tuple[str, str]], imports: dict[str, ast.stmt]) -> None:
        self._borrowed, self._imports = borrowed, imports

    def _inner_import(self, node: ast.Import | ast.ImportFrom) -> Any:
        names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [one.name for one in node.names]
        tops = {name.partition(".")[0] for name in names}
        # What the packages under test may refuse to import stays inside the function: there it is a result.
        stays = isinstance(node, ast.ImportFrom) and not tops <= {"harness", *sys.stdlib_module_names}
        if stays or not tops <= {"harness", *_HOISTED}:
            return node
        _import(node, self._borrowed, self._imports)
        return None

    visit_Import = visit_ImportFrom = _inner_import

    def visit_FunctionDef(self, node: ast.FunctionDef) -> Any:
        node.returns = None
        return self._documented(node)

    def visit_arg(self, node: ast.arg) -> ast.arg:
        node.annotation = None
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> Any:
        if node.value is None:
            return None
        return ast.fix_missing_locations(ast.Assign([node.target], self.visit(node.value)))

    def visit_ClassDef(self, node: ast.ClassDef) -> Any:
        if any("dataclass" in ast.unparse(one) for one in node.decorator_list):
            # Its fields live on annotations; its methods do not.
            node.body = [self.visit(one) if isinstance(one, ast.FunctionDef) else self._field(one) for one in node.body]
            return node
        return self._documented(node)

    def _field(self, node: ast.stmt) -> ast.stmt:
        """Give a field a type that a script has: what is imported for type checkers alone is not there."""
        if isinstance(node, ast.AnnAssign):
            names = {one.id for one in ast.walk(node.annotation) if isinstance(one, ast.Name)}
            if not names <= {*dir(builtins), *self._imports}:
                node.annotation = ast.Name("object", ast.Load())
        return node

    def _documented(self, node: Any) -> Any:
        self.generic_visit(node)
        words = ast.get_docstring(node)
        if words is not None:
            node.body[0].value = ast.Constant(words.partition("\n")[0].replace(":class:", ""))
        node.body = node.body or [ast.Pass()]
        return node


def mark_comments(source: str, stem: str) -> tuple[str, dict[str, str]]:
    """Turn comments that stand alone between statements into statements; give the text and the comments."""
    lines = source.splitlines()
    alone: list[int] = []
    depth = 0
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.OP:
            depth += (token.string in "([{") - (token.string in ")]}")
        elif token.type == tokenize.COMMENT and not depth and token.line.strip() == token.string:
            alone.append(token.start[0] - 1)
    comments: dict[str, str] = {}
    for number in reversed(alone):
        words = lines[number].strip()
        following = next((line for line in lines[number + 1 :] if line.strip()), "")
        before = next((line.strip() for line in reversed(lines[:number]) if line.strip()), "")
        if following.strip().startswith(_CONTINUES) and (before.startswith("@") or following[:1].isspace()):
            lines[number] = ""
            continue
        marker = f"__comment_{stem}_{number}__"
        comments[marker] = words
        lines[number] = following[: len(following) - len(following.lstrip())] + marker
    return "\n".join(lines) + "\n", comments
