"""The verdict: what turns it red, and what a report shows, on a run made of planted records."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import pytest
from click.testing import CliRunner

from harness.cli import cli
from harness.contracts.plan import AskedCell, AskedVariant, Plan, plan_text
from harness.contracts.record import CellFacts, Machine, StateRecord, VariantRecord
from harness.contracts.records import append_records, read_run
from harness.errors import ExitStatus, UsageError
from harness.flow import judge_and_report
from harness.interface import CellState, Outcome
from harness.judge.summary import summarise
from harness.matrix.cases import Case
from harness.matrix.claims import Claim
from harness.report.files import write_reports
from harness.report.shown import shown
from harness.report.terminal import closing, console, print_summary, tally
from harness.run.merge import merge_runs
from harness.run.runs import Run, find_run

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.contracts.record import Record

VARIANT = {"model": "llama", "method": "p_tuning", "device": "cpu", "dtype": "float32"}
CLAIM = Claim(
    id="009.x", case="planted", document="009", quote="它坏了 <b>", english="it is <broken>", outcome=("error",),
    where={"peft": "==1.0"},
)  # fmt: skip
CASES = (
    Case(
        name="planted", path=Path("planted.py"), summary="A case.", document="009", variants=(), claims=(CLAIM,),
        expectations=(),
    ),
)  # fmt: skip


@pytest.fixture
def reports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep runs and reports in a folder of the test's own."""
    monkeypatch.setenv("PROMPT_BENCH_REPORTS", str(tmp_path))
    return tmp_path


def record(cell: str, **changes: Any) -> VariantRecord:
    """Make a passed record of the planted variant."""
    packages = {"peft": "1.0", "transformers": "5.0", "torch": "2.0+cpu"}
    passed = VariantRecord(
        run="r",
        time="t",
        cell=CellFacts(id=cell, python="3.11", packages=packages),
        key=cell,
        case="planted",
        variant=VARIANT,
        outcome=Outcome.PASSED,
        machine=Machine(cpu="c"),
        document="009",
        duration_s=0.1,
    )
    return replace(passed, **changes)


def make_run(name: str, cells: list[str], records: Sequence[Record], state: str = "ready") -> Run:
    """Write a run as the harness does: its plan, and one file of records."""
    run = Run(id=name)
    run.folder.mkdir(parents=True)
    asked = AskedCell(
        id="",
        base="b",
        python="3.11",
        pins={"peft": "1.0", "transformers": "5.0", "torch": "2.0"},
        why="because",
        state=state,
        asked=(AskedVariant(case="planted", variant=VARIANT),),
    )
    planned = tuple(replace(asked, id=cell) for cell in cells)
    plan = Plan(matrix="m", title="A <matrix>", device="cpu", run=name, cells=planned)
    run.plan_path.write_text(plan_text(plan), encoding="utf-8")
    append_records(run.folder / "records" / "r.jsonl", records)
    return run


@pytest.mark.usefixtures("reports")
def test_all_passed_is_green() -> None:
    """Exit 0 only when every planned variant is as expected."""
    summary = summarise(make_run("r", ["a", "b"], [record("a"), record("b")]), CASES)
    assert summary.exit_status() is ExitStatus.AS_EXPECTED
    assert summary.claims[0].audit == "does not hold"


@pytest.mark.usefixtures("reports")
@pytest.mark.parametrize(
    ("records", "verdict"),
    [
        ([record("a"), record("b", outcome=Outcome.WRONG, message="m")], "regressed"),
        ([record("a")], "unknown"),
        ([record("a"), record("b", outcome=Outcome.NOT_RUN)], "unknown"),
    ],
    ids=["flipped", "removed", "not run"],
)
def test_one_cell_amiss_is_red_and_named(records: list[VariantRecord], verdict: str) -> None:
    """A flipped or a missing record turns the verdict red, with that cell named."""
    summary = summarise(make_run("r", ["a", "b"], records), CASES)
    assert summary.exit_status() is ExitStatus.NEEDS_A_PERSON
    assert [(one.cell, str(one.verdict)) for one in summary.for_a_person()] == [("b", verdict)]


@pytest.mark.usefixtures("reports")
@pytest.mark.parametrize("records", [[], [record("a", outcome=Outcome.NO_DEVICE)]], ids=["none", "no device"])
def test_nothing_measured_is_never_green(records: list[VariantRecord]) -> None:
    """A run without a measured variant has a status of its own."""
    assert summarise(make_run("r", ["a"], records), CASES).exit_status() is ExitStatus.NOTHING_MEASURED


@pytest.mark.usefixtures("reports")
def test_a_device_that_is_not_there_is_nobodys_work() -> None:
    """no-device is unknown, beside measured variants it does not turn the verdict red."""
    summary = summarise(make_run("r", ["a", "b"], [record("a"), record("b", outcome=Outcome.NO_DEVICE)]), CASES)
    assert summary.verdicts == {"as-expected": 1, "unknown": 1}
    assert summary.exit_status() is ExitStatus.AS_EXPECTED


@pytest.mark.usefixtures("reports")
def test_what_needs_a_device_is_counted_as_that() -> None:
    """Not as unknown; other unknown variants stay so."""
    lacking = [
        record(name, outcome=Outcome.NO_DEVICE, message=f"needs two CUDA devices, torch sees {count}")
        for count, name in enumerate("bc")
    ]
    summary = summarise(make_run("r", ["a", "b", "c", "d"], [record("a"), *lacking]), CASES)
    assert tally(summary) == "4 variants in 4 cells: 1 as-expected, 1 unknown, 2 need two CUDA devices"


@pytest.mark.usefixtures("reports")
def test_a_run_ends_with_a_paragraph() -> None:
    """The verdict, what fails in the newest cell, and where the report is; within 100 columns."""
    summary = summarise(make_run("r", ["a", "b"], [record("a"), record("b")]), CASES)
    lines = closing(summary, "all as expected (exit 0)", "/reports/latest/report.html").splitlines()
    assert max(map(len, lines)) <= 100
    text = " ".join(lines)
    assert text.startswith("verdict: all as expected (exit 0). 2 variants in 2 cells: 2 as-expected.")
    assert text.endswith("The report: /reports/latest/report.html")


@pytest.mark.usefixtures("reports")
def test_the_newest_of_floating_cells_is_named_as_that() -> None:
    """A nightly asks for the newest first: what stands last in its plan is the oldest, and is not called the newest."""
    pins = {"newest": "5.24.0", "newest-1": "5.23.0", "newest-2": "5.22.2"}
    measured = []
    for pin, version in pins.items():
        one = record(pin)
        facts = replace(one.cell, packages={"peft": "0.21.2", "transformers": version})
        measured.append(replace(one, cell=facts))
    run = make_run("r", list(pins), measured)
    plan = run.plan()
    cells = tuple(replace(one, pins={"peft": "newest", "transformers": one.id}) for one in plan.cells)
    (run.folder / "plan.json").write_text(plan_text(plan.with_cells(cells)), encoding="utf-8")
    summary = summarise(run, CASES)
    assert [cell.id for cell in summary.cells] == ["newest-2", "newest-1", "newest"]
    assert "Nothing fails with peft 0.21.2 and transformers 5.24.0" in " ".join(closing(summary, "v", "r").split())


@pytest.mark.usefixtures("reports")
@pytest.mark.parametrize(
    ("expected", "status"), [("unsatisfiable", ExitStatus.AS_EXPECTED), ("ready", ExitStatus.NEEDS_A_PERSON)]
)
def test_a_cell_that_cannot_exist_is_a_result(expected: str, status: ExitStatus) -> None:
    """An unsatisfiable cell keeps the resolver's words; only where it was expected it is nobody's work."""
    refused = StateRecord(
        run="r",
        time="t",
        cell=record("b").cell,
        state=CellState.UNSATISFIABLE,
        machine=Machine(cpu="c"),
        message="because x needs y",
    )
    run = make_run("r", ["a"], [record("a")])
    other = make_run("s", ["b"], [refused], state=expected)
    summary = summarise(merge_runs([run, other], Run(id="both")), CASES)
    assert [cell.state for cell in summary.cells] == ["ready", "unsatisfiable"]
    assert summary.cells[1].words == "because x needs y"
    assert summary.exit_status() is status


def test_reports_of_every_kind_are_well_formed(reports: Path) -> None:
    """Text from the code under test cannot break a page: it is escaped in HTML, XML and Markdown tables."""
    nasty = "a | b <script> \x00 \u2028 ]]>"
    summary = summarise(
        make_run("r", ["a", "b"], [record("a", outcome=Outcome.ERROR, message=nasty, signature=nasty)]), CASES
    )
    paths = {path.name: path.read_text(encoding="utf-8") for path in write_reports(summary)}
    assert "b <script>" not in paths["report.html"]
    assert "A &lt;matrix&gt;" in paths["report.html"]
    assert "://" not in paths["report.html"], "the page is self-contained"
    suites = ET.fromstring(paths["junit.xml"])  # noqa: S314 - our own file
    assert [suite.get("failures") for suite in suites] == ["1", "1"]
    assert json.loads(paths["report.json"])["exit_status"] == 1
    assert r"a \| b" in paths["report.md"]
    assert (reports / "latest" / "report.html").is_file()


def test_a_run_in_which_nothing_was_measured_has_its_reports(reports: Path) -> None:
    """A source that could not be reached: every report says so in its words, and the command exits with 3."""
    words = "could not resolve host"
    cell = CellFacts(id="a", python="3.11")
    make_run("r", ["a"], [StateRecord(run="r", time="t", cell=cell, state=CellState.UNREACHABLE, message=words)])
    told = CliRunner().invoke(cli, ["report", "r"])
    assert told.exit_code == int(ExitStatus.NOTHING_MEASURED), told.output
    assert words in " ".join(told.output.split())
    for name in ("report.md", "report.html", "report.json"):
        assert words in (reports / "latest" / name).read_text(encoding="utf-8"), name
    assert ET.parse(reports / "latest" / "junit.xml").getroot() is not None  # noqa: S314 - our own file


def test_a_part_is_printed_and_the_whole_is_written(reports: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With ``--cell`` the terminal and the verdict are about that cell; every file has the others, too."""
    run = make_run("r", ["a", "b"], [record("a"), record("b", outcome=Outcome.WRONG, message="m")])
    assert judge_and_report(run, CASES, cells=["a"]) is ExitStatus.AS_EXPECTED
    assert "1 variants in 1 cell: 1 as-expected" in capsys.readouterr().out
    for name in ("report.md", "report.html"):
        assert "1 regressed" in (reports / "latest" / name).read_text(encoding="utf-8"), name
    assert len(json.loads((reports / "latest" / "report.json").read_text(encoding="utf-8"))["cells"]) == 2
    assert len(ET.parse(reports / "latest" / "junit.xml").getroot()) == 2  # noqa: S314 - our own file


@pytest.mark.usefixtures("reports")
def test_what_needs_a_person_comes_with_its_script(capsys: pytest.CaptureFixture[str]) -> None:
    """The command that writes a script of the simplest variant stands in the terminal and in Markdown."""
    summary = summarise(make_run("r", ["a", "b"], [record("a", outcome=Outcome.WRONG, message="x")]), CASES)
    command = "prompt-bench repro planted --matrix m --cell a --variant llama-p_tuning"
    print_summary(shown(summary), console())
    texts = [path.read_text(encoding="utf-8") for path in write_reports(summary) if path.suffix == ".md"]
    for text in (*texts, capsys.readouterr().out):
        assert command.partition(" ")[2] in text


def test_the_terminal_report_fits_a_hundred_columns(reports: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A log without a terminal is plain, and no line is wider than 100 columns."""
    assert reports.is_dir()
    print_summary(
        shown(summarise(make_run("r", ["a", "b"], [record("a", outcome=Outcome.WRONG, message="x" * 300)]), CASES)),
        console(),
    )
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 100
    assert not any("\x1b" in line for line in lines)


@pytest.mark.usefixtures("reports")
def test_many_cases_are_listed_down_the_page(capsys: pytest.CaptureFixture[str]) -> None:
    """Where a column for each case would not fit, each cell has one, and shows what did not pass."""
    cases = tuple(replace(CASES[0], name=f"a_case_with_a_rather_long_name_{number}", claims=()) for number in range(20))
    cells = [f"c{number}" for number in range(11)]
    records = [
        record(cell, case=case.name, outcome=Outcome.PASSED if cell == "c0" else Outcome.WRONG)
        for cell in cells
        for case in cases
    ]
    run = make_run("many", cells, records)
    plan, asked = run.plan(), tuple(AskedVariant(case=case.name, variant=VARIANT) for case in cases)
    plan = replace(plan, cells=tuple(replace(cell, asked=asked) for cell in plan.cells))
    run.plan_path.write_text(plan_text(plan), encoding="utf-8")
    print_summary(shown(summarise(run, cases)), console())
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 100
    rows = [line for line in lines if "✓" in line and "passed" not in line]
    assert len(rows) == len(cases)
    assert all(row.count("1≠ *") == len(cells) - 1 for row in rows)


@pytest.mark.usefixtures("reports")
def test_an_unknown_run_says_what_to_do() -> None:
    """A typing error ends in a line with the next command."""
    with pytest.raises(UsageError, match="python -m harness run documented"):
        find_run("nonsense")


@pytest.mark.usefixtures("reports")
def test_a_case_that_is_gone_is_not_dropped() -> None:
    """What was asked of a case that no longer exists is unknown, and somebody has to look."""
    run = make_run("r", ["a"], [record("a")])
    summary = summarise(run, ())
    assert (summary.outcomes(), summary.exit_status()) == ({"not-run": 1}, ExitStatus.NOTHING_MEASURED)


@pytest.mark.usefixtures("reports")
@pytest.mark.parametrize("order", [("old", "new"), ("new", "old")])
def test_the_newest_record_of_a_place_counts(order: tuple[str, str]) -> None:
    """After a case changed, a run that goes on holds two records for one place, in files of any order."""
    run = make_run("r", ["a"], [])
    both = {
        "old": record("a", key="1", time="2026-01-01", outcome=Outcome.WRONG),
        "new": record("a", key="2", time="2026-01-02"),
    }
    for number, name in enumerate(order):
        append_records(run.folder / "records" / f"{number}.jsonl", [both[name]])
    assert summarise(run, CASES).exit_status() is ExitStatus.AS_EXPECTED


@pytest.mark.usefixtures("reports")
@pytest.mark.parametrize(("time", "left"), [("2026-01-01T00:00:00Z", 0), ("2026-01-03T00:00:00Z", 1)])
def test_a_state_that_a_later_measurement_contradicts_is_over(time: str, left: int) -> None:
    """An index that was down when a run began, and back when it went on: the cell is one that was measured."""
    cell = CellFacts(id="a", python="3.11")
    state = StateRecord(run="r", time=time, cell=cell, state=CellState.INSTALL_FAILED, message="x")
    run = make_run("r", ["a"], [state, record("a", time="2026-01-02T00:00:00Z")])
    assert len([one for one in read_run(run.folder) if isinstance(one, StateRecord)]) == left


@pytest.mark.usefixtures("reports")
def test_merging_again_forgets_what_was_merged_before() -> None:
    """A shard that failed this time must not show last time's result."""
    merge_runs([make_run("s", ["a"], [record("a")])], Run(id="both"))
    again = merge_runs([make_run("t", ["a"], [])], Run(id="both"))
    assert summarise(again, CASES).exit_status() is ExitStatus.NOTHING_MEASURED
    with pytest.raises(UsageError, match="is one of those to join"):
        merge_runs([again], again)
