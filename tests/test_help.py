"""The help of the commands: it fits a screen, names the groups, and its examples can be run."""

from __future__ import annotations

import subprocess
import sys

import pytest
from click.testing import CliRunner

from harness.cli import cli
from harness.groups import Commands
from harness.paths import ROOT

VERBS = {"advise", "explain", "claims", "plan", "run", "here", "report", "bisect", "compare", "repro", "cases", "admin"}
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


def help_of_all() -> str:
    """Return the outermost help, at a width of 100 columns."""
    return CliRunner().invoke(cli, ["--help"], terminal_width=100, prog_name="prompt-bench").output


def test_the_help_fits_a_screen() -> None:
    """Forty lines of 100 columns hold every command with a whole sentence."""
    lines = help_of_all().splitlines()
    assert 24 <= len(lines) <= 40
    assert all(len(line) <= 100 for line in lines)
    assert not [line for line in lines if line.endswith("...") and not line.startswith("Usage")]


def test_twelve_commands_stand_under_four_headings() -> None:
    """Nothing is listed twice, nothing is left out, and no old name is among them."""
    lines = help_of_all().splitlines()
    assert set(cli.commands) == VERBS
    listed = [line.split()[0] for line in lines if line.startswith("  ") and line.split()[0] in {*VERBS, *MOVED}]
    assert sorted(listed) == sorted(VERBS)
    assert {"Ask what was measured:", "Measure:", "Find:", "Keep:"} <= set(lines)


@pytest.mark.parametrize(("old", "new"), MOVED.items())
def test_an_old_name_answers_with_one_line(old: str, new: str) -> None:
    """Who has the old name in a script is told the new one, and nothing runs."""
    assert isinstance(cli, Commands)
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
