"""What a case reaches, on planted code, and on our own against a closure that is worked out from byte code."""

from __future__ import annotations

import ast
import dis
import shutil
from functools import cache
from typing import TYPE_CHECKING

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from harness.matrix.cases import Case, load_cases
from harness.paths import ROOT
from harness.run.keys import CodeDigests
from harness.run.reach import Code

if TYPE_CHECKING:
    import types
    from pathlib import Path

FUTURE = "from __future__ import annotations\n"
KIT = '''
from typing import TYPE_CHECKING
import torch
from harness.kit.numbers import FAR, unused_number

if TYPE_CHECKING:
    from harness.kit.types import Kind

NEAR = 1

def near(kind: Kind, FAR_=2):
    """Near."""
    return NEAR + FAR_

@torch.no_grad()
def far(x):
    # Far.
    return [FAR for FAR in x] or FAR

def shadow(FAR):
    return FAR

class Box:
    near = 3

    def get(self):
        return near(self)
'''
TREE = {
    "harness/__init__.py": "",
    "harness/kit/__init__.py": "from harness.kit.oracles import near\n",
    "harness/kit/oracles.py": KIT,
    "harness/kit/numbers.py": "FAR = 5\nunused_number = 6\n",
    "harness/kit/types.py": "class Kind:\n    size = 1\n",
    "cases/__init__.py": "",
    "cases/a.py": "ORACLE = 'x'\ndef check(trial):\n    from harness.kit.oracles import near\n    near(1)\n",
}


CASE, KIT_FILE, SURFACE = "cases/a.py", "harness/kit/oracles.py", "harness/kit/__init__.py"


def plant(folder: Path, **others: str) -> Code:
    """Write the tree, with other text in place of the case, the kit's file or its surface, and read it."""
    named = {"case": CASE, "kit": KIT_FILE, "surface": SURFACE, "numbers": "harness/kit/numbers.py"}
    for name, text in {**TREE, **{named[key]: text for key, text in others.items()}}.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(FUTURE + text, encoding="utf-8")
    return Code(folder)


def names(code: Code) -> set[str]:
    """List what the planted case reaches, as ``module.name`` without the packages; bodies are left out."""
    reached = code.reach(("cases.a", "check")).definitions
    return {f"{module.rpartition('.')[2]}.{name}" for module, name in reached if name}


@pytest.mark.parametrize(
    ("check", "expected"),
    [
        ("from harness.kit.oracles import near", {"oracles.near", "oracles.NEAR"}),
        ("from harness.kit import near", {"oracles.near", "oracles.NEAR"}),
        ("from harness.kit.oracles import far", {"oracles.far", "numbers.FAR"}),
        ("from harness.kit.oracles import shadow", {"oracles.shadow"}),
        ("from harness.kit.oracles import Box", {"oracles.Box", "oracles.near", "oracles.NEAR"}),
        ("from harness.kit.oracles import FAR as F", {"numbers.FAR"}),
        ("import json", set()),
    ],
)
def test_names_are_followed_through_imports(tmp_path: Path, check: str, expected: set[str]) -> None:
    """A name leads to its definition, and what that takes; a local name of the same spelling does not."""
    code = plant(tmp_path, case=f"def check(trial):\n    {check}\n")
    assert names(code) == {"a.check", *expected}


EVERYTHING = {"numbers.FAR", "numbers.unused_number"}


@pytest.mark.parametrize(
    "check",
    [
        "from harness.kit import numbers\n    return getattr(numbers, trial.name)",
        "import harness.kit.numbers as n\n    return n.FAR",
        "import importlib\n    return importlib.import_module('harness.kit.numbers')",
        "import importlib\n    return importlib.import_module('harness.kit.' + trial.name)",
        "return __import__(trial.name)",
        "import sys\n    return sys.modules[trial.name]",
    ],
)
def test_what_cannot_be_followed_counts_whole(tmp_path: Path, check: str) -> None:
    """A module that is used as an object, or imported by a name that only running tells."""
    assert names(plant(tmp_path, case=f"def check(trial):\n    {check}\n")) >= EVERYTHING


def test_a_surface_that_finds_its_names_by_running_counts_whole(tmp_path: Path) -> None:
    """``__getattr__`` of a package may take them from anywhere in it."""
    lazy = "def __getattr__(name):\n    return 1\n"
    check = "def check(trial):\n    from harness.kit import somewhere\n"
    assert names(plant(tmp_path, surface=lazy, case=check)) >= EVERYTHING


def test_a_surface_that_finds_its_names_by_running_says_where_they_are(tmp_path: Path) -> None:
    """What a type checker is told of such a name is where it comes from; nothing else of the package counts."""
    told = "if TYPE_CHECKING:\n    from harness.kit.numbers import FAR\ndef __getattr__(name):\n    return 1\n"
    for check in (
        "def check(trial):\n    from harness.kit import FAR\n",
        "from harness.kit import FAR\ndef check(t):\n    FAR\n",
    ):
        assert names(plant(tmp_path, surface=told, case=check)) - {"kit.FAR"} == {"a.check", "numbers.FAR"}


def test_what_runs_on_import_counts(tmp_path: Path) -> None:
    """A statement that runs when a module is imported counts for who takes anything from it; so may a decorator."""
    check = "def check(trial):\n    from harness.kit.numbers import FAR\n"
    before = plant(tmp_path, case=check).reach(("cases.a", "check")).digest
    for more in (
        "import torch\ntorch.set_num_threads(1)\n",
        "@register\ndef hook(): pass\n",
        "import torch\nX = torch.f()\n",
    ):
        code = plant(tmp_path, case=check, numbers=TREE["harness/kit/numbers.py"] + more)
        assert code.reach(("cases.a", "check")).digest != before, more


@pytest.mark.parametrize(
    ("change", "same"),
    [
        (('"""Near."""', '"""Nearer."""'), True),
        (("# Far.", "# Farther."), True),
        (("kind: Kind", "kind: Any"), True),
        (("return NEAR + FAR_", "return (NEAR\n        + FAR_)"), True),
        (("NEAR = 1", "def unused(x):\n    return near(x)\nNEAR = 1"), True),
        (("NEAR = 1", "NEAR = 2"), False),
        (("FAR_=2", "FAR_=3"), False),
        (("return NEAR + FAR_", "return NEAR - FAR_"), False),
        (("import FAR, unused_number", "import unused_number"), True),
    ],
)
def test_what_can_change_an_outcome_changes_the_digest(tmp_path: Path, change: tuple[str, str], same: bool) -> None:
    """A comment, a docstring, an annotation, the layout and what nobody calls do not."""
    before = plant(tmp_path).reach(("cases.a", "check")).digest
    assert change[0] in KIT
    after = plant(tmp_path, kit=KIT.replace(*change)).reach(("cases.a", "check")).digest
    assert (before == after) is same


def test_opinions_of_a_case_are_not_reached(tmp_path: Path) -> None:
    """Claims, windows and links can be edited without measuring again; what the check uses of them cannot."""
    before = plant(tmp_path).reach(("cases.a", "check")).digest
    edited = TREE["cases/a.py"].replace("ORACLE = 'x'", "ORACLE = 'y'")
    assert plant(tmp_path, case=edited).reach(("cases.a", "check")).digest == before
    used = edited.replace("near(1)", "near(ORACLE)")
    with_y = plant(tmp_path, case=used).reach(("cases.a", "check")).digest
    assert plant(tmp_path, case=used.replace("'y'", "'z'")).reach(("cases.a", "check")).digest != with_y


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Copy what runs in a cell, to change it."""
    root = tmp_path_factory.mktemp("copy")
    for name in ("harness/cell", "harness/contracts", "harness/kit", "cases"):
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    for path in (ROOT / "harness").glob("*.py"):
        shutil.copy(path, root / "harness" / path.name)
    return root


def digests(root: Path, cases: tuple[Case, ...]) -> dict[str, str]:
    """Return the digest of every case's code, and of the runtime."""
    code = CodeDigests(root)
    return {"": code.of_runtime(), **{case.name: code.of_case(case) for case in cases}}


@cache
def unchanged() -> dict[str, str]:
    """Return the digests of our own code, which the copy is."""
    return digests(ROOT, load_cases())


class _Talk(ast.NodeTransformer):
    """Says something else in every docstring."""

    def visit_Expr(self, node: ast.Expr) -> ast.Expr:
        if isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            return ast.Expr(value=ast.Constant(value="Something else."))
        return node


def test_docstrings_comments_and_layout_change_no_key(copy: Path, tmp_path: Path) -> None:
    """All files rewritten from their syntax trees, with other docstrings and a comment: all digests stay."""
    cases = load_cases()
    before = digests(copy, cases)
    shutil.copytree(copy, tmp_path / "other")
    for path in (tmp_path / "other").rglob("*.py"):
        tree = _Talk().visit(ast.parse(path.read_text(encoding="utf-8")))
        path.write_text(ast.unparse(ast.fix_missing_locations(tree)) + "\n# A comment.\n", encoding="utf-8")
    assert digests(tmp_path / "other", cases) == before
    assert digests(ROOT, cases) == before


class Closure:
    """Which definitions a case's check reaches, from byte code: every statement is compiled alone and disassembled."""

    def __init__(self, root: Path) -> None:
        self.uses: dict[tuple[str, str], set[tuple[str, str]]] = {}
        self.imports: dict[tuple[str, str], tuple[str, str]] = {}
        for path in [*root.glob("harness/*.py"), *root.glob("harness/kit/**/*.py"), *root.glob("cases/*.py")]:
            module = ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__")
            for node in ast.parse(path.read_text(encoding="utf-8")).body:
                self._statement(module, node)

    def _statement(self, module: str, node: ast.stmt) -> None:
        if isinstance(node, ast.ImportFrom):
            for one in node.names:
                self.imports[module, one.asname or one.name] = (node.module or "", one.name)
        elif isinstance(node, ast.If) and module == "harness.kit":
            # What the kit tells type checkers is where its names are.
            for inner in node.body:
                self._statement(module, inner)
        elif isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Assign | ast.AnnAssign):
            future = ast.parse(FUTURE).body
            code = compile(ast.fix_missing_locations(ast.Module(body=[*future, node], type_ignores=[])), "x", "exec")
            stored = {one.argval for one in dis.get_instructions(code) if one.opname == "STORE_NAME"}
            for name in stored:
                self.uses.setdefault((module, name), set()).update(self._taken(module, code))

    def _taken(self, module: str, code: types.CodeType) -> set[tuple[str, str]]:
        found, source = set(), ""
        for one in dis.get_instructions(code):
            if one.opname in {"LOAD_NAME", "LOAD_GLOBAL"}:
                found.add((module, one.argval))
            elif one.opname == "IMPORT_NAME":
                source = one.argval
            elif one.opname == "IMPORT_FROM":
                found.add((source, one.argval))
        inner = (one for one in code.co_consts if hasattr(one, "co_code"))
        return found.union(*(self._taken(module, one) for one in inner))

    def of(self, case: str) -> set[tuple[str, str]]:
        """Follow the names from a case's check until there are no new ones."""
        seen, waiting = set(), [(f"cases.{case}", "check")]
        while waiting:
            place = waiting.pop()
            if place not in seen:
                seen.add(place)
                waiting += self.uses.get(place, ())
                waiting += [self.imports[place]] if place in self.imports else []
        return seen


def defined(node: ast.stmt) -> str:
    """Return the name that a statement at the top of a module defines; empty when it defines several, or none."""
    match node:
        case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
            return name
        case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
            return name
    return ""


def constants(node: ast.AST) -> list[ast.Constant]:
    """List the numbers and texts in a definition that are neither docstrings nor annotations."""
    found: list[ast.Constant] = []
    for name, value in ast.iter_fields(node):
        for child in value if isinstance(value, list) else [value]:
            if name in {"annotation", "returns"} or not isinstance(child, ast.AST):
                continue
            if isinstance(child, ast.Constant) and isinstance(child.value, int | float | str):
                if not isinstance(node, ast.Expr):
                    found.append(child)
            else:
                found += constants(child)
    return found


# An example reads all cases again; a smaller one says no more than the first.
@settings(max_examples=12, deadline=None, phases=(Phase.generate,))
@given(data=st.data())
def test_a_constant_changes_the_cases_that_reach_it_and_no_others(copy: Path, data: st.DataObject) -> None:
    """A number or text is changed in a random definition of the kit: exactly the cases that reach it are new."""
    cases = load_cases()
    path = data.draw(st.sampled_from(sorted(copy.glob("harness/kit/*.py"))), label="file")
    source = path.read_text(encoding="utf-8")
    tree = ast.parse(source)
    places = [(name, one) for node in tree.body if (name := defined(node)) for one in constants(node)]
    if not places:
        return
    name, constant = data.draw(st.sampled_from(places), label="constant")
    module = ".".join(path.relative_to(copy).with_suffix("").parts)
    before = unchanged()
    value = constant.value
    match value:
        case str():
            constant.value = value + "?"
        case bool():
            constant.value = not value
        case int() | float():
            constant.value = value + 1
    path.write_text(ast.unparse(tree), encoding="utf-8")
    try:
        after = digests(copy, cases)
    finally:
        path.write_text(source, encoding="utf-8")
    closure = Closure(copy)
    reaching = {case.name for case in cases if (module, name) in closure.of(case.name)}
    assert {case for case in before if case and before[case] != after[case]} == reaching, (module, name, value)
