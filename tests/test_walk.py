"""The page on adding a case, typed line by line in a copy of the checkout."""

from __future__ import annotations

import gzip
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from harness.cli import cli
from harness.commands.cases.new import SKELETON
from harness.environments.index import uv_environment
from harness.paths import ROOT

if TYPE_CHECKING:
    from pathlib import Path

PAGE = (ROOT / "docs" / "cases.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^    prompt-bench (.+)$", PAGE, re.MULTILINE)


def test_the_page_shows_the_skeleton() -> None:
    """What `cases new` writes is what the page shows."""
    assert f"```python\n{SKELETON}```" in PAGE


@pytest.mark.parametrize(
    ("name", "words"),
    [("Repetition", "is no name for a case"), ("../x", "is no name"), ("beam_search", "is there already")],
)
def test_a_name_that_cannot_be_is_refused(name: str, words: str) -> None:
    """One line with what to write instead, and nothing is written."""
    done = CliRunner().invoke(cli, ["cases", "new", name])
    assert done.exit_code == 2
    assert words in done.output


def test_the_skeleton_lacks_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is whole as the catalogue asks of a case."""
    from harness.judge.completeness import missing_from_case

    module = sys.modules["harness.commands.cases.new"]
    monkeypatch.setattr(module, "CASES", tmp_path)
    monkeypatch.setattr(module, "ROOT", tmp_path)
    done = CliRunner().invoke(cli, ["cases", "new", "planted"])
    assert done.exit_code == 0, done.output
    assert missing_from_case(tmp_path / "planted.py") == []


@pytest.mark.slow
def test_the_page_leads_from_the_empty_file_to_published_records(tmp_path: Path) -> None:
    """Each command ends well; what the page says passes does, and what fails beside 5.24.0 is published."""
    for name in ("harness", "cases", "matrices", "docs", "reports/reference"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    environ = {**os.environ, **uv_environment(), "PROMPT_BENCH_REPORTS": str(tmp_path / "reports")}
    assert len(COMMANDS) == 9
    for line in COMMANDS:
        command = [sys.executable, "-m", "harness", *shlex.split(line)]
        done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environ, check=False)
        assert "Traceback" not in done.stderr
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
    first = (tmp_path / "reports" / "runs" / "first" / "records").glob("*.jsonl")
    lines = [json.loads(line) for path in first for line in path.read_text(encoding="utf-8").splitlines()]
    failed = ["-".join(one["variant"].values()) for one in lines if one["outcome"] != "passed"]
    assert len(lines) == 16
    assert failed == ["llama-prefix_tuning-uncached-cpu-float32"]
    assert 'defect = "unattributed"' in (tmp_path / "cases/expected/repetition_penalty.toml").read_text(
        encoding="utf-8"
    )
    with gzip.open(tmp_path / "reports" / "reference" / "repetition_penalty.jsonl.gz") as published:
        outcomes = [(one["variant"]["method"], one["outcome"]) for one in map(json.loads, published)]
    assert len(outcomes) == 16
    assert {outcome for method, outcome in outcomes if method == "lora"} == {"passed"}
    assert {outcome for method, outcome in outcomes if method == "prompt_tuning"} > {"passed"}
