"""``explain`` as a user types it, on planted records."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from harness.cli import cli
from harness.judge import reference
from harness.judge.reference import write_reference
from harness.matrix.read import load_matrix
from harness.paths import ROOT
from harness.run.runs import Run
from tests.planted import LLAMA, grid, record, write_run

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

PREFIX = {**LLAMA, "method": "prefix_tuning"}


def truth(packages: Mapping[str, str], variant: Mapping[str, str]) -> str:
    """Be wrong with peft before 0.12 and transformers from 4.42, in one method."""
    old = packages["peft"] in {"0.9.0", "0.10.0", "0.11.1"} and packages["transformers"] >= "4.42"
    return "wrong" if old and variant["method"] == "p_tuning" else "passed"


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Write a planted run, publish it as the grid, and know some releases."""
    monkeypatch.setenv("PROMPT_BENCH_REPORTS", str(tmp_path))
    monkeypatch.setenv("PROMPT_BENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(reference, "REFERENCE", tmp_path / "reference")
    kept = tmp_path / "cache" / "releases"
    kept.mkdir(parents=True)
    (kept / "peft.json").write_text('["0.9.0", "0.10.0", "0.11.1", "0.12.0", "0.13.0", "0.14.0"]', encoding="utf-8")
    (kept / "transformers.json").write_text('["4.41.2", "4.42.0", "4.42.4", "5.0.0"]', encoding="utf-8")
    this = Run(id="planted")
    write_run(this, grid(truth, [LLAMA, PREFIX]))
    write_reference(this, "grid")
    return this


def explain(*arguments: str) -> Any:
    """Run the command."""
    return CliRunner().invoke(cli, ["explain", *arguments, "--offline"])


def test_the_windows_are_printed_with_what_is_certain(run: Run) -> None:
    """From a run, and from the reference, which is asked when nothing is named."""
    for source in (["--run", run.id], ["--matrix", "grid"], []):
        done = explain("generate_with_cache", *source)
        assert done.exit_code == 0
        assert "9   peft < 0.12.0, and transformers >= 4.42.4" in done.output
        assert "certain: peft 0.11.1 | 0.12.0" in done.output
        assert "1 of 2 ends of windows are certain" in done.output
        assert max(map(len, done.output.splitlines())) <= 100


def test_the_printed_commands_lead_to_the_cell(run: Run, tmp_path: Path) -> None:
    """The matrix that is written has the cell that the sentence names."""
    path = tmp_path / "decide.toml"
    done = explain("generate_with_cache", "--run", run.id, "--write-cells", str(path))
    assert done.exit_code == 0
    (cell,) = load_matrix(str(path)).cells
    assert f"to decide: {cell.id}" in " ".join(done.output.split())
    assert f"python -m harness run {path} --cell {cell.id}" in " ".join(done.output.replace("\\\n", "").split())


def test_a_measured_cell_is_asked_beside_the_reference(run: Run) -> None:
    """The cell that decides, measured in a run of its own, makes the end certain."""
    packages = {"peft": "0.11.1", "transformers": "4.42.0"}
    write_run(Run(id="decided"), [record(packages, "passed", matrix="decide")], "decide")
    before = explain("generate_with_cache", "--matrix", "grid")
    after = explain("generate_with_cache", "--matrix", "grid", "--run", "decided")
    assert "1 of 2 ends of windows are certain" in before.output
    assert "2 of 2 ends of windows are certain" in after.output
    assert run.id not in after.output


def test_filters_narrow_what_is_explained(run: Run) -> None:
    """Variants and versions; nothing left is exit status 3."""
    one = json.loads(explain("generate_with_cache", "--where", "method=prefix_tuning,peft<0.12", "--json").output)
    assert [group["windows"] for group in one["groups"]] == [[]]
    assert one["axes"]["peft"] == ["0.9.0", "0.10.0", "0.11.1"]
    none = explain("generate_with_cache", "--run", run.id, "--where", "peft>=1")
    assert none.exit_code == 3
    assert explain("prompt_tuning_guide", "--run", run.id).exit_code == 3


def test_left_out_cells_are_predicted(run: Run) -> None:
    """The accuracy with its range, and beside it what saying 'passed' would have given."""
    done = explain("generate_with_cache", "--run", run.id, "--hold-out", "0.2", "--seeds", "5")
    assert done.exit_code == 0
    assert "6 of 30 cells left out" in done.output
    assert "on average over 5 seeds" in done.output
    data = json.loads(explain("generate_with_cache", "--hold-out", "0.2", "--seeds", "5", "--json").output)
    assert [trial["seed"] for trial in data["trials"]] == [0, 1, 2, 3, 4]
    assert explain("generate_with_cache", "--where", "peft==0.9.0", "--hold-out", "0.01").exit_code == 3


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["generate"], "did you mean"),
        (["generate_with_cache", "--matrix", "gird"], "there are: grid"),
        (["generate_with_cache", "--run", "nothing"], "no run 'nothing'"),
        (["generate_with_cache", "--where", "metod=x"], "did you mean method"),
        (["generate_with_cache", "--hold-out", "2"], "--hold-out"),
        (["generate_with_cache", "--write-cells", "cells.json"], "ends in .toml"),
        (["generate_with_cache", "--write-cells", "/no/such/folder/cells.toml"], "folder that is there"),
    ],
)
def test_what_is_not_understood_is_refused(run: Run, arguments: list[str], words: str) -> None:
    """One line with what to do, and exit status 2."""
    assert run.folder.is_dir()
    done = explain(*arguments)
    assert words in done.output
    assert done.exit_code == 2


def test_without_reference_records_the_way_to_some_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing published and nothing named: how to measure, and exit status 2."""
    monkeypatch.setenv("PROMPT_BENCH_REPORTS", str(tmp_path))
    monkeypatch.setattr(reference, "REFERENCE", tmp_path)
    for command in (["explain", "generate_with_cache"], ["advise", "--method", "lora"]):
        done = CliRunner().invoke(cli, command)
        assert "no reference records here; measure with: python -m harness run documented" in done.output
        assert done.exit_code == 2


def test_asking_for_help_loads_no_learner() -> None:
    """The commands stay quick to start: the learner is imported when it is used."""
    heavy = {"harness.explain.learn", "harness.judge.cover", "harness.judge.boxes"}
    code = f"import sys, harness.cli; print(*sys.modules.keys() & {heavy})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.split() == []
