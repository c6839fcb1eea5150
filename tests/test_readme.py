"""What the README shows is what its commands print."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from harness.paths import ROOT

if TYPE_CHECKING:
    from pathlib import Path

README = (ROOT / "README.md").read_text(encoding="utf-8")
SHOWN = re.findall(r"^    \$ prompt-bench (.*)\n((?:    .*\n)+)", README, re.MULTILINE)


def test_the_readme_shows_something() -> None:
    """The pattern finds its blocks: without any the next test would hold of nothing."""
    assert len(SHOWN) >= 2


@pytest.mark.parametrize(("words", "shown"), SHOWN, ids=[words for words, _ in SHOWN])
def test_a_block_is_the_output_of_its_command(words: str, shown: str, tmp_path: Path) -> None:
    """Asked of the published records alone, 100 columns wide."""
    environ = {**os.environ, "PROMPT_BENCH_REPORTS": str(tmp_path), "COLUMNS": "100"}
    done = subprocess.run(
        [sys.executable, "-m", "harness", *shlex.split(words)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=environ,
        check=False,
    )
    assert done.returncode in {0, 1}, done.stderr
    printed = done.stdout.replace("python -m harness", "prompt-bench").rstrip()
    assert printed.splitlines() == [line.removeprefix("    ") for line in shown.rstrip().splitlines()]


def test_every_page_that_is_named_is_there() -> None:
    """Links of the README and of docs/ to files of the project lead somewhere."""
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))):
        for target in re.findall(r"\]\(([^)#\s]+)", page.read_text(encoding="utf-8")):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.name}: {target}"
