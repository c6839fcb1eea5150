"""Scripts on real releases: the same outcome and signature as the record, and the exit status with it."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from harness.contracts.records import read_run, variants_in
from harness.matrix.cases import find_case, load_cases
from harness.matrix.read import load_matrix
from harness.paths import ROOT
from harness.repro.choose import lock_of
from harness.repro.demonstrate import Window, show
from harness.repro.execute import read_verdict, run_scripts
from harness.repro.script import script
from tests.conftest import OLD_CELL

if TYPE_CHECKING:
    from pathlib import Path

    from harness.contracts.record import VariantRecord
    from harness.environments.build import Environment

pytestmark = pytest.mark.slow

MATRIX = """
[matrix]
torch = "2.13.0"
latency = false
[[cell]]
peft = "0.13.0"
transformers = "4.45.1"
"""
PLACES = {
    "generate_with_cache:bloom-prompt_tuning-cached": ("error", 1),
    "generate_with_cache:llama-prefix_tuning-cached": ("wrong", 1),
    "generate_with_cache:gpt2-prompt_tuning-cached": ("passed", 0),
    "prompt_tuning_guide:llama-generate": ("wrong", 1),
    "one_plus_one_round_trip:llama-prefix_tuning-two_devices": ("no-device", 2),
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a folder with the matrix and measure the places in it."""
    folder = tmp_path_factory.mktemp("repro")
    (folder / "one.toml").write_text(MATRIX, encoding="utf-8")
    command = [sys.executable, "-m", "harness", "run", str(folder / "one.toml"), "--case", ",".join(PLACES)]
    environ = {**os.environ, "PROMPT_BENCH_REPORTS": str(folder / "reports")}
    subprocess.run([*command, "--run-id", "measured", "--quiet"], cwd=ROOT, env=environ, check=True)
    return folder


def record_of(place: Path, name: str) -> VariantRecord:
    """Return the record of a place by its name."""
    for record in variants_in(read_run(place / "reports" / "runs" / "measured")):
        variant = {axis: value for axis, value in record.variant.items() if axis not in {"device", "dtype"}}
        if name == f"{record.case}:{'-'.join(variant.values())}":
            return record
    raise KeyError(name)


def write(place: Path, name: str) -> Path:
    """Write the script of a place."""
    record = record_of(place, name)
    matrix = load_matrix(str(place / "one.toml"))
    text = script(
        find_case(load_cases(), record.case), record.variant, lock_of(matrix, matrix.cells[0]), OLD_CELL.python
    )
    path = place / f"{name.replace(':', '_')}.py"
    path.write_text(text, encoding="utf-8")
    return path


def test_scripts_say_what_the_records_say(place: Path, old_environment: Environment) -> None:
    """An error with its signature, wrong answers in their words, a pass, and what this machine cannot tell."""
    paths = [write(place, name) for name in PLACES]
    statuses = dict(zip(PLACES, run_scripts(paths, old_environment), strict=True))
    for name, path in zip(PLACES, paths, strict=True):
        output = path.with_suffix(".py.out").read_text(encoding="utf-8")
        record = record_of(place, name)
        assert (record.outcome, statuses[name]) == PLACES[name], output
        assert read_verdict(output) == (record.outcome, record.signature, record.message or "as expected"), name
        assert "peft 0.13.0" in output.splitlines()[0]


def test_uv_runs_a_script_as_anybody_would(place: Path) -> None:
    """`uv run` builds what the metadata asks for, and the defect is there with nothing of ours around."""
    name = "generate_with_cache:bloom-prompt_tuning-cached"
    record = record_of(place, name)
    window = Window(
        case=find_case(load_cases(), record.case), variant=dict(record.variant), cell=OLD_CELL, expectation=None
    )
    shown = show(write(place, name), window, record)
    assert shown.same, shown
    assert "BloomAttention.forward" in str(shown.signature)
    different = show(write(place, name), window, replace(record, signature="another"))
    assert not different.same, "the comparison can fail"
