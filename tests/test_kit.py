"""What cases import: one list of names, each from the module that defines it, on every release and without peft."""

from __future__ import annotations

import ast
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from harness.environments.index import clean_environment
from harness.matrix.cases import kit_modules, load_cases
from harness.paths import ROOT

if TYPE_CHECKING:
    from harness.environments.build import Environment
    from harness.matrix.cases import Case


def defined_in(module: str) -> set[str]:
    """Return the names that the top level of a module binds, but for its imports."""
    names = set()
    for node in ast.parse((ROOT / f"{module.replace('.', '/')}.py").read_text(encoding="utf-8")).body:
        match node:
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name) | ast.AnnAssign(target=ast.Name(id=name)):
                names.add(name)
            case ast.Assign(targets=targets):
                names |= {one.id for target in targets for one in ast.walk(target) if isinstance(one, ast.Name)}
    return names


def test_each_name_stands_beside_the_module_that_defines_it() -> None:
    """Scripts and keys follow the list to a definition, not to a module that imports the name itself."""
    astray = {name: module for name, module in kit_modules().items() if name not in defined_in(module)}
    assert astray == {}


def test_a_trial_and_its_outcomes_need_no_torch() -> None:
    """What a worker imports first, and what is tested here, comes along without the packages under test."""
    code = (
        "import sys; from harness.kit import Trial, Unsupported, Variants; import harness.kit.turns; "
        "print(*sys.modules.keys() & {'torch', 'transformers', 'peft', 'hypothesis'})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.split() == []


def test_a_name_that_is_not_listed_is_refused() -> None:
    """A misspelt import says so, as that of any module does."""
    code = "from harness.kit import greedy_by_degrees"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert "ImportError: cannot import name 'greedy_by_degrees'" in done.stderr


def test_an_old_cell_has_all_names_and_loads_them_without_peft(old_environment: Environment) -> None:
    """A worker imports the kit before it forks: a peft among it would be the first overlay's, for all of them."""
    code = (
        f"import sys; sys.path += {[*(str(path) for path in old_environment.behind), str(ROOT)]}; "
        "import harness.kit as kit; names = dir(kit); "
        "values = [getattr(kit, name) for name in names]; print(len(values), 'peft' in sys.modules)"
    )
    done = subprocess.run(
        [str(old_environment.python), "-c", code],
        capture_output=True,
        text=True,
        env=clean_environment({"TRANSFORMERS_VERBOSITY": "error"}),
        check=False,
    )
    assert done.stdout.split() == [str(len(kit_modules())), "False"], done.stderr


@pytest.mark.parametrize("case", load_cases(), ids=lambda case: case.name)
def test_a_case_imports_from_the_kit_at_its_top(case: Case) -> None:
    """Of this project a case imports the kit alone, and nowhere but at the top of its file."""
    tree = ast.parse(case.path.read_text(encoding="utf-8"))
    ours = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and str(node.module).partition(".")[0] == "harness"
    ]
    assert {node.module for node in ours} == {"harness.kit"}
    assert all(node in tree.body for node in ours)
