"""The noxfile: quick to list, and a run that is named by an empty word has a name all the same."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from harness.environments.index import uv_environment
from harness.environments.locks import lock_book
from harness.environments.uv import find_uv
from harness.interface import Outcome
from harness.matrix.cases import load_cases
from harness.matrix.plan import Selection, plan_run
from harness.matrix.read import load_matrix
from harness.paths import ROOT
from harness.run.pipeline import _requests
from harness.run.store import Store
from tests.planted import record

if TYPE_CHECKING:
    from pathlib import Path

PROGRAM = """
import os, runpy, sys
sys.argv = ["nox", *sys.argv[1:]]
found = runpy.run_path("noxfile.py")
print(os.environ["PROMPT_BENCH_RUN"])
slow = {"harness.run.store", "harness.run.pipeline", "harness.environments.index", "sqlite3"}
print(*sorted(sys.modules.keys() & slow))
print(len(found["WANTED_BASES"]), len(found["MATRIX"].bases))
"""


def loaded(
    *words: str, folder: Path = ROOT, python: str = sys.executable, **environ: str
) -> tuple[str, set[str], tuple[int, int]]:
    """Read the noxfile as nox would with these words: the run's name, what was imported, bases wanted and there."""
    environ = {**os.environ, **environ}
    command = [python, "-c", PROGRAM, *words]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, env=environ, check=False)
    assert done.returncode == 0, done.stderr
    name, modules, bases = done.stdout.splitlines()
    wanted, there = map(int, bases.split())
    return name, set(modules.split()), (wanted, there)


@pytest.mark.parametrize("words", [["-l"], ["-l", "--json"], ["-s", "lint"], ["--session", "base(torch2.13.0)"]])
def test_listing_opens_no_store_and_asks_nobody(words: list[str]) -> None:
    """Who lists, or runs a session apart from the matrix, waits for no database, no pip and no resolver."""
    _, modules, (wanted, there) = loaded(*words)
    assert modules == set()
    assert wanted == there


def checkout(folder: Path) -> Path:
    """Make a folder that is this project, without what nox has made in it."""
    folder.mkdir()
    for path in ROOT.iterdir():
        if path.name not in {".nox", ".git"}:
            (folder / path.name).symlink_to(path)
    return folder


@pytest.mark.parametrize("words", [[], ["-s", "matrix"], ["-s", "tests", "matrix"], ["-j", "2"]])
def test_the_main_job_leaves_out_bases_that_have_nothing_to_measure(words: list[str], tmp_path: Path) -> None:
    """What the matrix session requires is looked up in the store when that session may run."""
    folder, matrix = checkout(tmp_path / "project"), load_matrix("documented")
    python = folder / ".nox" / "harness" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n', encoding="utf-8")
    python.chmod(0o755)
    environ = {"PROMPT_BENCH_REPORTS": str(tmp_path / "reports")}
    assert loaded(*words, folder=folder, **environ)[2] == (len(matrix.bases), len(matrix.bases))
    known = [one for one in plan_run(matrix, load_cases(), Selection()) if one.cell.base_id == matrix.bases[0]]
    (tmp_path / "reports").mkdir()
    store, book = Store(tmp_path / "reports" / "store.sqlite"), lock_book(matrix)
    for one in known:
        lock = book.get(one.cell)
        assert lock is not None
        passed = record({"peft": "1.0"}, Outcome.PASSED)
        store.add(replace(passed, key=request.key) for request in _requests(one, lock, matrix))
    assert loaded(*words, folder=folder, **environ)[2] == (len(matrix.bases) - 1, len(matrix.bases))


def test_the_main_job_starts_with_what_nox_itself_brings(tmp_path: Path) -> None:
    """In an environment with nox alone, as the README makes it, all bases are wanted: nothing is known."""
    venv = tmp_path / "venv"
    uv = find_uv()
    subprocess.run([uv, "venv", "-q", "--python", sys.executable, str(venv)], env=uv_environment(), check=True)
    python = str(venv / "bin" / "python")
    subprocess.run([uv, "pip", "install", "-q", "--python", python, "nox[uv]"], env=uv_environment(), check=True)
    _, _, (wanted, there) = loaded("-s", "matrix", folder=checkout(tmp_path / "project"), python=python)
    assert wanted == there > 0


@pytest.mark.parametrize("given", ["", "nightly"])
def test_an_empty_name_of_a_run_is_none(given: str) -> None:
    """CI passes an empty variable on where nothing was given; the run then gets a name of its own."""
    name, _, _ = loaded("-l", PROMPT_BENCH_RUN=given)
    assert name == given if given else name.startswith("documented-")
