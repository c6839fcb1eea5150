"""The rehearsal runs the workflows to the letter; the workflows are pinned and bounded, and give what is needed."""

from __future__ import annotations

import gzip
import re
from typing import TYPE_CHECKING

import pytest

from harness.matrix.cases import load_cases, read_selector
from harness.matrix.read import parse_matrix
from harness.paths import ROOT
from harness.selfcheck.local_tracker import REPOSITORY, local_tracker
from harness.selfcheck.rehearsal import CASES, HOUR, NEW, NIGHT, NOT_REHEARSED, OLD, copy_project, forget, matrix_text

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

FILES = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
_RUN = re.compile(r"^\s+(?:- )?run: (.*)$", re.MULTILINE)
_COMMENT = re.compile(r" # .*$")
_JOB = re.compile(r"^  ([\w-]+):\n((?:    .*\n|\s*#.*\n|\n)*)", re.MULTILINE)


def lines_of(path: Path) -> list[str]:
    """List the `run:` lines of a workflow, without their comments."""
    return [_COMMENT.sub("", line) for line in _RUN.findall(path.read_text(encoding="utf-8"))]


def jobs_of(path: Path) -> Mapping[str, str]:
    """Map the jobs of a workflow to their text."""
    return dict(_JOB.findall(path.read_text(encoding="utf-8").partition("\njobs:\n")[2]))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_line_is_rehearsed_or_has_a_reason(path: Path) -> None:
    """A line that no job of the rehearsal runs is listed with why it does not."""
    known = {*NIGHT, *HOUR, *NOT_REHEARSED}
    assert not [line for line in lines_of(path) if line not in known]


def test_every_rehearsed_line_is_of_a_workflow() -> None:
    """The nights run what nightly.yml has, the hour what releases.yml has, and no reason is left over."""
    by_name = {path.stem: lines_of(path) for path in FILES}
    assert set(NIGHT) <= set(by_name["nightly"])
    assert set(HOUR) <= set(by_name["releases"])
    assert set(NOT_REHEARSED) <= {line for lines in by_name.values() for line in lines}
    assert all(NOT_REHEARSED.values())


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_workflows_are_pinned_and_bounded_and_no_expression_is_in_a_script(path: Path) -> None:
    """Actions by a whole commit, a time limit for each job, permissions named, and `${{` in no script."""
    text = path.read_text(encoding="utf-8")
    used = re.findall(r"uses: (\S+)", text)
    assert not [one for one in used if not re.fullmatch(r"[\w./-]+@[0-9a-f]{40}|\$/\.github/actions/[\w-]+", one)]
    assert "\npermissions:" in text
    jobs = jobs_of(path)
    assert jobs
    assert not [name for name, body in jobs.items() if "timeout-minutes:" not in body]
    assert not [line for line in lines_of(path) if "${{" in line]


def test_only_who_follows_up_may_write_issues() -> None:
    """What is measured in the other jobs has a token that may read."""
    for path in FILES:
        writing = [name for name, body in jobs_of(path).items() if "issues: write" in body]
        assert set(writing) <= {"follow-up"}
        assert not [name for name in writing if "contents: write" in jobs_of(path)[name]]


def test_the_weekly_sessions_are_sessions() -> None:
    """Each name in the job matrix is a session of the noxfile."""
    text = (ROOT / ".github" / "workflows" / "weekly.yml").read_text(encoding="utf-8")
    noxfile = (ROOT / "noxfile.py").read_text(encoding="utf-8")
    named = re.findall(r"- session: (\S+)", text)
    assert len(named) > 5
    known = {*re.findall(r"^def (\w+)\(session", noxfile, re.MULTILINE), *re.findall(r'name="([\w-]+)"', noxfile)}
    assert set(named) <= known


def test_the_matrix_of_a_night_is_small_and_has_each_kind_of_case(tmp_path: Path) -> None:
    """It reads, and its words mean variants; both releases of transformers give the same cells but for it."""
    path = tmp_path / "rehearsal.toml"
    cells = {}
    for release in (OLD, NEW):
        path.write_text(matrix_text(release), encoding="utf-8")
        cells[release] = parse_matrix(path.read_text(encoding="utf-8"), path).cells
    assert [one.pins["peft"] for one in cells[OLD]] == [one.pins["peft"] for one in cells[NEW]]
    selector = read_selector(",".join(CASES), load_cases())
    chosen = [variant for case in load_cases() for variant in case.variants if selector(case.name, variant)]
    assert 4 <= len(chosen) <= 40


def test_what_a_release_brought_is_forgotten_and_nothing_else(tmp_path: Path) -> None:
    """No record of it is left, every older one is; of the expectations those go that hold with nothing older."""
    copy_project(tmp_path)
    forget(tmp_path, NEW)
    quoted = f'"transformers": "{NEW}"'.encode()
    for path in (ROOT / "reports" / "reference").glob("*.jsonl.gz"):
        before = gzip.decompress(path.read_bytes()).splitlines()
        after = gzip.decompress((tmp_path / "reports" / "reference" / path.name).read_bytes()).splitlines()
        assert after == [line for line in before if quoted not in line]
    entries = {"before": 0, "after": 0}
    for path in (ROOT / "cases" / "expected").glob("*.toml"):
        before_text = path.read_text(encoding="utf-8")
        there = tmp_path / "cases" / "expected" / path.name
        after_text = there.read_text(encoding="utf-8") if there.is_file() else ""
        assert f'transformers = "=={NEW}"' not in after_text
        entries["before"] += before_text.count("[[expect]]")
        entries["after"] += after_text.count("[[expect]]")
    assert 0 < entries["before"] - entries["after"] < entries["before"] / 2


def test_the_tracker_on_this_machine_does_as_the_real_one() -> None:
    """An issue is opened, found by its label's list, closed with a comment, through the client of the follow-up."""
    from harness.followup.issues import Action
    from harness.followup.tracker import Tracker

    with local_tracker() as tracker:
        client = Tracker(tracker.environment)
        assert client.issues() == []
        assert client.do(Action(kind="create", number=None, title="t", body="b")) == "opened #1: t"
        (issue,) = client.issues()
        assert (issue.number, issue.body, issue.is_open, issue.is_ours) == (1, "b", True, True)
        client.do(Action(kind="close", number=1, comment="green"))
        assert tracker.open == []
        assert tracker.comments == ["green"]
        assert tracker.environment["GITHUB_REPOSITORY"] == REPOSITORY
