"""The wall: what runs in a cell and what runs outside never import each other."""

from __future__ import annotations

import ast
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from harness.paths import ROOT

if TYPE_CHECKING:
    from pathlib import Path

INSIDE = [
    *sorted((ROOT / "cases").rglob("*.py")),
    *sorted((ROOT / "harness").glob("cell/*.py")),
    *sorted((ROOT / "harness").glob("kit/**/*.py")),
]
OUTSIDE = [path for path in sorted((ROOT / "harness").rglob("*.py")) if path not in INSIDE]
IN_CELL_PACKAGES = {
    "accelerate", "hypothesis", "numpy", "peft", "pytest", "safetensors", "sentence_transformers", "tokenizers",
    "torch", "transformers",
}  # fmt: skip
SHARED = {
    "harness.contracts.job", "harness.contracts.record", "harness.interface", "harness.packages", "harness.selectors",
}  # fmt: skip
OUR_DOOR = {*SHARED, "harness.cell", "harness.kit", "cases"}


def imports_of(path: Path) -> set[str]:
    """Return every module that a file imports, wherever in the file."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        match node:
            case ast.Import(names=names):
                found |= {name.name for name in names}
            case ast.ImportFrom(module=str(module), level=0):
                found.add(module)
            case ast.ImportFrom(level=level):
                assert level == 0, f"{path}: relative imports hide which side they lead to"
    return found


@pytest.mark.parametrize("path", INSIDE, ids=lambda path: path.name)
def test_inside_imports_only_what_a_cell_has(path: Path) -> None:
    """A case must import in every cell: the standard library, the packages there, our own side."""
    for module in imports_of(path):
        top = module.partition(".")[0]
        ours = any(module == door or module.startswith(f"{door}.") for door in OUR_DOOR)
        assert ours or top in IN_CELL_PACKAGES or top in sys.stdlib_module_names, module


@pytest.mark.parametrize("path", OUTSIDE, ids=lambda path: path.name)
def test_outside_imports_nothing_of_a_cell(path: Path) -> None:
    """Planning and reporting start fast and survive a broken torch, because they never import it."""
    for module in imports_of(path):
        assert module.partition(".")[0] not in IN_CELL_PACKAGES, module
        assert module.split(".")[:2] not in (["harness", "cell"], ["harness", "kit"]), module
        assert module.split(".")[0] != "cases", module


@pytest.mark.parametrize("shared", sorted(SHARED))
def test_what_both_sides_share_needs_only_the_standard_library(shared: str) -> None:
    """The words that both sides share come along everywhere."""
    modules = imports_of(ROOT.joinpath(*shared.split(".")).with_suffix(".py")) - SHARED
    assert all(module.partition(".")[0] in sys.stdlib_module_names for module in modules)


def test_the_command_line_never_loads_torch() -> None:
    """Importing every outside module leaves torch, transformers and peft alone."""
    names = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in OUTSIDE if path.stem[0] != "_"]
    code = f"import sys, {', '.join(names)}; print(*sys.modules.keys() & {{'torch', 'transformers', 'peft'}})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.split() == []


def test_a_planted_import_is_found(tmp_path: Path) -> None:
    """The check can fail: an import inside a function is seen, too."""
    planted = tmp_path / "planted.py"
    planted.write_text("def f():\n    import torch.nn\n", encoding="utf-8")
    assert imports_of(planted) == {"torch.nn"}
