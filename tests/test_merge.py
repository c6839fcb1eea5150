"""Joining shards: a new folder, renamed when whole; nothing that merge did not make is ever removed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from harness.cli import cli
from harness.errors import UsageError
from harness.paths import file_name
from harness.run.merge import merge_runs
from harness.run.runs import Run, find_run


@pytest.fixture
def shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Lay two shards, and something precious beside the folder of runs."""
    monkeypatch.setenv("PROMPT_BENCH_REPORTS", str(tmp_path / "reports"))
    for name in ("s1", "s2"):
        folder = Run(id=name).folder
        (folder / "records").mkdir(parents=True)
        plan: dict[str, object] = {"matrix": "m", "title": "t", "device": "cpu", "run": name, "cells": []}
        (folder / "plan.json").write_text(json.dumps(plan), encoding="utf-8")
        (folder / "records" / "a.jsonl").write_text("{}\n", encoding="utf-8")
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "thesis.txt").write_text("years of work", encoding="utf-8")
    return tmp_path


def files_of(folder: Path) -> dict[str, str]:
    """Read every file below a folder, by its path; locks are left out."""
    return {
        str(path.relative_to(folder)): path.read_text(encoding="utf-8")
        for path in folder.rglob("*")
        if path.is_file() and path.suffix != ".lock"
    }


@pytest.mark.parametrize("name", ["..", ".", "", "./s1", "../../precious", "../s1", "s1/", "a/b", "a\\b", " ", "-x"])
def test_merging_under_a_hostile_name_touches_nothing(shards: Path, name: str) -> None:
    """An id that leads elsewhere is bad usage, told in one line; every file is as before."""
    before = files_of(shards)
    told = CliRunner().invoke(cli, ["admin", "merge", "s1", "s2", f"--run-id={name}"])
    assert told.exit_code == 2, told.output
    assert len(told.output.splitlines()) == 1
    assert files_of(shards) == before


def test_merging_under_an_absolute_path_touches_nothing(shards: Path) -> None:
    """The same for a path from the root."""
    before = files_of(shards)
    told = CliRunner().invoke(cli, ["admin", "merge", "s1", "s2", "--run-id", str(shards / "precious")])
    assert told.exit_code == 2, told.output
    assert files_of(shards) == before


@pytest.mark.parametrize("command", [["run", "documented"], ["admin", "publish"], ["report"]])
def test_no_command_takes_a_run_id_that_leads_elsewhere(shards: Path, command: list[str]) -> None:
    """Wherever an id becomes a path it is checked."""
    before = files_of(shards)
    named = ["--run-id", "../../x"] if command[0] == "run" else ["../../x"]
    told = CliRunner().invoke(cli, [*command, *named])
    assert told.exit_code == 2, told.output
    assert files_of(shards) == before


def test_publishing_a_plan_whose_matrix_leads_elsewhere_writes_nothing(shards: Path) -> None:
    """A plan is input: the matrix that it names is checked before it becomes a path."""
    plan = Run(id="s1").plan_path
    plan.write_text(plan.read_text(encoding="utf-8").replace('"m"', '"../../../x"'), encoding="utf-8")
    before = files_of(shards)
    told = CliRunner().invoke(cli, ["admin", "publish", "s1"])
    assert told.exit_code == 2, told.output
    assert files_of(shards) == before


@pytest.mark.usefixtures("shards")
def test_a_run_that_was_measured_is_not_replaced() -> None:
    """Merge replaces what merge made, and nothing else; nothing is left behind."""
    runs = [find_run("s1")]
    with pytest.raises(UsageError, match="was not made by merge"):
        merge_runs(runs, Run(id="s2"))
    (Run(id="s1").folder.parent / "mine").mkdir()
    with pytest.raises(UsageError, match="was not made by merge"):
        merge_runs(runs, Run(id="mine"))
    for _ in range(2):
        merge_runs(runs, Run(id="both"))
    there = {path.name for path in Run(id="s1").folder.parent.iterdir() if path.suffix != ".lock"}
    assert there == {"s1", "s2", "mine", "both"}
    assert find_run("both").plan().merged == ("s1",)


def test_a_link_among_the_records_is_not_followed(shards: Path) -> None:
    """What a link leads to is no record of the shard, and would be published."""
    (Run(id="s1").folder / "records" / "b.jsonl").symlink_to(shards / "precious" / "thesis.txt")
    (Run(id="s1").folder / "records" / "c.jsonl").mkdir()
    merge_runs([find_run("s1")], Run(id="both"))
    assert [path.name for path in (Run(id="both").folder / "records").iterdir()] == ["s1.a.jsonl"]


@given(st.text(max_size=40))
def test_a_name_stays_one_part_of_a_path(name: str) -> None:
    """Whatever the text: it is refused, or it names exactly one new entry of a folder."""
    try:
        kept = file_name(name, "run id")
    except UsageError:
        return
    assert Path("folder", kept).parts == ("folder", name)
    assert name not in {".", ".."}
