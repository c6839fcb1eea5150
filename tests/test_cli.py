"""The commands as a user types them: refusals are one clear line and a status, before any work."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from harness.paths import ROOT

if TYPE_CHECKING:
    from pathlib import Path


def harness(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run ``python -m harness`` in the repository."""
    command = [sys.executable, "-m", "harness", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run", "documentd"], "did you mean 'documented'?"),
        (["run", "documented", "--case", "nonsense"], "no case 'nonsense'; "),
        (["run", "documented", "--cell", "peft9"], "no cell 'peft9'"),
        (["run", "documented", "--device", "tpu"], "'tpu'"),
        (["run", "documented", "--shard", "5/4"], "is not I/N"),
        (["report", "nonsense"], "no run 'nonsense'"),
        (["plan", "torch", "--case", "one_plus_one_round_trip"], "nothing in matrix torch"),
        (["run", "documented", "--resume", "a", "--run-id", "b"], "--resume or --run-id"),
        (["run", "documented", "--shard", "1/2", "--base", "torch"], "--shard splits all bases"),
        (
            ["bisect", "--case", "generate_with_cache", "--peft", "0.21.2", "--transformers", "5.24.0"],
            "are both held: give --axis PACKAGE",
        ),
        (["bisect", "--case", "generate_with_cache", "--corners"], "--corners compares two cells"),
        (["bisect", "--case", "generate_with_cache", "--axis", "pfet"], "no cell pins that; did you mean peft?"),
        (["bisect", "--case", "generate_with_cache", "--model", "lama", "--axis", "peft"], "model=llama"),
        (["bisect", "--case", "generate_with_cache", "--axis", "peft", "--pin", "torch"], "is not NAME=VALUE"),
        (
            ["bisect", "--case", "generate_with_cache", "--good", "peft0.9.9-", "--bad", "a=b"],
            "no cell 'peft0.9.9-' in matrix grid",
        ),
        (["frobnicate"], "frobnicate"),
    ],
)
def test_bad_usage_is_one_clear_line_and_exit_two(arguments: list[str], words: str) -> None:
    """Nothing is resolved or installed for a command that cannot be meant."""
    done = harness(*arguments)
    assert done.returncode == 2
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_a_bad_matrix_file_lists_its_mistakes(tmp_path: Path) -> None:
    """Every mistake with file and line."""
    path = tmp_path / "m.toml"
    path.write_text('[matrix]\ntorch = "x"\n[[cell]]\npft = "1"\n', encoding="utf-8")
    done = harness("run", str(path))
    assert done.returncode == 2
    assert [line.split(":")[1] for line in done.stderr.splitlines()] == ["2", "3", "3", "4"]


def test_planning_touches_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A plan lists cells and costs without a resolver, an index, a cache or a run."""
    monkeypatch.setenv("PROMPT_BENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PROMPT_BENCH_REPORTS", str(tmp_path / "reports"))
    done = harness("plan", "documented", "--case", "generate_with_cache")
    assert done.returncode == 0
    assert "20 cells, 800 variants" in done.stdout
    assert list(tmp_path.iterdir()) == []
