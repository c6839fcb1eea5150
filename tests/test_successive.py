"""A commit that is installed from its neighbour is the one that uv installs, file by file; else uv is asked."""

from __future__ import annotations

import json
import shutil
import sys
from typing import TYPE_CHECKING

import pytest

from harness.environments.build import build_overlay, overlay_folder
from harness.environments.successive import install_from_neighbour
from harness.environments.uv import run_uv
from tests.checkouts import commit, git, pyproject

if TYPE_CHECKING:
    from pathlib import Path

PYTHON = ".".join(map(str, sys.version_info[:2]))


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a repository of a small peft, with an empty cache beside it."""
    monkeypatch.setenv("PROMPT_BENCH_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "clone"
    write(folder, {"pyproject.toml": pyproject("1.0"), "src/peft/__init__.py": "A = 1\n", "src/peft/b.py": "B = 1\n"})
    write(folder, {"src/peft/tuners/__init__.py": "", "src/peft/tuners/c.py": "C = 1\n", "docs/a.md": "a"})
    git(folder, "init", "--quiet", "--initial-branch=main")
    commit(folder, "first")
    return folder


def write(folder: Path, files: dict[str, str | None]) -> None:
    """Write files; None removes one."""
    for name, text in files.items():
        path = folder / name
        if text is None:
            path.unlink()
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")


def pin_of(clone: Path) -> str:
    """Pin the newest commit."""
    return f"peft @ git+{clone.as_uri()}@{git(clone, 'rev-parse', 'HEAD').strip()}"


def tree(folder: Path) -> dict[str, bytes]:
    """Read all that is installed; what follows from when and how it was is left out."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
        and path.name not in {".lock", "RECORD", "direct_url.json", "complete.json", "uv_cache.json", "uv_build.json"}
        and path.suffix != ".pyc"
    }


COMMITS: list[tuple[str, bool, dict[str, str | None]]] = [
    ("a module is another", True, {"src/peft/b.py": "B = 2\n"}),
    ("a module comes", True, {"src/peft/tuners/d.py": "D = 1\n"}),
    ("a package comes", True, {"src/peft/more/__init__.py": "", "src/peft/more/e.py": "E = 1\n"}),
    ("a module goes", True, {"src/peft/b.py": None}),
    ("nothing of the package", True, {"docs/a.md": "b", "tests/test_a.py": "1\n"}),
    ("another version", False, {"pyproject.toml": pyproject("1.1")}),
    ("a file that is no Python", False, {"src/peft/data.json": "{}"}),
    ("a folder that is no package", False, {"src/peft/loose/f.py": "F = 1\n"}),
    ("a package goes", False, {"src/peft/more/__init__.py": None, "src/peft/more/e.py": None}),
    ("another package", False, {"src/other/__init__.py": ""}),
]


def test_a_commit_from_its_neighbour_is_the_one_that_uv_installs(clone: Path, tmp_path: Path) -> None:
    """Each of a line of commits, from the one before it; where more than modules differ, uv builds it."""
    before = build_overlay(pin_of(clone), PYTHON)
    for title, linked, files in COMMITS:
        write(clone, files)
        commit(clone, title)
        pin = pin_of(clone)
        first, plain = tmp_path / "cache" / "overlays" / "peft-probe", tmp_path / title
        was = tree(before)
        assert install_from_neighbour(first, pin) is linked, title
        shutil.rmtree(first, ignore_errors=True)
        folder = build_overlay(pin, PYTHON)
        assert folder == overlay_folder(pin, PYTHON)
        done = run_uv("pip", "install", "--python", PYTHON, "--target", str(plain), "--no-deps", pin, "--quiet")
        assert done.returncode == 0, done.stderr
        assert tree(folder) == tree(plain), title
        assert tree(before) == was, "the neighbour was written into"
        (origin,) = folder.glob("*.dist-info/direct_url.json")
        assert json.loads(origin.read_text(encoding="utf-8"))["vcs_info"]["commit_id"] == pin.rpartition("@")[2]
        before = folder


def test_byte_code_of_what_is_replaced_goes(clone: Path) -> None:
    """A module of the same size and second would otherwise be taken for the one before it."""
    before = build_overlay(pin_of(clone), PYTHON)
    for name in ("b", "__init__"):
        (before / "peft" / "__pycache__").mkdir(exist_ok=True)
        (before / "peft" / "__pycache__" / f"{name}.cpython-311.pyc").write_bytes(b"old")
    write(clone, {"src/peft/b.py": "B = 3\n"})
    commit(clone, "another number")
    after = build_overlay(pin_of(clone), PYTHON)
    assert sorted(path.name for path in (after / "peft" / "__pycache__").iterdir()) == ["__init__.cpython-311.pyc"]
    assert (before / "peft" / "__pycache__" / "b.cpython-311.pyc").exists()


def test_a_neighbour_that_vanishes_is_no_neighbour(clone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process may make room at any moment: uv is asked then, and nothing half is left."""
    build_overlay(pin_of(clone), PYTHON)
    write(clone, {"src/peft/b.py": "B = 4\n"})
    commit(clone, "another number")

    def vanished(*_: object, **__: object) -> None:
        message = "gone"
        raise FileNotFoundError(message)

    monkeypatch.setattr(shutil, "copytree", vanished)
    folder = overlay_folder(pin_of(clone), PYTHON)
    assert install_from_neighbour(folder, pin_of(clone)) is False
    assert not folder.exists()
