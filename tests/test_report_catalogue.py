"""The catalogue says what the case files and the records say, and lint sees when it does not."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from harness.cli import cli
from harness.interface import Outcome
from harness.matrix.cases import read_case
from harness.report.pages.cases import catalogue_page, newest, tally
from tests.planted import record
from tests.test_completeness import WHOLE

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from harness.contracts.record import VariantRecord

VARIANT = {"model": "llama", "device": "cpu", "dtype": "float32"}


def of_planted(packages: dict[str, str], outcome: str) -> VariantRecord:
    """Make a record of the planted case."""
    return record(packages, outcome, variant=VARIANT, case="planted")


OLD, NEW = {"peft": "0.9.0", "transformers": "4.38.2"}, {"peft": "0.21.2", "transformers": "5.23.0"}
NEXT = {"peft": "0.22.0.dev0", "transformers": "5.24.0.dev0"}


def page_of(tmp_path: Path, records: list[VariantRecord]) -> str:
    """Write the page of one planted case."""
    path = tmp_path / "planted.py"
    path.write_text(WHOLE, encoding="utf-8")
    return catalogue_page((read_case(path),), records, "a planted run")


def test_the_page_has_the_case_its_link_and_its_counts(tmp_path: Path) -> None:
    """Counts of the newest cell and of all; the cell in which it was seen failing."""
    page = page_of(tmp_path, [of_planted(OLD, "wrong"), of_planted(NEW, "passed"), record(NEW, "error")])
    row = "| [planted](#planted) | What must hold. | batch | 1 | 1✓ | 1✓ 1≠ | peft 0.9.0, transformers 4.38.2 |"
    assert row in page.splitlines()
    assert "- upstream: [huggingface/peft#1](https://github.com/huggingface/peft/issues/1)" in page
    assert "1 cases with 1 variants; 2 records from a planted run." in page


def test_what_never_failed_or_never_passed_is_said(tmp_path: Path) -> None:
    """A case without a failing record rests on its planted fault; one without a passing one on its control."""
    assert "| 1✓ | a planted fault alone |" in page_of(tmp_path, [of_planted(NEW, "passed")])
    assert "passed nowhere but by its control |" in page_of(tmp_path, [of_planted(NEW, "error")])
    assert "| not measured | not measured |" in page_of(tmp_path, [])


def test_a_main_branch_is_not_the_newest_release() -> None:
    """The newest cell is one that people can install."""
    records = [of_planted(NEXT, "error"), of_planted(NEW, "passed"), of_planted(OLD, "wrong")]
    assert tally(newest(records)) == "1✓"


@given(outcomes=st.lists(st.sampled_from(Outcome)))
def test_a_tally_counts_every_record_once(outcomes: list[Outcome]) -> None:
    """The numbers of a tally add up."""
    text = tally([of_planted(NEW, outcome) for outcome in outcomes])
    counts = [int("".join(filter(str.isdigit, word))) for word in text.split()] if outcomes else []
    assert sum(counts) == len(outcomes)


def test_a_stale_page_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lint fails when the committed page is another one, and the words say what to do."""
    # The group has a command of the same name; the module is found by its own.
    command = import_module("harness.commands.cases.catalogue")
    monkeypatch.setattr(command, "PAGE", tmp_path / "catalogue.md")
    monkeypatch.setattr(command, "ROOT", tmp_path)
    missing = CliRunner().invoke(cli, ["cases", "catalogue"])
    assert missing.exit_code == 1
    assert "python -m harness cases catalogue --write" in missing.output
    assert CliRunner().invoke(cli, ["cases", "catalogue", "--write"]).exit_code == 0
    assert CliRunner().invoke(cli, ["cases", "catalogue"]).exit_code == 0
    page = tmp_path / "catalogue.md"
    page.write_text(page.read_text(encoding="utf-8").replace("## beam_search", "## beams"), encoding="utf-8")
    assert CliRunner().invoke(cli, ["cases", "catalogue"]).exit_code == 1


def test_the_committed_page_is_fresh() -> None:
    """What stands in docs/catalogue.md is what the files and the references say now."""
    told = CliRunner().invoke(cli, ["cases", "catalogue"])
    assert told.exit_code == 0, told.output
