"""The cases in the environment that is active: measured by the worker, judged later; what is missing is one line."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from harness.environments.index import clean_environment
from harness.here import with_byte_code
from harness.judge.summary import summarise
from harness.matrix.cases import load_cases
from harness.paths import ROOT
from harness.run.runs import find_run

if TYPE_CHECKING:
    from pathlib import Path

    from harness.environments.build import Environment


def here(environment: Environment, reports: Path, *arguments: str, first: Path | None = None) -> tuple[int, str, str]:
    """Run ``here`` in an environment that has only what a cell has; return its status, output and errors."""
    paths = [*([first] if first else []), *environment.overlays, *environment.behind]
    environ = clean_environment(os.environ) | {
        "PROMPT_BENCH_REPORTS": str(reports),
        "PYTHONPATH": os.pathsep.join(map(str, paths)),
    }
    command = [str(environment.python), "-m", "harness", "here", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=environ, cwd=ROOT, check=False)
    return done.returncode, done.stdout, done.stderr


def test_what_is_measured_is_printed_kept_and_judged(
    old_environment: Environment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line a variant, a run that the other commands read, and the verdicts of the cell's versions."""
    status, output, errors = here(
        old_environment, tmp_path, "--case", "generate_with_cache:bloom-prefix*-cached", "--no-latency"
    )
    assert status == 0, errors
    lines = output.splitlines()
    assert "peft 0.13.0" in lines[0]
    assert "expanded size of the tensor (37) must match the existing size (57)" in output
    assert "(as expected: " in output
    assert re.search(r"judged by what is expected of these versions: \d+ as-expected$", output, re.MULTILINE)
    monkeypatch.setenv("PROMPT_BENCH_REPORTS", str(tmp_path))
    summary = summarise(find_run(lines[-1].rpartition(" ")[2]), load_cases())
    assert set(summary.verdicts) == {"as-expected"}, output


def test_a_peft_that_cannot_be_imported_is_named(old_environment: Environment, tmp_path: Path) -> None:
    """The failure is one line and exit status 3: nothing was measured."""
    broken = tmp_path / "broken"
    (broken / "peft").mkdir(parents=True)
    (broken / "peft" / "__init__.py").write_text("raise ImportError('planted: no such cache')", encoding="utf-8")
    status, output, errors = here(old_environment, tmp_path, "--case", "save_and_load", first=broken)
    assert status == 3, errors
    assert "import-failed: ImportError: planted: no such cache" in output


@pytest.mark.parametrize(
    ("arguments", "words"),
    [(["--case", "save_and_laod"], "save_and_load"), (["--weights", "bloom"], "FAMILY=PATH_OR_NAME")],
)
def test_what_is_mistyped_is_one_line(
    old_environment: Environment, tmp_path: Path, arguments: list[str], words: str
) -> None:
    """Bad usage ends with 2 before anything is imported or written."""
    status, output, errors = here(old_environment, tmp_path / "reports", *arguments)
    assert (status, output, len(errors.splitlines())) == (2, "", 1), errors
    assert words in errors
    assert not (tmp_path / "reports").exists()


def test_byte_code_is_kept_where_the_environment_forbids_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without byte code at hand it goes to the harness's cache; what has it, or forbids nothing, is left as it is."""
    package = tmp_path / "transformers"
    package.mkdir()
    (package / "__init__.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "transformers", raising=False)
    monkeypatch.setenv("PROMPT_BENCH_CACHE", str(tmp_path / "cache"))
    assert with_byte_code({"A": "b"}) == {"A": "b"}
    forbidden = {"PYTHONDONTWRITEBYTECODE": "1"}
    assert with_byte_code(forbidden) == {"PYTHONPYCACHEPREFIX": str(tmp_path / "cache" / "bytecode")}
    (package / "__pycache__").mkdir()
    assert with_byte_code(forbidden) == forbidden


def test_here_starts_where_only_a_cells_packages_are() -> None:
    """It imports the standard library, and packaging, which transformers needs: whatever else may be missing."""
    code = "import sys, harness.here; print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    done = subprocess.run(
        [sys.executable, "-I", "-c", f"import sys; sys.path.append({str(ROOT)!r}); {code}"],
        capture_output=True,
        text=True,
        check=True,
    )
    foreign = {one for one in done.stdout.split() if one not in sys.stdlib_module_names} - {"harness"}
    ours = {name for name in foreign if not name.startswith(("_", "__editable__"))}
    assert ours <= {"distutils-precedence", "packaging"}
