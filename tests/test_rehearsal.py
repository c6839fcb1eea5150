"""The rehearsal runs the workflows to the letter; the workflows are pinned and bounded, and give what is needed."""

from __future__ import annotations

import gzip
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from harness.contracts.plan import Plan, plan_text
from harness.contracts.records import append_records, variants_in
from harness.environments.index import clean_environment
from harness.judge.reference import published, read_reference
from harness.matrix.cases import load_cases, read_selector
from harness.matrix.plan import Selection, plan_run
from harness.matrix.read import load_matrix, parse_matrix
from harness.paths import ROOT
from harness.run.runs import asked_cell
from harness.selfcheck.local_api import REPOSITORY, LocalTracker, served
from harness.selfcheck.rehearsal import CASES, HOUR, NEW, NIGHT, NOT_REHEARSED, OLD, copy_project, forget, matrix_of

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
        path.write_text(matrix_of(release), encoding="utf-8")
        cells[release] = parse_matrix(path.read_text(encoding="utf-8"), path).cells
    assert [one.pins["peft"] for one in cells[OLD]] == [one.pins["peft"] for one in cells[NEW]]
    selector = read_selector(",".join(CASES), load_cases())
    chosen = [variant for case in load_cases() for variant in case.variants if selector(case.name, variant)]
    assert 4 <= len(chosen) <= 40


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Copy the project as it was before the release was known."""
    folder = tmp_path_factory.mktemp("project")
    copy_project(folder)
    forget(folder, NEW)
    return folder


def test_what_a_release_brought_is_forgotten_and_nothing_else(project: Path) -> None:
    """No record of it is left, every older one is; of the expectations those go that hold with nothing older."""
    quoted = f'"transformers": "{NEW}"'.encode()
    for path in (ROOT / "reports" / "reference").glob("*.jsonl.gz"):
        before = gzip.decompress(path.read_bytes()).splitlines()
        after = gzip.decompress((project / "reports" / "reference" / path.name).read_bytes()).splitlines()
        assert after == [line for line in before if quoted not in line]
    entries = {"before": 0, "after": 0}
    for path in (ROOT / "cases" / "expected").glob("*.toml"):
        before_text = path.read_text(encoding="utf-8")
        there = project / "cases" / "expected" / path.name
        after_text = there.read_text(encoding="utf-8") if there.is_file() else ""
        assert f'transformers = "=={NEW}"' not in after_text
        entries["before"] += before_text.count("[[expect]]")
        entries["after"] += after_text.count("[[expect]]")
    assert 0 < entries["before"] - entries["after"] < entries["before"] / 2


def published_night(project: Path, release: str, cells: int) -> None:
    """Write the run of a night with its published records; only the first ``cells`` of its cells were measured."""
    matrix = project / "matrices" / "rehearsal.toml"
    matrix.write_text(matrix_of(release), encoding="utf-8")
    planned = plan_run(load_matrix(str(matrix)), load_cases(), Selection())
    folder = project / "reports" / "runs" / "nightly"
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "records").mkdir(parents=True)
    head = Plan(matrix="rehearsal", title="a night", device="cpu", run="nightly")
    (folder / "plan.json").write_text(plan_text(head.with_cells(map(asked_cell, planned))), encoding="utf-8")
    names = {tuple(one.cell.pins[name] for name in ("peft", "transformers")): one.cell.id for one in planned[:cells]}
    wanted = {(case.name, *variant.items()) for one in planned for case, variant in one.variants}
    newest = {}
    for record in (one for name in published() for one in variants_in(read_reference(name))):
        cell = names.get((record.cell.packages["peft"], record.cell.packages["transformers"]))
        if cell is not None and (record.case, *record.variant.items()) in wanted:
            facts = replace(record.cell, id=cell, matrix="rehearsal")
            newest[cell, record.case, *record.variant.items()] = replace(record, cell=facts, run="nightly")
    append_records(folder / "records" / "all.jsonl", newest.values())


def test_published_nights_open_issues_and_close_them(project: Path) -> None:
    """Without measuring: at most six causes, each of the new release; a lost shard closes none, a green night all."""
    command = [sys.executable, "-m", "harness", "admin", "follow-up", "nightly", "--no-confirm"]
    with served(LocalTracker()) as tracker:
        counts = []
        for release, cells in ((OLD, 2), (NEW, 2), (NEW, 1), (OLD, 2)):
            published_night(project, release, cells)
            environ = {**clean_environment(os.environ), **tracker.environment}
            environ["PROMPT_BENCH_REPORTS"] = str(project / "reports")
            done = subprocess.run(command, cwd=project, env=environ, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr
            counts.append((len(tracker.open), len(tracker.issues)))
        _, (opened, _), *_ = counts
        assert 1 <= opened <= 6
        assert counts == [(0, 0), (opened, opened), (opened, opened), (0, opened)]
        assert all(f"since transformers {NEW} ({OLD} does not)" in one["body"] for one in tracker.issues)


def test_the_tracker_on_this_machine_does_as_the_real_one() -> None:
    """An issue is opened, found by its label's list, closed with a comment, through the client of the follow-up."""
    from harness.followup.issues import Action
    from harness.followup.tracker import Tracker

    with served(LocalTracker()) as tracker:
        client = Tracker(tracker.environment)
        assert client.issues() == []
        assert client.do(Action(kind="create", number=None, title="t", body="b")) == "opened #1: t"
        (issue,) = client.issues()
        assert (issue.number, issue.body, issue.is_open, issue.is_ours) == (1, "b", True, True)
        client.do(Action(kind="close", number=1, comment="green"))
        assert tracker.open == []
        assert tracker.comments == ["green"]
        assert tracker.environment["GITHUB_REPOSITORY"] == REPOSITORY
