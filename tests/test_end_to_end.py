"""The main job as a user runs it: a real matrix of two old releases, from TOML to the verdict."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from harness.paths import ROOT

if TYPE_CHECKING:
    from pathlib import Path

MATRIX = """
[matrix]
title = "Two real releases and one that cannot be"
torch = "2.13.0"
cases = ["generate_with_cache"]

[[cell]]
why = "document 000: 37 against 57"
peft = "0.13.0"
transformers = "4.45.1"

[[cell]]
why = "the release that cures it, whatever the transformers"
peft = "0.14.0"
transformers = "4.45.1"

[[cell]]
why = "no such release"
peft = "0.13.99"
transformers = "4.45.1"
state = "unsatisfiable"
"""
EXPRESSION = "generate_with_cache:bloom-prompt_tuning-cached,generate_with_cache:gpt2-prompt_tuning-cached"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a folder with the matrix; reports go there, too."""
    folder = tmp_path_factory.mktemp("e2e")
    (folder / "two.toml").write_text(MATRIX, encoding="utf-8")
    return folder


def command(place: Path, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a command of the harness with its reports in the test's folder."""
    environ = {**os.environ, "PROMPT_BENCH_REPORTS": str(place / "reports")}
    arguments = (sys.executable, "-m", *arguments)
    return subprocess.run(arguments, capture_output=True, text=True, cwd=ROOT, env=environ, check=False, **options)


def records(place: Path, run: str) -> list[dict[str, Any]]:
    """Read a run's records."""
    files = (place / "reports" / "runs" / run / "records").glob("*.jsonl")
    return [json.loads(line) for file in files for line in file.read_text(encoding="utf-8").splitlines()]


def test_a_matrix_is_measured_judged_and_never_measured_twice(place: Path) -> None:
    """The defect shows on the broken release and not on the cured one; a second run measures nothing."""
    one = command(place, "harness", "run", str(place / "two.toml"), "--case", EXPRESSION, "--run-id", "first")
    assert one.returncode == 0, one.stderr
    assert "4 variants to measure" in one.stderr
    by_place = {
        (r["cell"]["packages"]["peft"], r["variant"]["model"]): r for r in records(place, "first") if "key" in r
    }
    assert by_place["0.13.0", "bloom"]["outcome"] == "error"
    assert "(37) must match the existing size (57)" in by_place["0.13.0", "bloom"]["message"]
    assert by_place["0.14.0", "bloom"]["outcome"] == "passed"
    assert by_place["0.14.0", "gpt2"]["outcome"] == "passed"
    counters = by_place["0.14.0", "bloom"]["counters"]
    assert counters["forward_calls"] == 8
    assert by_place["0.14.0", "bloom"]["latency"]["ratio"] > 0
    (refused,) = [r for r in records(place, "first") if "state" in r["cell"]]
    assert "peft" in refused["message"]

    two = command(place, "harness", "run", str(place / "two.toml"), "--case", EXPRESSION, "--run-id", "second")
    assert "0 variants to measure, 4 known from earlier runs" in two.stderr
    assert {r["key"]: r["time"] for r in records(place, "second") if "key" in r} == {
        r["key"]: r["time"] for r in records(place, "first") if "key" in r
    }
    fresh = command(
        place, "harness", "run", str(place / "two.toml"), "--case", EXPRESSION, "--run-id", "third", "--fresh"
    )
    assert "4 variants to measure" in fresh.stderr

    report = command(place, "harness", "report", "second")
    assert report.returncode == 0, report.stdout
    assert "unsatisfiable" in report.stdout
    assert "\nverdict: all as expected (exit 0). " in report.stdout
    benchmark = json.loads((place / "reports/runs/first/benchmarks").joinpath(one_benchmark(place)).read_text())
    assert benchmark["benchmarks"][0]["stats"]["data"]


def one_benchmark(place: Path) -> str:
    """Name the benchmark file of the cured cell."""
    (path,) = (place / "reports/runs/first/benchmarks").glob("peft0.14.0-*.json")
    return path.name


def test_without_a_gpu_cuda_is_refused_at_once(place: Path) -> None:
    """A machine without a GPU says so in a line before anything is prepared, and the status is nothing measured."""
    if os.path.exists("/dev/nvidiactl"):  # noqa: PTH110 - a device
        pytest.skip("this machine has a GPU: the CUDA variants are measured by the cases themselves")
    run = command(
        place, "harness", "run", str(place / "two.toml"), "--device", "cuda", "--case", EXPRESSION, "--run-id", "cuda"
    )
    assert run.returncode == 3
    assert run.stderr.startswith("no GPU here: ")
    assert not (place / "reports" / "runs" / "cuda").exists()
