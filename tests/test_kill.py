"""Signals at random moments, to the harness, a worker or a cell child: nothing finished is lost or measured twice.

``PROMPT_BENCH_KILLS`` sets how many runs are disturbed (4 here; `nox -s kills` does 100), and
``PROMPT_BENCH_SEED`` repeats a series. The moments are drawn over the time that a whole run takes.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from harness.paths import ROOT, cache_folder

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

pytestmark = pytest.mark.slow

MATRIX = """
[matrix]
title = "Four cells on two bases"
torch = "2.13.0"
latency = false
cases = ["generate_with_cache:llama", "generate_with_cache:opt"]

[axes]
peft = ["0.13.0", "0.14.0"]
transformers = ["4.45.1", "4.45.2"]
"""
VARIANTS = 4 * 16
KILLS = int(os.environ.get("PROMPT_BENCH_KILLS", "4"))
FAULTS = ("SIGKILL harness", "SIGKILL worker", "SIGKILL child", "SIGINT twice", "SIGTERM", "SIGHUP")
SEED = int(os.environ.get("PROMPT_BENCH_SEED", str(random.SystemRandom().randrange(1000))))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a folder with the matrix and its locks; reports go there, too."""
    folder = tmp_path_factory.mktemp("kill")
    (folder / "four.toml").write_text(MATRIX, encoding="utf-8")
    return folder


@contextlib.contextmanager
def running(place: Path, run: str, *options: str) -> Iterator[subprocess.Popen[bytes]]:
    """Start a run in the background; what it prints is added to its log."""
    environ = {**os.environ, "PROMPT_BENCH_REPORTS": str(place / run)}
    command = [sys.executable, "-m", "harness", "run", str(place / "four.toml"), "--quiet", *options]
    with (
        log_of(place, run).open("a", encoding="utf-8") as log,
        subprocess.Popen(command, cwd=ROOT, env=environ, stdout=log, stderr=log) as process,
    ):
        yield process


def log_of(place: Path, run: str) -> Path:
    """Return the file with what a run has printed."""
    return place / f"{run}.log"


def records(place: Path, run: str) -> list[dict[str, Any]]:
    """Read every whole line of a run's record files."""
    files = sorted((place / run / "runs" / run / "records").glob("*.jsonl"))
    lines = [line for path in files for line in path.read_bytes().split(b"\n")[:-1]]
    return [json.loads(line) for line in lines]


def where(record: Mapping[str, Any]) -> tuple[str, ...]:
    """Name the place of a record."""
    return (record["cell"]["id"], *record["variant"].values())


@pytest.fixture(scope="module")
def whole_run_s(place: Path) -> float:
    """Measure everything once, warm, so that kills can be drawn over that time."""
    for name in ("warm", "whole"):
        begin = time.monotonic()
        with running(place, name, "--run-id", name) as process:
            assert process.wait() == 0, log_of(place, name).read_text(encoding="utf-8")
    assert len(records(place, "whole")) == VARIANTS
    return time.monotonic() - begin


@dataclass
class Totals:
    """What was counted over all disturbed runs."""

    runs: int = 0
    finished_before: int = 0
    lost: int = 0
    doubled: int = 0
    left: int = 0

    def add(self, before: Sequence[Mapping[str, Any]], after: Sequence[Mapping[str, Any]], left: int) -> None:
        """Count one run: its records when it was disturbed and when it was whole, and the processes that were left."""
        places = [where(record) for record in after]
        known = {where(record) for record in before}
        self.runs += 1
        self.finished_before += len(before)
        self.lost += VARIANTS - len(set(places)) + sum(record not in after for record in before)
        self.doubled += (
            len(places) - len(set(places)) + sum(where(record) in known and record not in before for record in after)
        )
        self.left += left


@pytest.fixture(scope="module")
def totals() -> Iterator[Totals]:
    """Count over all runs of the module, and print it."""
    counted = Totals()
    yield counted
    print(
        f"\n{counted.runs} disturbed runs (seed {SEED}), {counted.finished_before} records finished before: "
        f"{counted.lost} lost, {counted.doubled} doubled, {counted.left} processes or scratch folders left"
    )


@pytest.mark.parametrize("number", range(KILLS))
def test_a_signal_at_a_random_moment_costs_nothing_that_was_finished(
    place: Path, whole_run_s: float, totals: Totals, number: int
) -> None:
    """Disturb a run, go on until it is whole: each place has one record, and those that were finished are as before."""
    draw = random.Random(SEED * 1000 + number)  # noqa: S311 - no secret
    fault, moment, name = FAULTS[number % len(FAULTS)], draw.uniform(0, whole_run_s), f"kill-{os.getpid()}-{number}"
    with running(place, name, "--run-id", name) as process:
        time.sleep(moment)
        disturb(process, fault, draw)
        process.wait()
    left = processes_left(place, name)
    before = records(place, name)
    with running(place, name, "--run-id", name) as process:
        assert process.wait() == 0, log_of(place, name).read_text(encoding="utf-8")
    after = records(place, name)
    told = f"seed {SEED}, run {number}: {fault} after {moment:.2f} s, {len(before)} of {VARIANTS} were finished"
    print(told)
    told += f"\n{log_of(place, name).read_text(encoding='utf-8')}"
    scratch = [str(path) for path in scratch_left(name)]
    totals.add(before, after, len(left) + len(scratch))
    assert not left, told
    assert not scratch, told
    assert len(after) == VARIANTS, told
    assert len({where(record) for record in after}) == VARIANTS, told
    assert [one for one in after if where(one) in {where(record) for record in before}] == before, told


def disturb(process: subprocess.Popen[bytes], fault: str, draw: random.Random) -> None:
    """Send the signals of a fault; a process that has ended by then, or was never started, gets none."""
    match fault.split():
        case ["SIGKILL", "harness"]:
            process.kill()
        case ["SIGKILL", "worker"]:
            kill_one(workers_of(process.pid), draw)
        case ["SIGKILL", "child"]:
            kill_one([child for worker in workers_of(process.pid) for child in children_of(worker)], draw)
        case ["SIGINT", "twice"]:
            process.send_signal(signal.SIGINT)
            time.sleep(draw.uniform(0, 0.3))
            process.send_signal(signal.SIGINT)
        case [name]:
            process.send_signal(signal.Signals[name])


def workers_of(harness: int) -> list[psutil.Process]:
    """List the workers that are there now."""
    with contextlib.suppress(psutil.Error):
        return [
            one for one in children_of(psutil.Process(harness)) if any("worker.py" in word for word in command_of(one))
        ]
    return []


def children_of(process: psutil.Process) -> list[psutil.Process]:
    """List the children of a process; none when it has ended."""
    with contextlib.suppress(psutil.Error):
        return process.children()
    return []


def command_of(process: psutil.Process) -> list[str]:
    """Return the words of a process's command; none when it has ended."""
    with contextlib.suppress(psutil.Error):
        return process.cmdline()
    return []


def kill_one(processes: list[psutil.Process], draw: random.Random) -> None:
    """Kill one of several processes, if there is any."""
    if processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            draw.choice(processes).kill()


def processes_left(place: Path, name: str) -> list[int]:
    """Return what still runs of a disturbed run after 30 s: workers end with their parent, a moment later."""
    deadline = time.monotonic() + 30
    while left := [
        one.pid
        for one in psutil.process_iter(["environ"])
        if str(place / name) in (one.info["environ"] or {}).values() and one.status() != psutil.STATUS_ZOMBIE
    ]:
        if time.monotonic() > deadline:
            return left
        time.sleep(0.1)
    return []


def scratch_left(name: str) -> list[Path]:
    """List the scratch folders of a run that has ended."""
    return list((cache_folder() / "scratch").glob(f"{name}-*"))
