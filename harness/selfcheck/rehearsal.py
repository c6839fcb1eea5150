"""Rehearse nights as the workflows would run them: job by job, each in a fresh copy of the project.

What a job runs are the lines of ``.github/workflows/nightly.yml`` and ``releases.yml`` to the letter, by a shell, with
the same variables (``tests/test_rehearsal.py`` holds them against the files). Artifacts and caches are folders. The
tracker of issues is a server on this machine. It is the day before transformers 5.24.0 was known: the published records
and expected outcomes that it brought are taken out of the copies.
"""

from __future__ import annotations

import gzip
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from packaging.specifiers import SpecifierSet
from packaging.version import Version

from harness.environments.index import clean_environment
from harness.matrix.spec import Cell
from harness.matrix.write import matrix_text
from harness.paths import ROOT

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from harness.selfcheck.local_api import LocalTracker

OLD, NEW = "5.23.0", "5.24.0"
PEFT = ("0.21.2", "0.20.0")
NAME = "rehearsal"
SHARDS = 4
KILLED = 2

CASES = (
    "generate_with_cache:llama-prompt_tuning-*",
    "generate_with_cache:gpt2-p_tuning-*",
    "generate_with_cache:llama-prefix_tuning-*",
    "static_cache:gpt2-prefix_tuning*",
)
"""A few variants of each of the large causes of transformers 5.24.0, and some that it left as they were."""

PLAN = 'prompt-bench plan "$PROMPT_BENCH_MATRIX"'
QUICK = 'prompt-bench run "$PROMPT_BENCH_MATRIX" --quick --run-id quick --quiet'
REPORT_QUICK = "prompt-bench report quick"
SUMMARY = 'cat reports/latest/report.md >> "$GITHUB_STEP_SUMMARY"'
SHARD = 'prompt-bench run "$PROMPT_BENCH_MATRIX" --shard "$SHARD" --run-id "$RUN" --quiet'
MERGE = (
    "(cd reports/runs && ls -d shard-*) | "
    'xargs prompt-bench admin merge --run-id nightly --matrix "$PROMPT_BENCH_MATRIX"'
)
REPORT = "prompt-bench report nightly"
WATCH = 'prompt-bench admin watch "$PROMPT_BENCH_MATRIX" --run nightly'
FOLLOW_UP = (
    'prompt-bench admin follow-up nightly --matrix "$PROMPT_BENCH_MATRIX" --nights reports/nights.json --budget 45 '
    "--clone peft=../peft"
)
NIGHT = (PLAN, QUICK, REPORT_QUICK, SUMMARY, SHARD, MERGE, REPORT, WATCH, FOLLOW_UP)

ASK = (
    "prompt-bench admin releases --state reports/releases.json --matrix-file reports/released.toml "
    '--like "$PROMPT_BENCH_MATRIX" --outputs "$GITHUB_OUTPUT" || test $? -eq 1'
)
QUICK_PAIR = "prompt-bench run reports/released.toml --quick --run-id quick --quiet"
BEFORE = 'prompt-bench run reports/released.toml --cell "$CELL" --run-id before --quiet'
AFTER = 'prompt-bench run reports/released.toml --cell "$CELL" --run-id after --quiet'
AGAINST = "prompt-bench against before after --format terminal --format github-comment=reports/against.md"
MERGE_PAIR = "prompt-bench admin merge before after --run-id released --matrix reports/released.toml"
REPORT_PAIR = "prompt-bench report released"
SUMMARY_PAIR = 'cat reports/against.md reports/latest/report.md >> "$GITHUB_STEP_SUMMARY"'
FOLLOW_UP_PAIR = "prompt-bench admin follow-up released --matrix reports/released.toml --budget 20"
HOUR = (
    ASK, QUICK_PAIR, REPORT_QUICK, BEFORE, AFTER, AGAINST, MERGE_PAIR, REPORT_PAIR, SUMMARY_PAIR, FOLLOW_UP_PAIR,
)  # fmt: skip

NOT_REHEARSED: Mapping[str, str] = {
    "pip install --quiet --editable .": "the copies run with the interpreter of the rehearsal",
    'pip install --quiet "nox[uv]"': "the rehearsal is started by nox",
    'prompt-bench run "$PROMPT_BENCH_MATRIX" --device cuda --run-id "cuda-$GITHUB_RUN_ID" --report': "needs a GPU",
    "git clone --quiet --filter=blob:none --no-checkout https://github.com/huggingface/peft ../peft": (
        "needs a host beside the package index; `nox -s tests` bisects commits of a clone that it makes"
    ),
    ".ci/run": "what every change has to pass, itself",
    'nox -s "$SESSION" -- ${OPTIONS:+"$OPTIONS"}': "the long sessions, each of which is its own",
    "nox -s history": "a long session that needs a host beside the package index",
}
"""The lines of the workflows that no rehearsed job runs, each with its reason."""

_COPIED = ("cases", "harness", "matrices", "reports/reference", "pyproject.toml")
_VERSION = re.compile(rb'"transformers": "([^"]+)"')


class RehearsalFailed(Exception):
    """A job ended otherwise than a night needs it to."""


@dataclass(kw_only=True)
class Night:
    """What one night, or one hour, came to: seconds of its jobs by name, and what its commands said."""

    seconds: dict[str, float] = field(default_factory=dict)
    said: dict[str, str] = field(default_factory=dict)
    statuses: dict[str, int] = field(default_factory=dict)


class Rehearsal:
    """The folder of a rehearsal: a copy of the project, one for each job, artifacts, caches, and the tracker."""

    def __init__(self, folder: Path, tracker: LocalTracker) -> None:
        """Copy the project as it was before ``NEW`` was known, and write the matrix."""
        self.folder, self.tracker = folder, tracker
        self.project = folder / "project"
        self.caches = folder / "caches"
        self.caches.mkdir(parents=True)
        copy_project(self.project)
        forget(self.project, NEW)
        program = folder / "bin" / "prompt-bench"
        program.parent.mkdir()
        program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m harness "$@"\n', encoding="utf-8")
        program.chmod(0o755)
        self._jobs = 0
        self.artifacts = folder

    def night(self, transformers: str, *, killed: int | None = None) -> Night:
        """Run the nightly workflow with one release of transformers; the shard ``killed`` dies while it measures."""
        (self.project / "matrices" / f"{NAME}.toml").write_text(matrix_of(transformers), encoding="utf-8")
        night = Night()
        plan = self._job("plan")
        for line in (PLAN, QUICK):
            self._step(plan, line, night)
        self._step(plan, REPORT_QUICK, night, also_good=(1,))
        self._step(plan, SUMMARY, night)
        artifacts = self.artifacts = self.folder / f"artifacts-{self._jobs}"
        for index in range(1, SHARDS + 1):
            job = self._job(f"shard-{index}")
            more = {"SHARD": f"{index}/{SHARDS}", "RUN": f"shard-{index}"}
            if index == killed:
                self._killed(job, SHARD, more, night)
                continue
            self._step(job, SHARD, night, more, name=f"shard {index}")
            shutil.copytree(job / "reports" / "runs", artifacts, dirs_exist_ok=True)
        collect = self._job("collect")
        shutil.copytree(artifacts, collect / "reports" / "runs")
        self._restore(collect, "store.sqlite")
        self._step(collect, MERGE, night)
        self._step(collect, REPORT, night, also_good=(1,))
        self._step(collect, SUMMARY, night)
        self._step(collect, WATCH, night)
        self._save(collect, "store.sqlite")
        follow_up = self._job("follow-up")
        for part in ("latest", "runs/nightly"):
            shutil.copytree(collect / "reports" / part, follow_up / "reports" / part)
        self._restore(follow_up, "nights.json")
        self._step(follow_up, FOLLOW_UP, night, self.tracker.environment)
        self._save(follow_up, "nights.json")
        return night

    def collected_without(self, shard: int) -> Night:
        """Collect the night before once more, as if one shard had died: its artifact is not there."""
        night, collect = Night(), self._job("collect")
        shutil.copytree(self.artifacts, collect / "reports" / "runs", ignore=shutil.ignore_patterns(f"shard-{shard}"))
        self._step(collect, MERGE, night)
        self._step(collect, REPORT, night, also_good=(1,))
        return night

    def hour(self) -> Night:
        """Run the workflow of releases: ``NEW`` is the release that its state does not know yet."""
        hour = Night()
        job = self._job("releases")
        # The first hour learns what the index has; then the release is taken out of what is known.
        self._step(job, ASK, hour, name="first hour")
        state = job / "reports" / "releases.json"
        known = json.loads(state.read_text(encoding="utf-8"))
        if NEW not in known["transformers"]:
            message = f"the index has no transformers {NEW}; rehearse where it does"
            raise RehearsalFailed(message)
        known["transformers"].remove(NEW)
        state.write_text(json.dumps(known), encoding="utf-8")
        (job / "output").unlink()
        self._step(job, ASK, hour)
        outputs = dict(line.split("=", 1) for line in (job / "output").read_text(encoding="utf-8").splitlines())
        if outputs["new"] != "true":
            return hour
        self._step(job, QUICK_PAIR, hour)
        self._step(job, REPORT_QUICK, hour, also_good=(1,))
        self._step(job, BEFORE, hour, {"CELL": outputs["before"]})
        self._step(job, AFTER, hour, {"CELL": outputs["after"]})
        self._step(job, AGAINST, hour, also_good=(1,))
        self._step(job, MERGE_PAIR, hour)
        self._step(job, REPORT_PAIR, hour, also_good=(1,))
        self._step(job, SUMMARY_PAIR, hour)
        follow_up = self._job("releases-follow-up")
        (follow_up / "reports").mkdir(exist_ok=True)
        shutil.copyfile(job / "reports" / "released.toml", follow_up / "reports" / "released.toml")
        for part in ("latest", "runs/released"):
            shutil.copytree(job / "reports" / part, follow_up / "reports" / part)
        self._step(follow_up, FOLLOW_UP_PAIR, hour, self.tracker.environment)
        return hour

    def _job(self, name: str) -> Path:
        """Make the fresh folder of a job: a copy of the project, as a checkout is."""
        self._jobs += 1
        folder = self.folder / f"job-{self._jobs:02d}-{name}"
        shutil.copytree(self.project, folder)
        return folder

    def _environment(self, job: Path, more: Mapping[str, str]) -> dict[str, str]:
        environ = clean_environment(os.environ)
        for name in ("PROMPT_BENCH_REPORTS", "PROMPT_BENCH_RUN"):
            environ.pop(name, None)
        return {
            **environ,
            "PATH": f"{self.folder / 'bin'}{os.pathsep}{environ.get('PATH', '')}",
            "PROMPT_BENCH_MATRIX": NAME,
            "GITHUB_STEP_SUMMARY": str(job / "summary.md"),
            "GITHUB_OUTPUT": str(job / "output"),
            **more,
        }

    def _step(
        self,
        job: Path,
        line: str,
        night: Night,
        more: Mapping[str, str] | None = None,
        *,
        name: str = "",
        also_good: tuple[int, ...] = (),
    ) -> None:
        """Run one line of a workflow as its shell does. Raises :class:`RehearsalFailed` when it fails the job."""
        begin = time.monotonic()
        done = subprocess.run(  # noqa: S603 - a line of our own workflows
            ["bash", "-e", "-c", line],  # noqa: S607 - GitHub's own shell for a line
            cwd=job, env=self._environment(job, more or {}), capture_output=True, text=True, check=False,
        )  # fmt: skip
        self._note(night, name or line, begin, done.returncode, done.stdout)
        if done.returncode not in {0, *also_good}:
            message = f"{line}: exit status {done.returncode}\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
            raise RehearsalFailed(message)

    def _killed(self, job: Path, line: str, more: Mapping[str, str], night: Night) -> None:
        """Begin a line, and kill it and all below it as soon as its first record is there."""
        begin = time.monotonic()
        with subprocess.Popen(  # noqa: S603 - as above
            ["bash", "-e", "-c", line],  # noqa: S607 - as above
            cwd=job, env=self._environment(job, more), start_new_session=True,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        ) as process:  # fmt: skip
            records = job / "reports" / "runs" / more["RUN"] / "records"
            while process.poll() is None and not any(path.stat().st_size for path in records.glob("*.jsonl")):
                time.sleep(0.2)
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
        self._note(night, "killed shard", begin, process.wait(), "")

    @staticmethod
    def _note(night: Night, name: str, begin: float, status: int, said: str) -> None:
        night.seconds[name] = night.seconds.get(name, 0.0) + time.monotonic() - begin
        night.said[name], night.statuses[name] = said, status

    def _restore(self, job: Path, name: str) -> None:
        if (self.caches / name).is_file():
            (job / "reports").mkdir(exist_ok=True)
            shutil.copyfile(self.caches / name, job / "reports" / name)

    def _save(self, job: Path, name: str) -> None:
        if (job / "reports" / name).is_file():
            shutil.copyfile(job / "reports" / name, self.caches / name)


def matrix_of(transformers: str) -> str:
    """Write the matrix of a rehearsed night: each release of peft beside one of transformers."""
    cells = [
        Cell(
            python="3.11", pins={"torch": "2.13.0", "peft": peft, "transformers": transformers}, why="rehearsed",
            cases=tuple(CASES),
        )
        for peft in PEFT
    ]  # fmt: skip
    return matrix_text("A rehearsal", cells, limit_s=60)


def copy_project(folder: Path) -> None:
    """Copy what a job needs of a checkout."""
    for name in _COPIED:
        source, target = ROOT / name, folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copyfile(source, target)


def forget(project: Path, release: str) -> None:
    """Take out of a copy what was written after ``release`` of transformers was measured: records and expectations.

    An expectation goes when it holds in no older release that was measured.
    """
    older: set[Version] = set()
    for path in sorted((project / "reports" / "reference").glob("*.jsonl.gz")):
        kept = []
        for line in gzip.decompress(path.read_bytes()).splitlines(keepends=True):
            found = _VERSION.search(line)
            text = found[1].decode().partition("+")[0] if found else "0"
            version = Version(text) if re.fullmatch(r"[\d.]+", text) else Version("0")
            if version < Version(release):
                kept.append(line)
                older.add(version)
        path.write_bytes(gzip.compress(b"".join(kept), mtime=0))
    for path in sorted((project / "cases" / "expected").glob("*.toml")):
        head, *entries = path.read_text(encoding="utf-8").split("[[expect]]")
        if left := [one for one in entries if _holds_in(one, older)]:
            path.write_text("[[expect]]".join([head, *left]), encoding="utf-8")
        else:
            path.unlink()


def _holds_in(entry: str, versions: set[Version]) -> bool:
    found = re.search(r'^transformers = "([^"]*)"', entry, re.MULTILINE)
    return found is None or any(one in SpecifierSet(found[1], prereleases=True) for one in versions)
