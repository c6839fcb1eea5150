"""The noxfile: quick to list, and a run that is named by an empty word has a name all the same."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from harness.paths import ROOT

PROGRAM = """
import os, runpy, sys
sys.argv = ["nox", *sys.argv[1:]]
found = runpy.run_path("noxfile.py")
print(os.environ["PROMPT_BENCH_RUN"])
slow = {"harness.run.store", "harness.run.pipeline", "harness.environments.index", "sqlite3"}
print(*sorted(sys.modules.keys() & slow))
print(len(found["WANTED_BASES"]), len(found["MATRIX"].bases))
"""


def loaded(*words: str, **environ: str) -> tuple[str, set[str], tuple[int, int]]:
    """Read the noxfile as nox would with these words: the run's name, what was imported, bases wanted and there."""
    environ = {**os.environ, **environ}
    command = [sys.executable, "-c", PROGRAM, *words]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environ, check=True)
    name, modules, bases = done.stdout.splitlines()
    wanted, there = map(int, bases.split())
    return name, set(modules.split()), (wanted, there)


@pytest.mark.parametrize("words", [["-l"], ["-l", "--json"], ["-s", "lint"], ["--session", "base(torch2.13.0)"]])
def test_listing_opens_no_store_and_asks_nobody(words: list[str]) -> None:
    """Who lists, or runs a session apart from the matrix, waits for no database, no pip and no resolver."""
    _, modules, (wanted, there) = loaded(*words)
    assert modules == set()
    assert wanted == there


@pytest.mark.parametrize("words", [[], ["-s", "matrix"], ["-s", "tests", "matrix"], ["-j", "2"]])
def test_the_main_job_leaves_out_bases_that_have_nothing_to_measure(words: list[str]) -> None:
    """What the matrix session requires is looked up in the store when that session may run."""
    assert "harness.run.store" in loaded(*words)[1]


@pytest.mark.parametrize("given", ["", "nightly"])
def test_an_empty_name_of_a_run_is_none(given: str) -> None:
    """CI passes an empty variable on where nothing was given; the run then gets a name of its own."""
    name, _, _ = loaded("-l", PROMPT_BENCH_RUN=given)
    assert name == given if given else name.startswith("documented-")
