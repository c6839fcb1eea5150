"""Jobs for a real worker over planted case files, and the processes that it starts."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.contracts.job import CellJob, Job, Request, Settings, cell_job_data, job_data
from harness.contracts.record import CellFacts, Machine
from harness.environments.index import clean_environment
from harness.paths import ROOT
from harness.worker_client import WorkerClient

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from harness.environments.build import Environment

CASE = '''"""Planted."""
from harness.interface import Variants
DOCUMENT = None
VARIANTS = (Variants(axes={{"fault": {faults!r}}}),)
{body}
'''


def case_source(faults: Sequence[str], body: str) -> str:
    """Write a case file with one variant for each fault; ``body`` defines ``check(trial)``."""
    return CASE.format(faults=tuple(faults), body=body)


@dataclass(frozen=True, kw_only=True)
class Task:
    """What a worker is started for: its job, and one cell."""

    job: Job
    entry: CellJob


def make_task(folder: Path, environment: Environment, root: Path, requests: Iterable[Request], **settings: Any) -> Task:
    """Make a task over the cases in ``root``; its output, log and scratch go below ``folder``."""
    job = Job(
        root=str(root),
        behind=tuple(map(str, environment.behind)),
        output=str(folder / "out.jsonl"),
        run="r",
        machine=Machine(),
        settings=Settings(**{"limit_s": 60, "device": "cpu", **settings}),
    )
    entry = CellJob(
        cell=CellFacts(id="c", python="3.11", packages={"peft": "0.13.0", "transformers": "4.45.1"}),
        overlays=tuple(map(str, environment.overlays)),
        log=str(folder / "log"),
        benchmarks=str(folder / "b.json"),
        scratch=str(folder / "scratch"),
        requests=tuple(requests),
    )
    return Task(job=job, entry=entry)


def make_planted_task(
    folder: Path,
    environment: Environment,
    cases: Mapping[str, str],
    faults: Mapping[str, Sequence[str]],
    **settings: Any,
) -> Task:
    """Make a task over case files ``{name: source}`` and their variants, in a root of its own."""
    root = folder / "root"
    shutil.copytree(ROOT / "harness", root / "harness")
    (root / "cases").mkdir()
    for name in ("__init__.py", "conftest.py", "pytest.ini"):
        shutil.copy(ROOT / "cases" / name, root / "cases" / name)
    for name, source in cases.items():
        (root / "cases" / f"{name}.py").write_text(source, encoding="utf-8")
    requests = [
        Request(key=f"{case}-{fault}", case=case, document=None, variant={"fault": fault, "device": "cpu"})
        for case, listed in faults.items()
        for fault in listed
    ]
    return make_task(folder, environment, root, requests, **settings)


def copy_of_cases(folder: Path) -> Path:
    """Copy the cases and the harness below a folder; return the root of the copy."""
    root = folder / "root"
    shutil.copytree(ROOT / "harness", root / "harness")
    shutil.copytree(ROOT / "cases", root / "cases")
    return root


def start_client(task: Task, environment: Environment, folder: Path) -> WorkerClient:
    """Start a worker that waits for its first cell."""
    environ = clean_environment({**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": "/nonsense"})
    return WorkerClient(environment.python, task.job, scratch=folder, log=folder / "worker.log", environ=environ)


def start(task: Task, environment: Environment, folder: Path) -> subprocess.Popen[str]:
    """Start a worker whose standard input ends after the one cell."""
    path, cells = folder / "job.json", folder / "cells.jsonl"
    path.write_text(json.dumps(job_data(task.job)), encoding="utf-8")
    cells.write_text(json.dumps(cell_job_data(task.entry)) + "\n", encoding="utf-8")
    command = [str(environment.python), "-P", str(ROOT / "harness" / "cell" / "worker.py"), str(path)]
    environ = clean_environment({**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": "/nonsense"})
    with cells.open(encoding="utf-8") as stdin:
        return subprocess.Popen(command, text=True, stdin=stdin, stdout=subprocess.PIPE, env=environ)


def measure(task: Task, environment: Environment, folder: Path) -> dict[str, dict[str, Any]]:
    """Let a worker measure one cell and end; return its records by their keys."""
    with start(task, environment, folder) as worker:
        worker.communicate(timeout=600)
    assert worker.returncode == 0, Path(task.entry.log).read_text(encoding="utf-8", errors="replace")[-2000:]
    written = records(task)
    by_key = {record["key"]: record for record in written}
    assert len(by_key) == len(written), "a variant has two records"
    return by_key


def records(task: Task) -> list[dict[str, Any]]:
    """Read what a worker wrote, as strictly as JSON is defined."""

    def refuse(word: str) -> None:
        message = f"{word} is not JSON"
        raise ValueError(message)

    lines = Path(task.job.output).read_text(encoding="utf-8").splitlines()
    return [json.loads(line, parse_constant=refuse) for line in lines]


def children_of(pid: int) -> list[int]:
    """List the children of a process, and theirs."""
    try:
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii")
    except OSError:
        return []
    children = [int(word) for word in text.split()]
    return [*children, *(below for child in children for below in children_of(child))]


def is_alive(pid: int) -> bool:
    """Return whether a process runs; a zombie that nobody has waited for does not."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="ascii")
    except OSError:
        return False
    return text.rpartition(")")[2].split()[0] not in {"Z", "X"}


def marked(mark: str) -> list[int]:
    """List the living processes whose command line has a word."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
        except OSError:
            continue
        if mark.encode() in words and is_alive(int(path.parent.name)):
            found.append(int(path.parent.name))
    return found


def wait_until_gone(mark: str, *, limit_s: float = 30) -> list[int]:
    """Wait for the end of the processes whose command line has a word; return those that are left."""
    deadline = time.monotonic() + limit_s
    while (left := marked(mark)) and time.monotonic() < deadline:
        time.sleep(0.05)
    return left
