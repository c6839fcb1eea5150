"""The cache of environments: what is given up first, and what never."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from harness.cli import cli
from harness.environments.build import is_complete, marker_of
from harness.environments.disk import Entry, budget_bytes, entries, keep_within_budget, remove, to_give_up
from harness.errors import UsageError
from harness.paths import ROOT
from harness.progress import Progress

if TYPE_CHECKING:
    from pathlib import Path

KNOWN = st.lists(
    st.builds(
        Entry,
        folder=st.just(ROOT),
        own=st.integers(0, 100),
        linked=st.integers(0, 100),
        used=st.floats(0, 1e9),
        complete=st.booleans(),
    ),
    max_size=12,
)


@given(KNOWN, st.integers(0, 500))
def test_the_longest_unused_go_and_no_more_than_needed(known: list[Entry], budget: int) -> None:
    """What is left is within the budget; of the whole ones, none that is left was used before one that went."""
    chosen = to_give_up(known, budget)
    left = [one for one in known if all(one is not other for other in chosen)]
    assert all(one.complete for one in left)
    assert sum(one.own for one in left) <= budget or not left
    whole = [one for one in chosen if one.complete]
    assert all(gone.used <= kept.used for gone in whole for kept in left)
    if whole:
        assert sum(one.own for one in left) + whole[-1].own > budget


def make(cache: Path, name: str, *, size: int, used: int, complete: bool = True) -> Path:
    """Make a folder as a build leaves it."""
    folder = cache / "bases" / name
    folder.mkdir(parents=True)
    (folder / "code.pyc").write_bytes(os.urandom(size))
    if complete:
        marker_of(folder).write_text(json.dumps({"seconds": 1}))
        os.utime(marker_of(folder), (used, used))
    return folder


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty cache."""
    monkeypatch.setenv("PROMPT_BENCH_CACHE", str(tmp_path))
    return tmp_path


def test_a_folder_in_use_stays(cache: Path) -> None:
    """Another process holds one of two folders: the other goes, and a half-built one."""
    old, new = make(cache, "old", size=1000, used=1), make(cache, "new", size=1000, used=2)
    half = make(cache, "half", size=1000, used=3, complete=False)
    program = "import sys, pathlib; from harness.environments.build import _hold; "
    program += "_hold(pathlib.Path(sys.argv[1])); print('held', flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", program, str(old)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        gone = remove(to_give_up(entries(), 0))
        assert {one.folder.name for one in gone} == {"half", "new"}
        assert is_complete(old)
        assert not new.exists()
        assert not half.exists()
        holder.communicate("")
    assert [one.folder.name for one in remove(to_give_up(entries(), 0))] == ["old"]


def test_the_budget_is_kept_after_a_run(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over the budget, the longest unused goes; to look at sizes does not count as use."""
    make(cache, "old", size=1 << 20, used=1)
    kept = make(cache, "new", size=1 << 20, used=2)
    monkeypatch.setenv("PROMPT_BENCH_CACHE_GB", str(1.5 / 1024))
    entries()
    keep_within_budget(Progress(0))
    assert [one.folder for one in entries(measure=False)] == [kept]
    assert entries()[0].used == 2
    monkeypatch.setenv("PROMPT_BENCH_CACHE_GB", "plenty")
    with pytest.raises(UsageError, match="no number of GiB"):
        budget_bytes()


def test_clean_says_what_it_freed(cache: Path) -> None:
    """Without an option nothing whole goes; with one, what was asked for."""
    make(cache, "old", size=1000, used=1)
    assert "removed 0 of 1" in CliRunner().invoke(cli, ["admin", "clean"]).output
    assert "removed 1 of 1" in CliRunner().invoke(cli, ["admin", "clean", "--older-than", "30"]).output


CHURN = """
import os, shutil, sys
from pathlib import Path
from harness.environments.disk import entries
folder = Path(os.environ["PROMPT_BENCH_CACHE"], "bases", "churned")
print("ready", flush=True)
for number in range(400):
    (folder / "a" / "b").mkdir(parents=True, exist_ok=True)
    for name in "xyz":
        (folder / "a" / "b" / name).write_text(name)
    entries(measure=True)
    shutil.rmtree(folder)
"""


def test_sizes_are_read_while_another_process_builds_measures_and_removes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two runs look at one cache: neither meets half a marker, nor stumbles over what the other has just removed."""
    monkeypatch.setenv("PROMPT_BENCH_CACHE", str(tmp_path))
    for number in range(20):
        make(tmp_path, f"kept{number}", size=10, used=1000)
    with subprocess.Popen([sys.executable, "-c", CHURN], cwd=ROOT, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "ready\n"
        while other.poll() is None:
            assert len([one for one in entries(measure=False) if one.complete]) == 20
            entries(measure=True)
    assert other.returncode == 0
