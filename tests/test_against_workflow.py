"""The workflows that a fork adds, step by step on this machine: measured without a token, commented from an artifact.

Steps of other people's actions are stood in for by what they do with files; everything else runs as it is written.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from harness.against.answer import read_answer
from harness.environments.index import clean_environment
from harness.errors import InputError
from harness.paths import ROOT
from harness.selfcheck.local_api import TOKEN, WRITTEN_HERE, LocalApi, page_of, served
from tests.checkouts import CASE, git, make_checkout

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from harness.environments.build import Environment

pytestmark = pytest.mark.slow

FILES = sorted([*(ROOT / ".github").glob("workflows/*.yml"), *(ROOT / ".github").glob("actions/*/action.yml")])
HOSTILE = 'x\'; touch pwned; "$(touch pwned)" `touch pwned` @everyone'
_EXPRESSION = re.compile(r"\$\{\{\s*(.*?)\s*\}\}")


@pytest.fixture(scope="module")
def read(old_environment: Environment) -> Mapping[str, Any]:
    """Read every workflow and action, with the YAML reader that a cell has."""
    code = "import json, sys, yaml; print(json.dumps({one: yaml.safe_load(open(one)) for one in sys.argv[1:]}))"
    command = [str(old_environment.python), "-c", code, *map(str, FILES)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=clean_environment(os.environ))
    return {str(Path(name).relative_to(ROOT)): data for name, data in json.loads(done.stdout).items()}


def steps_of(data: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """List the steps of a workflow or an action."""
    jobs = data.get("jobs", {"": data.get("runs", {})}).values()
    return [step for job in jobs for step in job.get("steps", [])]


def test_nothing_of_an_event_reaches_a_shell(read: Mapping[str, Any]) -> None:
    """No script has an expression in it: a title or a branch's name comes as an environment variable, if at all."""
    scripts = [step["run"] for data in read.values() for step in steps_of(data) if "run" in step]
    assert len(scripts) > 5
    assert not [script for script in scripts if "${{" in script]


def test_every_action_is_pinned(read: Mapping[str, Any]) -> None:
    """By a whole commit, or it is of this very repository and commit."""
    used = [step["uses"] for data in read.values() for step in steps_of(data) if "uses" in step]
    assert len(used) > 5
    assert not [one for one in used if not re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}|\$/\.github/actions/[\w-]+", one)]


def test_every_job_has_a_limit(read: Mapping[str, Any]) -> None:
    """An hour at most, three in the long sessions: a job that hangs is ended, and not after six hours."""
    limits = [
        (path, name, job.get("timeout-minutes", 0))
        for path, data in read.items()
        for name, job in data.get("jobs", {}).items()
    ]
    assert len(limits) > 5
    most = {".github/workflows/weekly.yml": 180, ".github/workflows/nightly.yml": 120}
    assert not [one for one in limits if not 0 < one[2] <= most.get(one[0], 60)]


def test_the_measuring_job_may_do_nothing(read: Mapping[str, Any]) -> None:
    """It runs unreviewed code: its token has no permission, it gets no secret, and it keeps no cache."""
    workflow = read[".github/workflows/against.yml"]
    assert workflow["permissions"] == {}
    assert workflow["jobs"]["measure"]["permissions"] == {}
    text = json.dumps([workflow["jobs"]["measure"], read[".github/actions/against/action.yml"]])
    assert "token" not in text
    assert "secrets" not in text
    assert "actions/cache" not in text
    assert workflow["jobs"]["comment"]["permissions"] == {"pull-requests": "write"}
    assert not [step for step in workflow["jobs"]["comment"]["steps"] if "checkout" in step.get("uses", "")]


class PullRequests(LocalApi):
    """The few addresses of GitHub's API that comments need, for one pull request."""

    def __init__(self) -> None:
        """Begin without a comment."""
        super().__init__()
        self.comments: list[dict[str, Any]] = []
        self.pulls: list[dict[str, Any]] = []

    def answer(self, method: str, path: str, query: Mapping[str, str], data: Mapping[str, Any]) -> Any:
        """List pull requests by their head, or comments by pages; add or change a comment."""
        match method:
            case "GET" if path.endswith("/pulls"):
                return [one for one in self.pulls if one["label"] == query["head"]]
            case "GET":
                return page_of(self.comments, query)
            case "POST":
                self.comments.append({"id": len(self.comments) + 1, **WRITTEN_HERE, **data})
                return self.comments[-1]
            case _:
                number = int(path.rpartition("/")[2])
                (one,) = (one for one in self.comments if one["id"] == number)
                one |= data
                return one


@pytest.fixture
def github() -> Iterator[PullRequests]:
    """Serve the API on this machine."""
    with served(PullRequests()) as github:
        yield github


@dataclass
class Runner:
    """Runs the jobs of a workflow: its scripts with bash, other people's actions as what they do with files."""

    read: Mapping[str, Any]
    folder: Path
    context: dict[str, Any]
    api: str
    artifacts: dict[str, Path] = field(default_factory=dict)
    count: int = 0

    def job(self, workflow: str, name: str, inputs: Mapping[str, str]) -> int | None:
        """Run a job; return the exit status of its first step that failed, 0, or None where its condition says no."""
        job = self.read[f".github/workflows/{workflow}.yml"]["jobs"][name]
        if not self.holds(job.get("if", "always()")):
            return None
        workspace = self.folder / f"{workflow}-{name}"
        workspace.mkdir(parents=True, exist_ok=True)
        status, _ = self.steps(job["steps"], {**self.context, "inputs": inputs}, workspace, ROOT)
        return status

    def steps(
        self, steps: list[Mapping[str, Any]], context: Mapping[str, Any], workspace: Path, action: Path
    ) -> tuple[int, dict[str, Any]]:
        """Run steps one after the other; after a failure only those that always run."""
        status, outputs = 0, dict[str, Any]()
        for step in steps:
            if status and step.get("if") != "always()":
                continue
            context = {**context, "steps": outputs}
            done, told = self.step(step, context, workspace, action)
            status = status or done
            if "id" in step:
                outputs[step["id"]] = {"outputs": told}
        return status, outputs

    def step(
        self, step: Mapping[str, Any], context: Mapping[str, Any], workspace: Path, action: Path
    ) -> tuple[int, dict[str, str]]:
        """Run one step; return its exit status and its outputs."""
        values = {name: fill(str(value), context) for name, value in step.get("with", {}).items()}
        match step.get("uses", "").partition("@")[0]:
            case "":
                return self.script(step, context, workspace, action)
            case "actions/setup-python":
                return 0, {}
            case "actions/upload-artifact":
                assert list(Path(values["path"]).iterdir()), "nothing to upload"
                self.artifacts[values["name"]] = Path(values["path"])
                return 0, {}
            case "actions/download-artifact":
                shutil.copytree(self.artifacts[values["name"]], workspace / values["path"], dirs_exist_ok=True)
                return 0, {}
            case own if own.startswith("$/"):
                path = own.removeprefix("$/")
                data = self.read[f"{path}/action.yml"]
                given = {name: fill(str(one.get("default", "")), context) for name, one in data["inputs"].items()}
                inner = {**context, "inputs": {**given, **values}}
                status, told = self.steps(data["runs"]["steps"], inner, workspace, ROOT / path)
                outputs = {
                    name: fill(one["value"], {**inner, "steps": told}) for name, one in data.get("outputs", {}).items()
                }
                return status, outputs
        message = f"no stand-in for {step['uses']}"
        raise AssertionError(message)

    def script(
        self, step: Mapping[str, Any], context: Mapping[str, Any], workspace: Path, action: Path
    ) -> tuple[int, dict[str, str]]:
        """Run a script as GitHub's runner does."""
        self.count += 1
        place = self.folder / f"step{self.count}"
        place.mkdir()
        (place / "script.sh").write_text(step["run"], encoding="utf-8")
        output = place / "output"
        environ = clean_environment(os.environ) | {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "RUNNER_TEMP": str(workspace / "temp"),
            "GITHUB_ACTION_PATH": str(action),
            "GITHUB_API_URL": self.api,
            "GITHUB_OUTPUT": str(output),
            "GITHUB_REPOSITORY": context["github"]["repository"],
            "GITHUB_STEP_SUMMARY": str(workspace / "summary.md"),
        }
        environ |= {name: fill(str(value), context) for name, value in step.get("env", {}).items()}
        # The packages of this machine's index are for one backend alone; the action asks for the one for CPUs.
        environ.pop("UV_TORCH_BACKEND", None)
        done = subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", str(place / "script.sh")],
            capture_output=True, text=True, cwd=workspace, env=environ, check=False,
        )  # fmt: skip
        (place / "log").write_text(done.stdout + done.stderr, encoding="utf-8")
        print(done.stdout, done.stderr)
        lines = output.read_text(encoding="utf-8").splitlines() if output.is_file() else []
        return done.returncode, dict(line.split("=", 1) for line in lines)

    def holds(self, condition: str) -> bool:
        """Evaluate a condition: comparisons of values, joined by ``&&``."""
        for part in condition.split(" && "):
            if part == "always()":
                continue
            one, sign, other = part.split(" ")
            values = [text.strip("'") if text.startswith("'") else look_up(text, self.context) for text in (one, other)]
            if (values[0] == values[1]) is not (sign == "=="):
                return False
        return True


def fill(text: str, context: Mapping[str, Any]) -> str:
    """Put values in the place of expressions."""
    return _EXPRESSION.sub(lambda found: look_up(found[1], context), text)


def look_up(name: str, context: Mapping[str, Any]) -> str:
    """Return the value of a dotted name; "" where there is none, as GitHub does."""
    value: Any = context
    for part in name.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return "" if value is None else str(value)


@pytest.fixture(scope="module")
def repository(old_environment: Environment, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make the repository that is asked about, ``owner/peft``, whose last commit has a fault."""
    return make_checkout(tmp_path_factory.mktemp("server") / "owner" / "peft", old_environment)


def event_of(repository: Path, head: str) -> dict[str, Any]:
    """Return the context of a pull request from ``head`` (owner/name), with a hostile title and branch."""
    base, merged = (git(repository, "rev-parse", ref) for ref in ("main~1", "main"))
    pull = {
        "number": 7,
        "title": HOSTILE,
        "base": {"sha": base},
        "head": {"sha": merged, "ref": HOSTILE, "repo": {"full_name": head}},
    }
    return {
        "github": {
            "server_url": repository.parent.parent.as_uri(),
            "repository": "owner/peft",
            "sha": merged,
            "token": TOKEN,
            "event": {"pull_request": pull},
        }
    }


def check_comment(body: str) -> None:
    """The comment names the fault with before and after, and mentions nobody."""
    assert body.startswith("<!-- prompt-learning-bench against peft -->\n")
    assert "<b>broken</b> 1 x <code>raises RuntimeError" in body
    assert "- before: `passed`" in body
    assert "- after: `error: RuntimeError: planted`" in body
    assert "prompt-bench against git+file:" in body
    assert "--with transformers==4.45.1 --case generate_with_cache:llama-prompt_tuning-workaround" in body
    assert "@everyone" not in body


def test_a_pull_request_is_measured_and_commented_once(
    read: Mapping[str, Any], repository: Path, github: PullRequests, tmp_path: Path
) -> None:
    """Job by job: the first ends red, its artifact is whole, and the second adds a comment, then updates it."""
    runner = Runner(read, tmp_path, event_of(repository, "owner/peft"), github.environment["GITHUB_API_URL"])
    inputs = {"package": "peft", "with": "4.45.1", "case": CASE, "rings": "all"}
    assert runner.job("against", "measure", inputs) == 1
    assert github.asked == []
    artifact = runner.artifacts["against"]
    assert {one.name for one in artifact.iterdir()} == {"difference.json", "comment.md", "junit.xml", "report.log"}
    assert read_answer((artifact / "difference.json").read_bytes(), "x").broke
    check_comment((tmp_path / "against-measure" / "summary.md").read_text(encoding="utf-8"))
    github.comments += [
        {"id": 1, "user": {"login": "somebody"}, "body": "<!-- prompt-learning-bench against peft -->\nmine"}
    ]
    assert runner.job("against", "comment", {}) == 0
    assert len(github.comments) == 2
    check_comment(github.comments[1]["body"])
    github.comments[1]["body"] = "<!-- prompt-learning-bench against peft -->\nold"
    assert runner.job("against", "comment", {}) == 0
    assert len(github.comments) == 2
    check_comment(github.comments[1]["body"])
    assert github.comments[0]["body"].endswith("mine")
    # From a fork: no job of that run comments, and the other workflow finds the pull request by what was measured.
    fork = event_of(repository, "stranger/peft")
    runner.context = fork
    assert runner.job("against", "comment", {}) is None
    head = fork["github"]["event"]["pull_request"]["head"]
    run = {
        "event": "pull_request",
        "id": 5,
        "head_branch": HOSTILE,
        "head_sha": head["sha"],
        "head_repository": {"full_name": "stranger/peft", "owner": {"login": "stranger"}},
    }
    runner.context = {"github": {**fork["github"], "event": {"workflow_run": run}}}
    github.pulls += [
        {"number": 6, "label": f"stranger:{HOSTILE}", "head": {"sha": "0" * 40}},
        {"number": 7, "label": f"stranger:{HOSTILE}", "head": {"sha": head["sha"]}},
    ]
    assert runner.job("against-comment", "comment", {}) == 0
    assert len(github.comments) == 2
    assert any("/issues/7/comments" in one for one in github.asked)
    assert not list(tmp_path.rglob("pwned")) + list(ROOT.glob("pwned"))


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b'{"schema": 1}', b"\xff\xfe", b'{"package": 3}'])
def test_what_is_no_answer_is_refused(data: bytes) -> None:
    """An artifact is whatever unreviewed code wrote: it is refused in one line, and never posted."""
    with pytest.raises(InputError, match="write it with"):
        read_answer(data, "difference.json")
