"""The worker with real processes: what hangs, dies or cannot be imported is a record, and the rest still runs."""

from __future__ import annotations

import signal
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from tests.jobs import Task, children_of, is_alive, make_planted_task, records, start, start_client

if TYPE_CHECKING:
    from collections.abc import Mapping
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
def task(tmp_path: Path, old_environment: Environment) -> Task:
    """Make a task over planted cases."""
    cases = {"planted": PLANTED, "broken": "import nonsense_that_is_not_there\n"}
    faults = {"planted": tuple(EXPECTED), "broken": ("",)}
    task = make_planted_task(tmp_path, old_environment, cases, faults, limit_s=10)
    named = [replace(request, key=request.variant["fault"] or request.case) for request in task.entry.requests]
    return replace(task, entry=replace(task.entry, requests=tuple(named)))


def only(task: Task, *keys: str) -> Task:
    """Leave the variants with these keys."""
    requests = tuple(request for request in task.entry.requests if request.key in keys)
    return replace(task, entry=replace(task.entry, requests=requests))


def test_every_fault_is_a_record_and_the_rest_still_runs(
    task: Task, old_environment: Environment, tmp_path: Path
) -> None:
    """A hang, a segfault, an exit and a raise cost their own variant only."""
    with start(task, old_environment, tmp_path) as worker:
        worker.communicate(timeout=240)
    written = {record["key"]: record for record in records(task)}
    assert {key: record["outcome"] for key, record in written.items()} == {**EXPECTED, "broken": "error"}
    assert written["segfault"]["signature"] == "SIGSEGV"
    assert written["exit"]["signature"] == "exit 7"
    assert "nonsense_that_is_not_there" in written["broken"]["signature"]
    assert written["raise"]["signature"].startswith("RuntimeError: shape '[<n>]' is invalid for input of size <n>")
    assert written["none"]["cell"]["packages"]["peft"] == "0.13.0"


def test_without_fork_the_records_are_the_same(task: Task, old_environment: Environment, tmp_path: Path) -> None:
    """A fresh process in place of a fork: a crash still costs its own variant only."""
    fresh = replace(task.job, settings=replace(task.job.settings, fork=False))
    task = replace(only(task, "none", "raise", "segfault", "last"), job=fresh)
    with start(task, old_environment, tmp_path) as worker:
        worker.communicate(timeout=240)
    written = {record["key"]: record["outcome"] for record in records(task)}
    assert written == {"none": "passed", "raise": "error", "segfault": "crashed", "last": "passed"}


def test_a_wrong_version_is_never_measured(task: Task, old_environment: Environment, tmp_path: Path) -> None:
    """When what is imported is not what was planned, the cell is import-failed."""
    cell = replace(task.entry.cell, packages={**task.entry.cell.packages, "peft": "0.12.0"})
    task = replace(task, entry=replace(task.entry, cell=cell))
    with start(task, old_environment, tmp_path) as worker:
        worker.communicate(timeout=120)
    (record,) = records(task)
    assert record["cell"]["state"] == "import-failed"
    assert "peft 0.13.0 is active where 0.12.0 was planned" in record["message"]


def test_cells_are_measured_one_by_one(task: Task, old_environment: Environment, tmp_path: Path) -> None:
    """A worker answers each cell before the next is asked, and its end is the end of its input."""
    entry = only(task, "none", "exit").entry
    client = start_client(task, old_environment, tmp_path)
    try:
        for number in range(2):
            events: list[Mapping[str, Any]] = []
            client.measure(replace(entry, cell=replace(entry.cell, id=f"c{number}")), events.append)
            assert {event["cell"] for event in events} == {f"c{number}"}
            assert [event["event"] for event in events] == ["cell", "record", "record", "done"]
            assert len(records(task)) == 2 * (number + 1)
    finally:
        client.close()
    assert [record["outcome"] for record in records(task)] == ["passed", "crashed"] * 2


def test_a_killed_worker_takes_its_child_along_and_keeps_its_records(
    task: Task, old_environment: Environment, tmp_path: Path
) -> None:
    """SIGKILL at the hang: what was written before is whole, and nothing goes on in the dark."""
    slow = replace(task.job, settings=replace(task.job.settings, limit_s=600))
    task = replace(task, job=slow)
    with start(task, old_environment, tmp_path) as worker:
        assert worker.stdout is not None
        for _ in worker.stdout:
            if len(records(task)) > 2:
                break
        deadline = time.monotonic() + 60
        while not (children := children_of(worker.pid)) and time.monotonic() < deadline:
            time.sleep(0.1)
        worker.send_signal(signal.SIGKILL)
    while any(is_alive(child) for child in children) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not any(is_alive(child) for child in children)
    assert [record["key"] for record in records(task)] == ["broken", "none", "raise"]
