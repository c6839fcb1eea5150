"""The worker with real processes: what hangs, dies or cannot be imported is a record, and the rest still runs."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from typing import TYPE_CHECKING, Any

import pytest

from harness.environments.index import clean_environment
from harness.paths import ROOT

if TYPE_CHECKING:
    from pathlib import Path

    from harness.environments.build import Environment

PLANTED = '''"""Planted faults."""
from harness.interface import Variants
DOCUMENT = None
VARIANTS = (Variants(axes={"fault": ("none", "raise", "hang", "segfault", "exit", "memory", "environ", "last")}),)
def check(trial):
    import ctypes, os, sys, time
    trial.evidence["seen"] = trial.fault
    if trial.fault == "raise":
        import torch
        torch.zeros(2).view(3)
    if trial.fault == "hang":
        time.sleep(600)
    if trial.fault == "segfault":
        ctypes.string_at(0)
    if trial.fault == "exit":
        os._exit(7)
    if trial.fault == "memory":
        raise MemoryError
    if trial.fault == "environ":
        names = ("PYTHONDONTWRITEBYTECODE", "PYTHONPATH")
        trial.expect(not any(name in os.environ for name in names), "the caller's Python leaks")
        trial.expect(not sys.dont_write_bytecode, "byte code is off")
'''
EXPECTED = {
    "none": "passed", "raise": "error", "hang": "timeout", "segfault": "crashed", "exit": "crashed",
    "memory": "out-of-memory", "environ": "passed", "last": "passed",
}  # fmt: skip


@pytest.fixture
def job(tmp_path: Path, old_environment: Environment) -> dict[str, Any]:
    """Make a job over planted cases, in a root of its own."""
    root = tmp_path / "root"
    shutil.copytree(ROOT / "harness", root / "harness")
    (root / "cases").mkdir()
    for name in ("__init__.py", "conftest.py", "pytest.ini"):
        shutil.copy(ROOT / "cases" / name, root / "cases" / name)
    (root / "cases" / "planted.py").write_text(PLANTED, encoding="utf-8")
    (root / "cases" / "broken.py").write_text("import nonsense_that_is_not_there\n", encoding="utf-8")
    variants = [
        {"index": n, "key": fault, "case": "planted", "document": None, "variant": {"fault": fault, "device": "cpu"}}
        for n, fault in enumerate(EXPECTED)
    ]
    variants.append({"index": 99, "key": "broken", "case": "broken", "document": None, "variant": {"device": "cpu"}})
    cell = {"id": "c", "packages": {"peft": "0.13.0", "transformers": "4.45.1"}}
    entry = {
        "cell": cell, "overlays": [str(path) for path in old_environment.overlays], "log": str(tmp_path / "log"),
        "benchmarks": str(tmp_path / "b.json"), "scratch": str(tmp_path / "scratch"), "variants": variants,
    }  # fmt: skip
    return {
        "root": str(root),
        "behind": [str(path) for path in old_environment.behind],
        "output": str(tmp_path / "out.jsonl"), "limit_s": 4,
        "device": "cpu", "header": {"schema": 1, "run": "r", "machine": {}}, "cells": [entry],
    }  # fmt: skip


def start(
    job: dict[str, Any], environment: Environment, tmp_path: Path, *, stdin: int | None = None
) -> subprocess.Popen[str]:
    """Start a worker as the harness does."""
    path = tmp_path / "job.json"
    path.write_text(json.dumps(job), encoding="utf-8")
    command = [str(environment.python), "-P", str(ROOT / "harness" / "cell" / "worker.py"), str(path)]
    environ = clean_environment({**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": "/nonsense"})
    return subprocess.Popen(command, text=True, stdin=stdin, stdout=subprocess.PIPE, env=environ)


def records(job: dict[str, Any]) -> list[dict[str, Any]]:
    """Read what a worker wrote."""
    with open(job["output"], encoding="utf-8") as lines:  # noqa: PTH123 - a string in the job
        return [json.loads(line) for line in lines]


def test_every_fault_is_a_record_and_the_rest_still_runs(
    job: dict[str, Any], old_environment: Environment, tmp_path: Path
) -> None:
    """A hang, a segfault, an exit and a raise cost their own variant only."""
    with start(job, old_environment, tmp_path) as worker:
        worker.communicate(timeout=240)
    written = {record["key"]: record for record in records(job)}
    assert {key: record["outcome"] for key, record in written.items()} == {**EXPECTED, "broken": "error"}
    assert written["segfault"]["signature"] == "SIGSEGV"
    assert written["exit"]["signature"] == "exit 7"
    assert "nonsense_that_is_not_there" in written["broken"]["signature"]
    assert written["raise"]["signature"].startswith("RuntimeError: shape '[<n>]' is invalid for input of size <n>")
    assert written["none"]["cell"]["packages"]["peft"] == "0.13.0"


def test_without_fork_the_records_are_the_same(
    job: dict[str, Any], old_environment: Environment, tmp_path: Path
) -> None:
    """A fresh process in place of a fork: a crash still costs its own variant only."""
    (entry,) = job["cells"]
    entry["variants"] = [one for one in entry["variants"] if one["key"] in {"none", "raise", "segfault", "last"}]
    job["fork"] = False
    with start(job, old_environment, tmp_path) as worker:
        worker.communicate(timeout=240)
    written = {record["key"]: record["outcome"] for record in records(job)}
    assert written == {"none": "passed", "raise": "error", "segfault": "crashed", "last": "passed"}


def test_a_wrong_version_is_never_measured(job: dict[str, Any], old_environment: Environment, tmp_path: Path) -> None:
    """When what is imported is not what was planned, the cell is import-failed."""
    job["cells"][0]["cell"]["packages"]["peft"] = "0.12.0"
    with start(job, old_environment, tmp_path) as worker:
        worker.communicate(timeout=120)
    (record,) = records(job)
    assert record["cell"]["state"] == "import-failed"
    assert "peft 0.13.0 is active where 0.12.0 was planned" in record["message"]


def test_cells_that_are_streamed_are_measured_one_by_one(
    job: dict[str, Any], old_environment: Environment, tmp_path: Path
) -> None:
    """A job without cells takes them from standard input, answers each before the next, and ends with it."""
    (entry,) = job.pop("cells")
    ask = {**entry, "variants": [one for one in entry["variants"] if one["key"] in {"none", "exit"}]}
    with start(job, old_environment, tmp_path, stdin=subprocess.PIPE) as worker:
        assert worker.stdin is not None
        assert worker.stdout is not None
        for number in range(2):
            worker.stdin.write(json.dumps({**ask, "cell": {**entry["cell"], "id": f"c{number}"}}) + "\n")
            worker.stdin.flush()
            events: list[dict[str, Any]] = []
            while not events or events[-1]["event"] != "done":
                events.append(json.loads(worker.stdout.readline()))
            assert {event["cell"] for event in events} == {f"c{number}"}
            assert len(records(job)) == 2 * (number + 1)
        worker.stdin.close()
        assert worker.wait(timeout=60) == 0
    assert [record["outcome"] for record in records(job)] == ["passed", "crashed"] * 2


def test_a_killed_worker_takes_its_child_along_and_keeps_its_records(
    job: dict[str, Any], old_environment: Environment, tmp_path: Path
) -> None:
    """SIGKILL at the hang: what was written before is whole, and nothing goes on in the dark."""
    job["limit_s"] = 600
    with start(job, old_environment, tmp_path) as worker:
        assert worker.stdout is not None
        for _ in worker.stdout:
            if len(records(job)) > 2:
                break
        deadline = time.monotonic() + 60
        while not (children := children_of(worker.pid)) and time.monotonic() < deadline:
            time.sleep(0.1)
        worker.send_signal(signal.SIGKILL)
    while any(is_alive(child) for child in children) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not any(is_alive(child) for child in children)
    assert [record["key"] for record in records(job)] == ["broken", "none", "raise"]


def children_of(pid: int) -> list[int]:
    """List the children of a process."""
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as text:  # noqa: PTH123 - not a file
        return [int(word) for word in text.read().split()]


def is_alive(pid: int) -> bool:
    """Tell whether a process runs; a zombie that nobody has waited for does not."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as text:  # noqa: PTH123 - not a file
            return text.read().rpartition(")")[2].split()[0] not in {"Z", "X"}
    except OSError:
        return False
