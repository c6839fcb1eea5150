"""The help of the commands: it fits a screen, names the groups, and its examples are run."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import click
import pytest
from click.testing import CliRunner

from harness.cli import cli
from harness.environments.index import clean_environment
from harness.paths import ROOT
from harness.program import PROGRAM
from harness.selfcheck.cli import selfcheck

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from harness.environments.build import Environment

VERBS = {
    "advise", "explain", "claims", "plan", "run", "here", "report", "against", "bisect", "compare", "repro", "cases",
    "admin",
}  # fmt: skip
MOVED = {
    "gate": "report [RUN]",
    "catalogue": "cases catalogue",
    "check": "cases check",
    "propose": "cases propose",
    "merge": "admin merge",
    "publish": "admin publish",
    "clean": "admin clean",
    "watch": "admin watch",
    "prove": "nox -s proof",
    "steady": "nox -s steady",
    "baseline": "nox -s baseline",
    "calibrate": "nox -s calibrate",
    "repro-check": "nox -s repro-check",
}


MAY_END_WITH_ONE = {"compare"}
"""Commands whose example times something: on a machine with other work one side may look slower."""


def commands_of(group: click.Group, *names: str) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Walk over a group, the groups in it, and their commands, each with the words that call it."""
    yield names, group
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands_of(command, *names, name)
        else:
            yield (*names, name), command


def examples_of(command: click.Command) -> list[list[str]]:
    """Read the examples out of a command's help: the words after the program's name."""
    lines = [line.strip() for line in (command.epilog or "").splitlines()]
    return [shlex.split(line.removeprefix(PROGRAM)) for line in lines if line.startswith(PROGRAM)]


EXAMPLES = sorted({tuple(example) for _, command in commands_of(cli) for example in examples_of(command)})


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Copy the project, so that examples may write, and measure there what they speak of: a run and two shards."""
    folder = tmp_path_factory.mktemp("examples") / "checkout"
    for name in ("harness", "cases", "matrices", "docs", "reports/reference"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", folder)
    (measuring,) = (example for example in EXAMPLES if example[0] == "run")
    for name in ("guide", "shard-1", "shard-2"):
        done = run(folder, (*measuring[: measuring.index("--run-id")], "--run-id", name))
        assert done.returncode == 0, done.stderr
    return folder


def run(
    checkout: Path, words: tuple[str, ...], python: str = sys.executable, **environ: str
) -> subprocess.CompletedProcess[str]:
    """Run an example in a checkout."""
    environ = {**clean_environment(os.environ), "PROMPT_BENCH_REPORTS": str(checkout / "reports"), **environ}
    command = [python, "-m", "harness", *words]
    return subprocess.run(command, capture_output=True, text=True, cwd=checkout, env=environ, check=False)


@pytest.mark.slow
@pytest.mark.parametrize("words", EXAMPLES, ids=" ".join)
def test_the_example_of_every_command_runs(
    checkout: Path, old_environment: Environment, tmp_path: Path, words: tuple[str, ...]
) -> None:
    """What the help offers to copy does what it says, in seconds, and ends well."""
    python, environ = sys.executable, {}
    if words[0] == "here":
        # The environment that is active is one in which a person has installed peft.
        python = str(old_environment.python)
        environ["PYTHONPATH"] = os.pathsep.join(map(str, (*old_environment.overlays, *old_environment.behind)))
    if "clean" in words:
        environ["PROMPT_BENCH_CACHE"] = str(tmp_path)
    done = run(checkout, words, python, **environ)
    assert "Traceback" not in done.stderr
    assert done.returncode in ({0, 1} if words[0] in MAY_END_WITH_ONE else {0}), done.stdout + done.stderr


@pytest.mark.parametrize(
    ("names", "command"), commands_of(cli), ids=lambda one: " ".join(one) if isinstance(one, tuple) else ""
)
def test_every_command_has_an_example_of_its_own(names: tuple[str, ...], command: click.Command) -> None:
    """The help of a verb shows that verb, and a group shows one of its own."""
    examples = examples_of(command)
    assert examples
    assert all(tuple(example[: len(names)]) == names for example in examples)


@pytest.mark.parametrize("name", selfcheck.commands)
def test_every_self_check_has_an_example_that_it_understands(name: str) -> None:
    """Its words are parsed, though not run: a self-check takes minutes."""
    command = selfcheck.commands[name]
    words = (command.epilog or "").removeprefix("Example: python -m harness.selfcheck ").split()
    assert words[0] == name
    command.make_context(name, words[1:])


def help_of_all() -> str:
    """Return the outermost help, at a width of 100 columns."""
    return CliRunner().invoke(cli, ["--help"], terminal_width=100, prog_name="prompt-bench").output


def test_the_help_fits_a_screen() -> None:
    """Forty lines of 100 columns hold every command with a whole sentence."""
    lines = help_of_all().splitlines()
    assert 24 <= len(lines) <= 40
    assert all(len(line) <= 100 for line in lines)
    assert not [line for line in lines if line.endswith("...") and not line.startswith("Usage")]


def test_every_command_stands_under_one_of_four_headings() -> None:
    """Nothing is listed twice, nothing is left out, and no old name is among them."""
    lines = help_of_all().splitlines()
    assert set(cli.commands) == VERBS
    listed = [line.split()[0] for line in lines if line.startswith("  ") and line.split()[0] in {*VERBS, *MOVED}]
    assert sorted(listed) == sorted(VERBS)
    assert {"Ask what was measured:", "Measure:", "Find:", "Keep:"} <= set(lines)


@pytest.mark.parametrize(("old", "new"), MOVED.items())
def test_an_old_name_answers_with_one_line(old: str, new: str) -> None:
    """Who has the old name in a script is told the new one, and nothing runs."""
    done = subprocess.run([sys.executable, "-m", "harness", old], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 2
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert new in done.stderr


def test_nothing_heavy_is_imported_at_the_start() -> None:
    """The help comes at once: no torch, no scipy, no rich, no templates."""
    code = "import sys, harness.cli; print(*sys.modules.keys() & {'torch', 'transformers', 'scipy', 'rich', 'jinja2'})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.split() == []
