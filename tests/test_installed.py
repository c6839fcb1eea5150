"""The project installed from its wheel, and typed where something is missing."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from harness.environments.index import uv_environment
from harness.environments.uv import find_uv
from harness.paths import ROOT
from tests.test_questions import QUESTIONS

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

NOT_WHERE_IT_WAS = {"PYTHONPATH", "PROMPT_BENCH_REPORTS", "VIRTUAL_ENV", "CONDA_PREFIX"}


def make_environment(folder: Path, *packages: str) -> Path:
    """Make a virtual environment with packages, and return the folder of its programs."""
    commands = [[find_uv(), "venv", "-q", "--python", sys.executable, str(folder)]]
    if packages:
        commands += [[find_uv(), "pip", "install", "-q", "--python", str(folder / "bin" / "python"), *packages]]
    for command in commands:
        subprocess.run(command, env=uv_environment(), check=True)
    return folder / "bin"


def run(command: Sequence[str | Path], cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run a command in a folder, as somebody would who has no checkout."""
    environ = {name: value for name, value in os.environ.items() if name not in NOT_WHERE_IT_WAS}
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=environ, check=False)


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make an environment in which nothing is installed; returns the folder of its programs."""
    return make_environment(tmp_path_factory.mktemp("bare") / "venv")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel and install it into an environment of its own; returns the folder of its programs."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [find_uv(), "build", "-q", "--wheel", "--out-dir", str(folder), str(ROOT)]
    subprocess.run(command, env=uv_environment(), check=True)
    (wheel,) = folder.glob("*.whl")
    return make_environment(folder / "venv", str(wheel))


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["explain", "generate_with_cache", "--offline"], "from all published records"),
        (["claims", "--document", "003"], "claims: "),
        (["plan", "documented", "--case", "generate_with_cache"], "20 cells"),
        (["--help"], "Usage: prompt-bench"),
    ],
)
def test_the_installed_program_answers_from_an_empty_folder(
    installed: Path, tmp_path: Path, words: list[str], told: str
) -> None:
    """The cases, matrices and reference records come along; nothing is written."""
    done = run([installed / "prompt-bench", *words], tmp_path)
    assert "Traceback" not in done.stderr
    assert done.returncode in {0, 1}, done.stderr
    assert told in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_an_installed_program_names_itself_in_what_it_says(installed: Path, tmp_path: Path) -> None:
    """Who typed prompt-bench is told to type prompt-bench, and runs are looked for in the folder that is current."""
    done = run([installed / "prompt-bench", "report"], tmp_path)
    assert done.returncode == 2
    assert done.stderr == "nothing was run yet; start with: prompt-bench run documented\n"


def test_nothing_else_of_the_environment_lies_in_the_folder_that_cells_get(installed: Path, tmp_path: Path) -> None:
    """A worker has the project's folder on its path: packages of the harness must not lie in it."""
    code = "from harness.paths import ROOT; print(*sorted(one.name for one in ROOT.iterdir()))"
    done = run([installed / "python", "-c", code], tmp_path)
    assert done.stdout.split() == ["cases", "harness", "matrices", "reports"]


def test_here_without_torch_is_one_line(installed: Path, tmp_path: Path) -> None:
    """What is missing is named, with the command that installs it."""
    done = run([installed / "prompt-bench", "here"], tmp_path)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert "torch" in line
    assert "-m pip install peft transformers torch" in line


@pytest.mark.parametrize("question", QUESTIONS)
def test_the_questions_are_answered_from_an_empty_folder(installed: Path, tmp_path: Path, question: str) -> None:
    """The same first line as in a checkout, without torch, and nothing is written."""
    words, status, first = QUESTIONS[question]
    done = run([installed / "prompt-bench", "advise", *words], tmp_path)
    assert done.stderr == ""
    assert done.stdout.splitlines()[0] == first
    assert done.returncode == status
    assert list(tmp_path.iterdir()) == []


def test_the_pins_of_a_file_are_judged_without_torch(installed: Path, tmp_path: Path) -> None:
    """The ninth question, in an environment that has neither torch nor peft."""
    (tmp_path / "requirements.txt").write_text("peft==0.21.2\ntransformers==5.24.0\n", encoding="utf-8")
    done = run([installed / "prompt-bench", "advise", "--installed", "requirements.txt"], tmp_path)
    assert done.stdout.startswith("Not safe: prompt learning is silently wrong with peft 0.21.2")
    assert "Pin transformers==5.23.0: the nearest that was measured and works." in done.stdout
    assert done.returncode == 1
    alone = run([installed / "prompt-bench", "advise", "--installed"], tmp_path)
    assert alone.returncode == 2
    assert "no peft and no transformers in" in alone.stderr


@pytest.mark.parametrize("words", [[], ["--help"], ["plan"], ["advise", "--peft", "0.13.2"], ["gate"]])
@pytest.mark.parametrize("module", ["harness", "harness.selfcheck"])
def test_without_its_packages_the_program_says_what_to_run(bare: Path, words: list[str], module: str) -> None:
    """In a checkout with a Python that has none of the dependencies: one line, no traceback."""
    done = run([bare / "python", "-m", module, *words], ROOT)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"python -m {module}: click is not installed")
    assert f"{bare / 'python'} -m pip install {ROOT}" in line
