"""A failing test shows what the programs that it had started have printed."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

from harness.paths import ROOT

if TYPE_CHECKING:
    from pathlib import Path

FAILING = """
import subprocess, sys
import click
from click.testing import CliRunner

PROGRAM = "import sys; print('told' + '-out', 'x' * 5000); print('told' + '-err', file=sys.stderr); sys.exit(3)"
COMMAND = [sys.executable, "-c", PROGRAM]

def started():
    return subprocess.run(COMMAND, capture_output=True, text=True)

def test_status():
    done = started()
    assert done.returncode == 0

def test_check():
    subprocess.run(COMMAND, capture_output=True, check=True)

def test_command():
    @click.command()
    def say():
        click.echo("told" + "-out\\ntold" + "-err")
    result = CliRunner().invoke(say)
    assert result.exit_code == 5
"""


def test_a_failing_test_shows_the_output_of_what_it_started(tmp_path: Path) -> None:
    """Whole, whether it looks at the status itself, lets `subprocess` do it, or calls a command."""
    (tmp_path / "test_planted.py").write_text(FAILING, encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "tests.conftest", "-c", "/dev/null", "--tb=short"]
    done = subprocess.run([*command, str(tmp_path)], capture_output=True, text=True, cwd=ROOT, check=False)
    assert "3 failed" in done.stdout
    assert done.stdout.count("\ntold-out") == done.stdout.count("\ntold-err") == 3
