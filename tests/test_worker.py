"""The worker with real processes: what hangs, dies or cannot be imported is a record, and the rest still runs."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.jobs import children_of, is_alive, make_job, records, start

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
    """Make a job over planted cases."""
    cases = {"planted": PLANTED, "broken": "import nonsense_that_is_not_there\n"}
    job = make_job(tmp_path, old_environment, cases, {"planted": tuple(EXPECTED), "broken": ("",)})
    job["limit_s"] = 10
    for one in job["cells"][0]["variants"]:
        one["key"] = one["variant"]["fault"] or one["case"]
    return job


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
