"""What a case reaches: the definitions that its check uses, name by name through our own imports, and the data (pure).

Read from syntax trees, so comments, docstrings, annotations and layout say nothing, and a function that nobody calls
does not either. What the analysis cannot follow counts whole: a module that is used as an object, an import by a name
that is computed, a function with a decorator that may register it.
"""

from __future__ import annotations

import ast
import hashlib
import sys
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from harness.matrix.cases import DECLARED, syntax_tree

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

Name = tuple[str, str]
"""A module, and a name at its top level; :data:`BODY` or :data:`WHOLE` in place of a name."""

BODY = ""
"""The statements of a module that run when it is imported, whatever is used of it."""

WHOLE = "*"
"""Everything in a module."""

_ANY = "?"
"""In place of a name: one of a module that only running the code can tell."""

_KIT = "harness.kit"
_HARMLESS = {
    "cache", "classmethod", "contextlib", "contextmanager", "dataclass", "dataclasses", "functools", "property",
    "staticmethod", "torch",
}  # fmt: skip
"""Where a decorator may come from that leaves no trace of a function that nobody calls."""

_OWN_NAMES = {"eval", "exec", "globals"}
"""Calls that may use any name of their own module."""

_SKIPPED = {"ctx", "kind", "type_comment", "type_ignores"}

_Function = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
_Comprehension = ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp


@dataclass
class _Scope:
    """Names that a function, class or comprehension loads, those that it binds, and those of a scope around it."""

    loads: set[str] = field(default_factory=set)
    stores: set[str] = field(default_factory=set)
    outer: set[str] = field(default_factory=set)


class _Reader:
    """Reads code once: its text without what cannot matter, and what it takes from outside of itself."""

    def __init__(self, nodes: Iterable[ast.AST], *, lazy: bool) -> None:
        """``lazy``: annotations are not evaluated (``from __future__ import annotations``)."""
        self._lazy = lazy
        self._parts: list[str] = []
        self._scope = _Scope()
        self.imports: set[Name] = set()
        self.strings: set[str] = set()
        self.attributes: set[str] = set()
        self.uses_own_names = self.uses_any_module = False
        for node in nodes:
            self._read(node)
        self.free = self._scope.loads

    @property
    def text(self) -> str:
        """The code as one string that any Python writes alike."""
        return "\n".join(self._parts)

    def _read(self, node: ast.AST) -> None:  # noqa: C901, PLR0912 - a branch for each kind of node
        self._parts.append(type(node).__name__)
        match node:
            case ast.Name(id=name):
                self._parts.append(name)
                (self._scope.loads if isinstance(node.ctx, ast.Load) else self._scope.stores).add(name)
            case ast.Constant(value=value):
                self._parts.append(repr(value))
                if isinstance(value, str):
                    self.strings.add(value)
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.Lambda():
                self._function(node)
            case ast.ListComp() | ast.SetComp() | ast.DictComp() | ast.GeneratorExp():
                self._comprehension(node)
            case ast.AnnAssign(target=target, annotation=annotation, value=value):
                # A dataclass asks whether an annotation says ClassVar, and no more.
                self._parts.append(ast.unparse(annotation) if self._lazy else "")
                self._fields(target, value, None if self._lazy else annotation)
            case ast.Dict(keys=keys, values=values):
                self._table(keys, values)
            case ast.ClassDef(name=name):
                self._scope.stores.add(name)
                self._fields(name, node.decorator_list, node.bases, node.keywords)
                # What a class binds its methods do not see, so nothing that is loaded inside is hidden by it.
                with self._inside(hides=False):
                    self._fields(node.body)
            case ast.Import() | ast.ImportFrom():
                for bound, module, name in _bindings(node):
                    self._scope.stores.add(bound)
                    self.imports.add((module, name or WHOLE))
                self._generic(node)
            case ast.Global(names=names) | ast.Nonlocal(names=names):
                self._scope.outer |= set(names)
                self._generic(node)
            case _:
                self._scope.stores |= _bound_as_text(node)
                if isinstance(node, ast.Attribute):
                    self.attributes.add(node.attr)
                    self.uses_any_module |= node.attr == "modules" and _root(node) == "sys"
                elif isinstance(node, ast.Call):
                    self._call(node)
                self._generic(node)

    def _fields(self, *values: object) -> None:
        """Read nodes, lists of them and plain values, each place apart from the next."""
        for value in values:
            self._parts.append("|")
            if isinstance(value, ast.AST):
                self._read(value)
            elif isinstance(value, list):
                self._parts.append("[")
                for item in value:
                    if isinstance(item, ast.AST):
                        if not _is_string(item):
                            self._read(item)
                    else:
                        self._parts.append(repr(item))
                self._parts.append("]")
            elif value is not None:
                self._parts.append(repr(value))

    def _generic(self, node: ast.AST) -> None:
        # A field that a later Python adds is empty in code that an earlier one reads.
        named = [(name, getattr(node, name, None)) for name in node._fields if name not in _SKIPPED]
        self._fields(*(value for name, value in named if value or name != "type_params"))

    def _function(self, node: _Function) -> None:
        given = node.args
        arguments = [*given.posonlyargs, *given.args, *given.kwonlyargs, *filter(None, (given.vararg, given.kwarg))]
        shape = [len(given.posonlyargs), len(given.args), len(given.kwonlyargs), given.vararg is None]
        self._parts.append(repr([getattr(node, "name", ""), [one.arg for one in arguments], shape]))
        self._fields(getattr(node, "decorator_list", []), given.defaults, given.kw_defaults)
        if not self._lazy:
            self._fields([one.annotation for one in arguments if one.annotation], getattr(node, "returns", None))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            self._scope.stores.add(node.name)
        with self._inside():
            self._scope.stores |= {one.arg for one in arguments}
            self._fields(node.body)

    def _comprehension(self, node: _Comprehension) -> None:
        first, *rest = node.generators
        self._fields(first.iter)
        with self._inside():
            self._fields(first.target, first.ifs, first.is_async, list(rest))
            self._fields(*([node.key, node.value] if isinstance(node, ast.DictComp) else [node.elt]))

    @contextmanager
    def _inside(self, *, hides: bool = True) -> Iterator[None]:
        """Read a scope; what it loads and does not bind itself is loaded by the one around it."""
        around, self._scope = self._scope, _Scope()
        yield
        inner, self._scope = self._scope, around
        around.loads |= inner.loads - (inner.stores - inner.outer) if hides else inner.loads

    def _table(self, keys: list[ast.expr | None], values: list[ast.expr]) -> None:
        """Read a dict: what is looked up in it is named by a string elsewhere, so its keys name nothing."""
        for key, value in zip(keys, values, strict=True):
            if isinstance(key, ast.Constant):
                self._parts.append(repr(key.value))
            elif key is not None:
                self._read(key)
            self._fields(value)

    def _call(self, node: ast.Call) -> None:
        called = node.func.attr if isinstance(node.func, ast.Attribute) else _root(node.func)
        if called in _OWN_NAMES and isinstance(node.func, ast.Name):
            self.uses_own_names = True
        if called in {"import_module", "__import__"}:
            match node.args:
                case [ast.Constant(value=str(module)), *_]:
                    self.imports.add((module, WHOLE))
                case _:
                    self.uses_any_module = True


def _bound_as_text(node: ast.AST) -> set[str]:
    """Return the names that a node binds without a :class:`ast.Name`."""
    match node:
        case ast.ExceptHandler(name=str(name)) | ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)):
            return {name}
        case ast.MatchMapping(rest=str(name)):
            return {name}
    return set()


def _stored(node: ast.AST) -> set[str]:
    """Return every name that a statement at the top of a module may bind there, and perhaps more."""
    found: set[str] = set()
    for one in ast.walk(node):
        match one:
            case ast.Name(id=name, ctx=ast.Store()):
                found.add(name)
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                found.add(name)
            case ast.Import() | ast.ImportFrom():
                found |= {bound for bound, _, _ in _bindings(one)}
            case _:
                found |= _bound_as_text(one)
    return found


def _bindings(node: ast.Import | ast.ImportFrom) -> Iterator[tuple[str, str, str]]:
    """Yield the name that each part of an import binds, its module, and its name there (empty: the module itself)."""
    for alias in node.names:
        if isinstance(node, ast.ImportFrom):
            yield alias.asname or alias.name, node.module or "", alias.name
        else:
            yield alias.asname or alias.name.partition(".")[0], alias.name, ""


def _root(node: ast.AST) -> str:
    """Return the name at the left end of an expression such as ``torch.no_grad()``; empty when there is none."""
    while isinstance(node, ast.Call | ast.Attribute | ast.Subscript):
        node = node.func if isinstance(node, ast.Call) else node.value
    return node.id if isinstance(node, ast.Name) else ""


def _is_string(node: ast.AST) -> bool:
    """Return whether a statement is a docstring, or a string under an assignment."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


@dataclass(kw_only=True)
class Module:
    """A module by its top-level names: what defines them, what they are imported from, and what runs on import."""

    name: str
    is_package: bool
    lazy: bool = False
    definitions: dict[str, list[ast.stmt]] = field(default_factory=dict)
    bindings: dict[str, Name] = field(default_factory=dict)
    told: dict[str, Name] = field(default_factory=dict)
    """What type checkers are told of names that ``__getattr__`` finds when the code runs."""
    body: list[ast.stmt] = field(default_factory=list)
    imported: set[str] = field(default_factory=set)

    @classmethod
    def read(cls, name: str, tree: ast.Module, *, is_package: bool) -> Module:
        """Sort the statements of a module."""
        module = cls(name=name, is_package=is_package)
        module._take(tree.body)
        return module

    def _take(self, statements: Iterable[ast.stmt]) -> None:  # noqa: C901 - a branch for each kind of statement
        for node in statements:
            match node:
                case ast.ImportFrom(module="__future__", names=names):
                    self.lazy |= any(one.name == "annotations" for one in names)
                case ast.Import() | ast.ImportFrom():
                    for bound, module, name in _bindings(node):
                        self.imported.add(module)
                        self.bindings[bound] = (module, name or WHOLE)
                case ast.If(test=test, body=body, orelse=otherwise) if ast.unparse(test).endswith("TYPE_CHECKING"):
                    imports = [one for one in body if isinstance(one, ast.ImportFrom)]
                    self.told |= {bound: (module, name) for one in imports for bound, module, name in _bindings(one)}
                    self._take(otherwise)
                case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                    self._define([name], node)
                    if not {_root(one) for one in node.decorator_list} <= _HARMLESS:
                        self.body.append(node)
                case ast.Assign(targets=targets) if all(_is_plain_target(one) for one in targets):
                    self._assign(targets, node)
                case ast.AnnAssign(target=ast.Name() as target, value=value):
                    if value is not None:
                        self._assign([target], node)
                case _ if _is_string(node):
                    pass
                case _:
                    self._define(_stored(node), node)
                    self.body.append(node)

    def _define(self, names: Iterable[str], node: ast.stmt) -> None:
        for name in names:
            self.definitions.setdefault(name, []).append(node)

    def _assign(self, targets: list[ast.expr], node: ast.Assign | ast.AnnAssign) -> None:
        names = set[str]().union(*map(_stored, targets))
        self._define(names, node)
        if names <= DECLARED:
            return
        called = {_root(one) for one in ast.walk(node) if isinstance(one, ast.Call)}
        if any(self._is_foreign(self.bindings[name][0]) for name in called & self.bindings.keys()):
            # It may set something in a package under test.
            self.body.append(node)

    def _is_foreign(self, module: str) -> bool:
        top = module.partition(".")[0]
        return top not in sys.stdlib_module_names and top not in {"harness", "cases"}


def _is_plain_target(node: ast.expr) -> bool:
    match node:
        case ast.Name():
            return True
        case ast.Tuple(elts=items) | ast.List(elts=items):
            return all(_is_plain_target(one) for one in items)
        case ast.Starred(value=value):
            return _is_plain_target(value)
    return False


@dataclass(frozen=True, kw_only=True)
class Definition:
    """What stands at a name: a digest of its code, what it takes, and the words in it."""

    digest: str
    takes: frozenset[Name]
    words: frozenset[str]
    """Strings other than the keys of tables, and attributes."""
    finds_files: bool
    """Whether it asks where its own file is."""


@dataclass(frozen=True, kw_only=True)
class Reached:
    """What some names reach, themselves among it."""

    definitions: dict[Name, Definition]

    @cached_property
    def digest(self) -> str:
        """A digest of all the code."""
        lines = sorted(f"{module}:{name}:{one.digest}" for (module, name), one in self.definitions.items())
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]

    @cached_property
    def words(self) -> frozenset[str]:
        """Every string and attribute in the code."""
        return frozenset[str]().union(*(one.words for one in self.definitions.values()))


class Code:
    """The code under a folder that holds ``harness`` and ``cases``; every file is parsed once."""

    def __init__(self, root: Path) -> None:
        """Read nothing yet."""
        self._root = root
        self._modules: dict[str, Module | None] = {}
        self._definitions: dict[Name, Definition] = {}

    def module(self, name: str) -> Module | None:
        """Return one of our modules; None when there is no such file."""
        if name not in self._modules:
            path = self._root.joinpath(*name.split("."))
            files = ((path.with_suffix(".py"), False), (path / "__init__.py", True))
            found = next(((file, package) for file, package in files if file.is_file()), None)
            ours = name.partition(".")[0] in {"harness", "cases"}
            self._modules[name] = self._read(name, *found) if ours and found else None
        return self._modules[name]

    def _read(self, name: str, path: Path, is_package: bool) -> Module:  # noqa: FBT001 - unpacked from a pair
        return Module.read(name, syntax_tree(path, path.read_text(encoding="utf-8")), is_package=is_package)

    def reach(self, *roots: Name, dynamic: bool = True) -> Reached:
        """Follow names through definitions and imports. Without ``dynamic`` computed imports are not followed."""
        found: dict[Name, Definition] = {}
        seen: set[Name] = set()
        waiting = list(roots)
        while waiting:
            place = waiting.pop()
            if place in seen or (module := self.module(place[0])) is None:
                continue
            seen.add(place)
            waiting += self._beside(module, place[1])
            if place[1] == BODY or place[1] in module.definitions:
                found[place] = definition = self._definition(module, place[1])
                waiting += definition.takes
                if dynamic and (module.name, _ANY) in definition.takes:
                    waiting += [(one, WHOLE) for one in self._kit()]
        return Reached(definitions=found)

    def _beside(self, module: Module, name: str) -> list[Name]:
        """List what comes along with a name of a module: the bodies that its import runs, and what it stands for."""
        parents = [module.name.rsplit(".", count)[0] for count in range(1, module.name.count(".") + 1)]
        along: list[Name] = [(one, BODY) for one in (module.name, *parents)]
        if name == BODY:
            along += [(one, BODY) for one in module.imported]
        elif name == WHOLE:
            along += [(module.name, one) for one in (*module.definitions, *module.bindings)]
        elif name in module.definitions:
            pass
        elif name in module.bindings:
            along.append(module.bindings[name])
        elif module.is_package and self.module(f"{module.name}.{name}") is not None:
            along.append((f"{module.name}.{name}", WHOLE))
        elif "__getattr__" in module.definitions and name in module.told:
            along.append(module.told[name])
        elif "__getattr__" in module.definitions:
            # Only running it can tell where the name comes from.
            along += [(one, WHOLE) for one in self._kit()]
        return along

    def _kit(self) -> list[str]:
        folder = self._root.joinpath(*_KIT.split("."))
        return [_KIT, *(f"{_KIT}.{path.stem}" for path in sorted(folder.glob("*.py")) if path.stem != "__init__")]

    def _definition(self, module: Module, name: str) -> Definition:
        place = (module.name, name)
        if place not in self._definitions:
            nodes = module.body if name == BODY else module.definitions[name]
            reader = _Reader(nodes, lazy=module.lazy)
            takes = {(module.name, one) for one in reader.free} | reader.imports
            if reader.uses_own_names:
                takes.add((module.name, WHOLE))
            if reader.uses_any_module:
                takes.add((module.name, _ANY))
            if WHOLE in module.bindings:
                takes.add(module.bindings[WHOLE])
            self._definitions[place] = Definition(
                digest=hashlib.sha256(reader.text.encode()).hexdigest(),
                takes=frozenset(takes),
                words=frozenset(reader.strings | reader.attributes),
                finds_files="__file__" in reader.free,
            )
        return self._definitions[place]
