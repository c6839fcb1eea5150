"""Properties in a real cell: what fails is shrunk, kept, and tried again where it was not found."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from harness.environments.index import clean_environment
from harness.paths import ROOT

if TYPE_CHECKING:
    from pathlib import Path

    from harness.environments.build import Environment

PROGRAM = """
import json, sys
from pathlib import Path
sys.path[:0] = {overlays}
sys.path += {behind} + [{root!r}]
from hypothesis import strategies as st
from harness.kit import Trial, for_all_examples

def prove(size, noise):
    calls.append(size)
    trial.expect(size < limit, "too large")

limit, examples, folder = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
calls = []
trial = Trial(variant={{}}, scratch=folder, name="planted-a/b", examples=examples,
              memory=folder / "memory" / sys.argv[4], told=folder / "told.jsonl")
failed = None
try:
    for_all_examples(trial, prove, size=st.integers(0, 1000), noise=st.booleans())
except Exception as error:
    failed = type(error).__name__
print(json.dumps({{"failed": failed, "calls": calls, **trial.evidence}}))
"""


@pytest.fixture
def run(old_environment: Environment, tmp_path: Path) -> Any:
    """Return the function that holds the planted property in a process of the cell."""
    overlays, behind = [[str(path) for path in paths] for paths in (old_environment.overlays, old_environment.behind)]
    program = tmp_path / "program.py"
    program.write_text(PROGRAM.format(overlays=overlays, behind=behind, root=str(ROOT)), encoding="utf-8")

    def one(limit: int, cell: str, *, examples: int = 100) -> dict[str, Any]:
        command = [str(old_environment.python), "-P", str(program), str(limit), str(examples), str(tmp_path), cell]
        done = subprocess.run(
            command, capture_output=True, text=True, env=clean_environment({}), cwd=tmp_path, check=False
        )
        assert done.returncode == 0, done.stderr
        return dict(json.loads(done.stdout))

    return one


def test_a_failing_example_is_shrunk_told_to_other_cells_and_remembered(run: Any) -> None:
    """The smallest example is the evidence; the next cell tries it first, and the next run begins with it."""
    first = run(500, "one")
    assert first["failed"] == "WrongAnswer"
    assert first["example"] == {"size": 500, "noise": False}
    assert first["replayed"] == 0

    other = run(400, "two", examples=1)
    assert other["failed"] == "WrongAnswer"
    assert other["calls"] == [500], "the other cell should try what was told before anything else"
    assert other["replayed"] == 1

    immune = run(2000, "three", examples=3)
    assert immune["failed"] is None
    assert immune["calls"][0] == 500
    assert "example" not in immune
    # The budget bounds what hypothesis draws; what was told comes on top.
    assert immune["tried"] == 1 + 3


def test_the_next_run_begins_with_what_failed_in_the_last_one(run: Any, tmp_path: Path) -> None:
    """Without the run's file the cell's own memory is left: one example is enough to find the fault again."""
    run(500, "one")
    (tmp_path / "told.jsonl").unlink()
    again = run(500, "one", examples=1)
    assert again["failed"] == "WrongAnswer"
    assert again["example"] == {"size": 500, "noise": False}
    (tmp_path / "told.jsonl").unlink()
    elsewhere = run(500, "another", examples=1)
    assert elsewhere["failed"] is None, "another cell has a memory of its own"


def test_the_examples_of_a_cell_are_the_same_every_time(run: Any) -> None:
    """Two cells without failures try the same examples in the same order."""
    assert run(2000, "one", examples=20)["calls"] == run(2000, "two", examples=20)["calls"]
