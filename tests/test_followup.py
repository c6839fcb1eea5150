"""Follow-up: one open issue for each cause, none for what is green again, over nights as they come."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.followup.issues import Action, Cause, Issue, decide
from harness.followup.text import causes_of
from harness.judge.summary import summarise
from harness.judge.verdicts import Judged, Verdict
from harness.matrix.cases import load_cases
from harness.paths import ROOT
from harness.run.runs import Run
from harness.selfcheck.local_api import TOKEN, LocalTracker, served
from tests.planted import LLAMA, record, write_run

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from harness.contracts.record import VariantRecord

OLD, NEW = {"peft": "0.21.2", "transformers": "5.22.0"}, {"peft": "0.21.2", "transformers": "5.23.0"}
PLACES = [f"case:{number}" for number in range(6)]


def judged(place: str, verdict: Verdict, outcome: str = "passed") -> Judged:
    """Make the verdict of one place; ``not-run`` has no record."""
    case, _, name = place.partition(":")
    measured = None if outcome == "not-run" else record(NEW, outcome, case=case, variant={"number": name})
    return Judged(cell="c", case=case, variant={"number": name}, record=measured, expectation=None, verdict=verdict)


def cause(name: str, places: Sequence[str]) -> Cause:
    """Make a cause that fails at these places."""
    return Cause(id=name, places=tuple(places), cells=("c",), title=name, text=f"words of {name}")


@st.composite
def nights(draw: st.DrawFn) -> list[list[tuple[Cause | None, list[str], list[str]]]]:
    """Draw nights: for each of three causes, the places that fail of it, and those that are not measured."""
    parts = [PLACES[:2], PLACES[2:4], PLACES[4:]]
    drawn = []
    for _ in range(draw(st.integers(1, 6))):
        night = []
        for number, part in enumerate(parts):
            states = [draw(st.sampled_from(["fails", "passes", "lost"])) for _ in part]
            failing = [place for place, state in zip(part, states, strict=True) if state == "fails"]
            lost = [place for place, state in zip(part, states, strict=True) if state == "lost"]
            # A night that measured less may name the same cause otherwise.
            name = f"cause-{number}-{draw(st.integers(0, 1))}"
            night.append((cause(name, failing) if failing else None, failing, lost))
        drawn.append(night)
    return drawn


def carry_out(issues: list[Issue], actions: Sequence[Action]) -> list[Issue]:
    """Do what was decided to a list of issues."""
    by_number = {issue.number: issue for issue in issues}
    for action in actions:
        number = action.number or len(by_number) + 1
        if action.kind == "create":
            assert action.number is None
            by_number[number] = Issue(number=number, body=action.body, is_open=True)
        elif action.kind == "close":
            by_number[number] = replace(by_number[number], is_open=False)
        else:
            assert action.kind == ("update" if by_number[number].is_open else "reopen")
            by_number[number] = Issue(number=number, body=action.body, is_open=True)
    return list(by_number.values())


def marked(issue: Issue) -> frozenset[str]:
    """Return the places that an issue is about."""
    return issue.mark.places if issue.mark else frozenset()


@given(nights())
def test_over_any_nights_a_cause_has_one_open_issue_and_a_green_one_none(
    drawn: list[list[tuple[Cause | None, list[str], list[str]]]],
) -> None:
    """What fails is open once; what was measured and passes is closed; what was lost stays as it was."""
    issues: list[Issue] = []
    for number, night in enumerate(drawn):
        causes = [one for one, _, _ in night if one]
        failing = {place for _, some, _ in night for place in some}
        lost = {place for _, _, some in night for place in some}
        results = [
            judged(place, Verdict.REGRESSED, "wrong")
            if place in failing
            else judged(place, Verdict.UNKNOWN, "not-run")
            if place in lost
            else judged(place, Verdict.AS_EXPECTED)
            for place in PLACES
        ]
        before = {issue.number for issue in issues if issue.is_open}
        issues = carry_out(issues, decide(issues, causes, results, f"night-{number}"))
        for one in causes:
            mine = [issue for issue in issues if issue.is_open and marked(issue) & set(one.places)]
            assert len(mine) == 1, (one, issues)
        for issue in issues:
            places = marked(issue)
            if issue.is_open and not places & failing:
                # Some of it was not measured, and it was open before.
                assert places & lost
                assert issue.number in before


def test_what_somebody_else_wrote_is_never_touched() -> None:
    """An issue with the mark by another account, or without a mark, is neither updated nor closed."""
    one = cause("a", [PLACES[0]])
    foreign = Issue(number=1, body=one.body, is_open=True, is_ours=False)
    plain = Issue(number=2, body="my own words", is_open=True)
    broken = Issue(number=3, body="<!-- prompt-bench {broken} -->\n", is_open=True)
    green = [judged(PLACES[0], Verdict.AS_EXPECTED)]
    assert decide([foreign, plain, broken], [], green, "n") == []
    assert [action.kind for action in decide([foreign, plain, broken], [one], green, "n")] == ["create"]


@given(st.lists(st.text(max_size=30), max_size=3), st.text(max_size=60))
def test_the_mark_is_read_back_whatever_is_in_it(places: list[str], text: str) -> None:
    """Places and texts with brackets, hyphens and line ends do not end the mark."""
    one = Cause(id="x", places=(*places, "a --> b"), cells=("c",), title="t", text=text)
    mark = Issue(number=1, body=one.body, is_open=True).mark
    assert mark is not None
    assert mark.cause == "x"
    assert len(mark.places) == len({*one.places})


def night_of(outcome: str, run: str, variants: Sequence[Mapping[str, str]] = (LLAMA,)) -> None:
    """Write a run: the old pair passes, the new one does as told."""
    both: list[VariantRecord] = []
    for variant in variants:
        both += [record(OLD, "passed", variant=variant), record(NEW, outcome, variant=variant)]
    write_run(Run(id=run), both)


def test_the_text_says_who_is_hit_where_and_what_to_type(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One sentence, methods and families, a table of cells, the commands; hostile words stay words."""
    monkeypatch.setenv("PROMPT_BENCH_REPORTS", str(tmp_path))
    night_of("error", "night", [LLAMA, {**LLAMA, "model": "gpt2"}])
    summary = summarise(Run(id="night"), load_cases())
    (one,) = causes_of(summary)
    assert "ValueError" in one.title
    assert "**Who is hit**: p_tuning on " in one.text
    (row,) = (line for line in one.text.splitlines() if "| 5.23.0 |" in line)
    assert row.endswith("| 2 | 0 |")
    assert "prompt-bench bisect --case generate_with_cache:" in one.text
    assert "prompt-bench repro generate_with_cache" in one.text
    assert len(one.places) == 2


def test_a_message_stays_in_its_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Backticks in a message lengthen the fence; a heading, a mention or an image in it is code."""
    monkeypatch.setenv("PROMPT_BENCH_REPORTS", str(tmp_path))
    bad = replace(record(NEW, "error"), signature="ValueError: ```\n# heading @everyone ![x](y) <img>")
    write_run(Run(id="night"), [record(OLD, "passed"), bad])
    (one,) = causes_of(summarise(Run(id="night"), load_cases()))
    fences = [line for line in one.text.splitlines() if set(line) == {"`"}]
    assert len(fences) == 4
    assert "`" * 4 in fences
    assert not [line for line in one.text.splitlines() if line.startswith("# ")]
    assert "<img>" not in one.title.replace("<n>", "")


@pytest.fixture
def tracker() -> Iterator[LocalTracker]:
    """Serve a tracker of issues on this machine."""
    with served(LocalTracker()) as tracker:
        yield tracker


def follow_up(reports: Path, run: str, github: Mapping[str, str], *options: str) -> Any:
    """Run the command as a job of GitHub Actions would."""
    environ = {**os.environ, "PROMPT_BENCH_REPORTS": str(reports), **github}
    command = [sys.executable, "-m", "harness", "admin", "follow-up", run, "--no-confirm", *options]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environ, check=False)


def test_four_nights_open_update_close_and_open_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tracker: LocalTracker
) -> None:
    """Through the command: one issue in all, whose state is that of the night."""
    monkeypatch.setenv("PROMPT_BENCH_REPORTS", str(tmp_path))
    for number, (outcome, state, said) in enumerate(
        [
            ("passed", None, "0 causes"),
            ("wrong", "open", "opened #1"),
            ("wrong", "open", "updated #1"),
            ("not-run", "open", "0 issues to write"),
            ("passed", "closed", "closed #1"),
            ("wrong", "open", "opened again #1"),
        ]
    ):
        night_of(outcome, f"night-{number}")
        done = follow_up(tmp_path, f"night-{number}", tracker.environment)
        assert done.returncode == 0, done.stderr
        assert said in done.stdout, (number, done.stdout)
        assert [issue["state"] for issue in tracker.issues] == ([state] if state else [])
    assert len(tracker.comments) == 2
    assert tracker.issues[0]["labels"] == ["prompt-bench"]


def test_a_dry_run_asks_nobody_and_needs_no_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It prints the issue; nothing listens at the address."""
    monkeypatch.setenv("PROMPT_BENCH_REPORTS", str(tmp_path))
    night_of("wrong", "night")
    done = follow_up(tmp_path, "night", {}, "--dry-run")
    assert done.returncode == 0, done.stderr
    assert "1 causes need a person in run night, 1 issues to write" in done.stdout.splitlines()[0]
    assert "would create" in done.stdout
    assert "**Who is hit**" in done.stdout


def test_a_refused_token_is_one_line_without_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tracker: LocalTracker
) -> None:
    """The line says which permission is missing."""
    monkeypatch.setenv("PROMPT_BENCH_REPORTS", str(tmp_path))
    night_of("wrong", "night")
    done = follow_up(tmp_path, "night", tracker.environment | {"GITHUB_TOKEN": f"not-{TOKEN}"})
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].endswith("give the job permissions: issues: write")
    assert f"not-{TOKEN}" not in done.stdout + done.stderr
