"""``report --since RUN``: what changed stands on the terminal, in Markdown and on the page."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner, Result

from harness.cli import cli
from harness.errors import ExitStatus
from harness.report.page_data import MOST_BYTES, page_text
from harness.run.runs import Run
from tests.planted import record, write_run

if TYPE_CHECKING:
    from pathlib import Path

OLD = {"peft": "0.13.0", "transformers": "4.45.1"}
NEW = {"peft": "0.14.0", "transformers": "4.45.1"}
PRINTED = re.compile(r"^broken|  broken 1 x", re.MULTILINE)


@pytest.fixture
def reports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write two runs of two cells: in the later, one cell answers wrongly; a third cell is of the later run alone."""
    monkeypatch.setenv("PROMPT_BENCH_REPORTS", str(tmp_path))
    before = [replace(record(packages, "passed"), run="monday") for packages in (OLD, NEW)]
    later = [record(OLD, "passed"), record(NEW, "wrong"), record({**NEW, "peft": "0.15.0"}, "wrong")]
    for name, records in (("monday", before), ("tuesday", [replace(one, run="tuesday") for one in later])):
        run = Run(id=name)
        (run.folder).mkdir(parents=True)
        write_run(run, records)
    return tmp_path


def report(*arguments: str) -> Result:
    """Draw a run."""
    return CliRunner().invoke(cli, ["report", *arguments])


def test_what_changed_since_a_run_is_told_everywhere(reports: Path) -> None:
    """The cell that broke is marked with what it gave before; what the earlier run did not measure has not changed."""
    result = report("tuesday", "--since", "monday")
    assert result.exit_code == ExitStatus.NEEDS_A_PERSON
    assert "since monday, in 2 variants:" in result.output
    assert PRINTED.search(result.output)
    markdown = (reports / "latest" / "report.md").read_text(encoding="utf-8")
    assert "1 broken in 2 variants" in markdown
    page = (reports / "latest" / "report.html").read_text(encoding="utf-8")
    found = re.search(r'<script[^>]*id="data"[^>]*>(.*?)</script>', page, re.DOTALL)
    assert found is not None
    data = json.loads(found[1])
    (place,) = data["before"]
    cell = data["cells"][int(place) // len(data["variants"])]
    assert cell["versions"]["peft"] == "0.14.0"
    assert data["before"][place] == "broken; before: passed"


@pytest.mark.usefixtures("reports")
def test_nothing_changed_is_said() -> None:
    """A run beside itself differs in nothing."""
    assert "since monday: no difference in 2 variants" in report("monday", "--since", "monday").output


def test_an_unknown_run_is_refused_in_one_line(reports: Path) -> None:
    """The line names what is there to do, and nothing is drawn."""
    result = report("tuesday", "--since", "sunday")
    assert result.exit_code == ExitStatus.BAD_USAGE
    assert not (reports / "latest").exists()
    assert "no run 'sunday'" in result.output
    assert len(result.output.strip().splitlines()) == 1


def test_a_page_too_large_leaves_out_what_is_as_expected_first() -> None:
    """Then counters and history of all; the results themselves stay."""
    details = [{"person": False}, {"person": True}]
    data = {"details": details, "variants": [0, 1], "grid": [[0, 1]], "more": {0: "x" * MOST_BYTES, 1: "loud"}}
    assert json.loads(page_text(data))["more"] == {"1": "loud"}
    data["more"] = {0: "quiet", 1: "x" * MOST_BYTES}
    told = json.loads(page_text(data))
    assert (told["more"], told["trimmed"], told["grid"]) == ({}, True, [[0, 1]])
    data["more"] = {0: "quiet", 1: "loud"}
    assert "trimmed" not in json.loads(page_text(data))
