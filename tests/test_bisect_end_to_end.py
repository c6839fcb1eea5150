"""Bisect as a user runs it: real releases, real workers, and commits with the sources of two real releases."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

from harness.environments.build import build_overlay
from harness.interface import variant_id
from harness.paths import ROOT
from tests.checkouts import pyproject
from tests.test_bisect_commits import Origin
from tests.test_nights import newest_beside_5_24

if TYPE_CHECKING:
    from pathlib import Path

    from harness.judge.causes import Group

pytestmark = pytest.mark.slow

PYPROJECT = pyproject("0.12.1.dev0")
QUESTION = ["--case", "generate_with_cache", "--model", "llama", "--axis", "peft", "--transformers", "4.45.2"]
FIX = [*QUESTION, "--method", "prompt_tuning", "--from-matrix", "grid", "--good", "0.13.1", "--bad", "0.12.0"]

STEP = re.compile(r" *\d+ (newest|end|halving|repeat|spare|widening|corner|git bisect) ")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a folder for the reports of this module."""
    return tmp_path_factory.mktemp("bisect")


@pytest.fixture(scope="module")
def commits(tmp_path_factory: pytest.TempPathFactory) -> tuple[Origin, list[str]]:
    """Make a repository that goes from peft 0.12.0 to 0.13.0 in one of its commits; one cannot be installed."""
    origin = Origin(tmp_path_factory.mktemp("origin") / "peft")
    shas = []
    for title, release, project in (
        ("Old (#1)", "0.12.0", PYPROJECT),
        ("Broken project (#2)", "0.12.0", "[project"),
        ("Nothing (#3)", "0.12.0", PYPROJECT),
        ("The cure (#4)", "0.13.0", PYPROJECT),
        ("Nothing again (#5)", "0.13.0", PYPROJECT),
    ):
        shutil.rmtree(origin.folder / "src", ignore_errors=True)
        sources = build_overlay(f"peft=={release}", "3.11") / "peft"
        shutil.copytree(sources, origin.folder / "src" / "peft", ignore=shutil.ignore_patterns("__pycache__"))
        (origin.folder / "pyproject.toml").write_text(project, encoding="utf-8")
        shas.append(origin.commit(release, title))
    return origin, shas


def command(place: Path, *arguments: str) -> list[str]:
    """Write the command that bisects."""
    assert place.is_dir()
    return [sys.executable, "-m", "harness", "bisect", *arguments]


def environ(place: Path) -> dict[str, str]:
    """Put reports into the test's folder."""
    return {**os.environ, "PROMPT_BENCH_REPORTS": str(place / "reports")}


def bisect(place: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a bisect to its end."""
    return subprocess.run(
        command(place, *arguments), capture_output=True, text=True, cwd=ROOT, env=environ(place), check=False
    )


def report(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """Read the JSON report that a bisect wrote."""
    (path,) = [line.split(" ", 1)[1] for line in done.stdout.splitlines() if line.endswith("bisect.json")]
    with open(path, encoding="utf-8") as text:  # noqa: PTH123 - a string in the output
        data: dict[str, Any] = json.load(text)
    return data


def test_from_the_release_to_the_commit(place: Path, commits: tuple[Origin, list[str]]) -> None:
    """The fix is found among releases, then among commits, and what cannot be installed is skipped."""
    origin, shas = commits
    arguments = [*FIX, "--repo", str(origin.folder), "--bad-commit", shas[0], "--good-commit", shas[4]]
    done = bisect(place, *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    data = report(done)
    (axis,) = data["axes"]
    assert (axis["find"], axis["change"]["left"], axis["change"]["right"]) == ("first fixed", "0.12.0", "0.13.0")
    assert axis["rule"] == "wrong: generate(use_cache=True) drops the prompt and leaves the forward loop"
    assert axis["came_along"] == {}
    (commit,) = data["commit"]["commits"]
    assert (commit["sha"], commit["title"], commit["pull"]) == (shas[3], "The cure (#4)", "4")
    assert "src/peft/peft_model.py" in commit["files"]
    sources = {step["why"] for step in data["steps"] if step["label"].startswith(shas[1][:10])}
    assert sources == set() or "install-failed" in done.stdout
    assert data["reproduce"][0].startswith(
        "python -m harness repro generate_with_cache --cell peft0.12.0-tf4.45.2-torch2.13.0-py3.11 --matrix grid "
    )
    assert data["reproduce"][1].endswith(f"--good-commit {shas[4]}")
    assert "first fixed commit of peft" in done.stdout
    steps = [line for line in done.stdout.splitlines() if STEP.match(line)]
    assert len(steps) == len(data["steps"])
    assert max(len(line) for line in steps) <= 100

    again = bisect(place, *arguments)
    assert {step["source"] for step in report(again)["steps"]} == {"journal"}, "nothing is asked twice"
    assert report(again)["axes"] == data["axes"]


@pytest.mark.parametrize("cause", newest_beside_5_24(), ids=lambda group: group.representative.case)
def test_without_ends_the_newest_change_is_found(place: Path, cause: Group) -> None:
    """Asked for a case and a variant alone, it names the release that broke each representative of a real night."""
    told = cause.representative
    axes = {name: value for name, value in told.variant.items() if name not in {"device", "dtype"}}
    done = bisect(place, "--case", told.case, "--variant", variant_id(axes), "--peft", "0.21.2")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "transformers 5.24.0 is the first bad release" in done.stdout
    data = report(done)
    assert (data["steps"][0]["why"], data["axes"][0]["change"]["right"]) == ("newest", "5.24.0")


def test_known_answers_serve_another_question(place: Path) -> None:
    """The newest release is asked first; what the store knows is not measured again, and says where its end lies."""
    done = bisect(place, *QUESTION, "--method", "prompt_tuning", "--from-matrix", "grid", "--any-failure")
    assert done.returncode == 0, done.stdout + done.stderr
    data = report(done)
    assert data["steps"][0]["why"] == "newest"
    assert data["steps"][0]["label"] == "peft 0.21.2"
    assert data["axes"][0]["ends_from"] == "from the newest release and from records, verified"
    assert data["axes"][0]["change"]["right"] == "0.13.0"
    assert {step["source"] for step in data["steps"][1:]} <= {"store"}


def test_a_killed_bisect_goes_on(place: Path) -> None:
    """SIGKILL after two answers; started again it asks only what it does not know, and finds the break."""
    arguments = [*QUESTION, "--method", "prefix_tuning", "--from-matrix", "grid", "--good", "0.15.0", "--bad", "0.17.1"]
    run = subprocess.Popen(command(place, *arguments), cwd=ROOT, env=environ(place), stdout=subprocess.PIPE, text=True)
    assert run.stdout is not None
    seen = []
    for line in run.stdout:
        if STEP.match(line):
            seen.append(line)
        if len(seen) == 2:
            run.send_signal(signal.SIGKILL)
            break
    with run:
        run.stdout.read()
    time.sleep(0.5)
    done = bisect(place, *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    data = report(done)
    sources = [step["source"] for step in data["steps"]]
    assert sources[:2] == ["journal", "journal"]
    assert set(sources[3:]) == {"measured"}
    assert data["axes"][0]["change"]["left"] == "0.15.2"
    assert data["axes"][0]["change"]["right"] == "0.16.0"
    assert data["axes"][0]["rule"].startswith("error: IndexError")


def test_which_package(place: Path) -> None:
    """Two packages differ; the corners say which of them it takes."""
    cells = ["--good", "peft=0.13.0,transformers=4.45.2", "--bad", "peft=0.12.0,transformers=4.46.3"]
    done = bisect(
        place, "--case", "generate_with_cache", "--model", "llama", "--method", "prompt_tuning", *cells, "--corners"
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Which package: peft 0.12.0 alone is enough; transformers has no part in it" in done.stdout
    assert len(report(done)["corners"]["answers"]) == 4


def test_an_end_that_is_not_what_it_was_said_to_be(place: Path) -> None:
    """Said in one sentence, with status 1, before any search."""
    done = bisect(
        place, *QUESTION, "--method", "prompt_tuning", "--from-matrix", "grid", "--good", "0.12.0", "--bad", "0.13.1"
    )
    assert done.returncode == 1
    assert "peft 0.13.1 should be bad but is good (passed); choose another --bad" in done.stdout
    assert len(report(done)["steps"]) == 1
