"""The cases in the environment that is active: what cannot be imported there is said in one line."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

from harness.environments.index import clean_environment
from harness.paths import ROOT

if TYPE_CHECKING:
    from pathlib import Path

    from harness.environments.build import Environment


def test_a_peft_that_cannot_be_imported_is_named(old_environment: Environment, tmp_path: Path) -> None:
    """Cases import peft at their top: its failure is one line and exit status 3, nothing was measured."""
    (tmp_path / "peft").mkdir()
    (tmp_path / "peft" / "__init__.py").write_text("raise ImportError('planted: no such cache')", encoding="utf-8")
    behind = [*(str(path) for path in old_environment.behind), str(ROOT)]
    program = (
        f"import sys; sys.path[:0] = [{str(tmp_path)!r}]; sys.path += {behind}; "
        "from harness.cell.here import main; raise SystemExit(main('harness', ['--case', 'save_and_load']))"
    )
    done = subprocess.run(
        [str(old_environment.python), "-c", program],
        capture_output=True,
        text=True,
        env=clean_environment({"PROMPT_BENCH_REPORTS": str(tmp_path / "reports")}),
        check=False,
    )
    assert (done.returncode, done.stderr.splitlines()[-1]) == (
        3,
        "import failed: ImportError: planted: no such cache",
    ), done.stderr
    assert not (tmp_path / "reports").exists()
