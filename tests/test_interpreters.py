"""A Python that is missing: fetched where that is allowed, else one line before anything is prepared."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from harness.environments import interpreters
from harness.environments.interpreters import MissingPython, ensure_pythons, pythons_here
from harness.matrix.plan import with_python
from harness.matrix.read import load_matrix
from harness.paths import ROOT

if TYPE_CHECKING:
    from pathlib import Path

THIS = ".".join(platform.python_version_tuple()[:2])


@pytest.fixture
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let uv find no Python: an empty path, and no managed ones; what is fetched would land in a folder of the test."""
    interpreters._ensure.cache_clear()
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("UV_PYTHON_INSTALL_DIR", str(tmp_path / "pythons"))
    # A place to fetch from that has nothing: the way there is tried, and no host is asked.
    monkeypatch.setenv("UV_PYTHON_INSTALL_MIRROR", (tmp_path / "mirror").as_uri())
    return tmp_path


def test_what_is_here_needs_nothing() -> None:
    """The Python that runs this is found, whatever downloads are set to."""
    interpreters._ensure.cache_clear()
    ensure_pythons([THIS])
    assert THIS in pythons_here()


@pytest.mark.usefixtures("alone")
@pytest.mark.parametrize("setting", ["never", "manual", "false"])
def test_where_nothing_may_be_fetched_it_is_said(monkeypatch: pytest.MonkeyPatch, setting: str) -> None:
    """One line: what is missing, why it is not fetched, and how to get it."""
    monkeypatch.setenv("UV_PYTHON_DOWNLOADS", setting)
    with pytest.raises(MissingPython) as refusal:
        ensure_pythons(["3.11"])
    assert str(refusal.value) == (
        f"Python 3.11 is not on this machine (UV_PYTHON_DOWNLOADS is {setting}); run: uv python install 3.11"
    )


def test_a_python_that_does_not_start_is_named(alone: Path) -> None:
    """A shim of pyenv for a version that is not chosen: the line says which program it is, and the ways out."""
    shim = alone / "bin" / "python3.12"
    shim.write_text("#!/bin/sh\necho 'command not found' >&2\nexit 127\n", encoding="utf-8")
    shim.chmod(0o755)
    with pytest.raises(MissingPython) as refusal:
        ensure_pythons(["3.12"])
    assert str(refusal.value) == (
        f"Python 3.12 is not on this machine ({shim} does not start; put a working one before it in PATH); "
        "run: uv python install 3.12"
    )


@pytest.mark.parametrize("setting", [None, "automatic"])
def test_where_it_may_be_fetched_uv_is_asked(alone: Path, monkeypatch: pytest.MonkeyPatch, setting: str | None) -> None:
    """By itself uv fetches; what kept it from that is in the one line."""
    if setting is None:
        monkeypatch.delenv("UV_PYTHON_DOWNLOADS", raising=False)
    else:
        monkeypatch.setenv("UV_PYTHON_DOWNLOADS", setting)
    with pytest.raises(MissingPython, match="fetching it failed") as refusal:
        ensure_pythons(["3.11"])
    assert "\n" not in str(refusal.value)
    assert (alone / "pythons").exists(), "uv tried"


def test_nothing_is_prepared_without_it(alone: Path) -> None:
    """`run` ends with status 2 and one line, before a lock is asked for or an environment begun."""
    environ = {**os.environ, "PROMPT_BENCH_CACHE": str(alone / "cache"), "PROMPT_BENCH_REPORTS": str(alone / "reports")}
    environ["UV_PYTHON_DOWNLOADS"] = "never"
    command = [sys.executable, "-m", "harness", "run", "documented", "--cell", "peft0.13.0-st3.1.1"]
    done = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("Python 3.11 is not on this machine")
    assert not (alone / "cache").exists()


def test_a_matrix_with_another_python() -> None:
    """Every cell has it, in its id too, and no cell is there twice."""
    matrix = load_matrix("documented")
    other = with_python(matrix, "3.12")
    assert {cell.python for cell in other.cells} == {"3.12"}
    assert [cell.id for cell in other.cells] == [cell.id.replace("-py3.11", "-py3.12") for cell in matrix.cells]
