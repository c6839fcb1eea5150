"""SIGKILL at random moments, of the harness and of its workers: nothing finished is lost, nothing measured twice.

``PROMPT_BENCH_KILLS`` sets how many runs are killed (2 here; `nox -s kills` does 40), and
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
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from harness.paths import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

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
KILLS = int(os.environ.pop("PROMPT_BENCH_KILLS", "2"))
SEED = int(os.environ.pop("PROMPT_BENCH_SEED", str(random.SystemRandom().randrange(1000))))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a folder with the matrix and its locks; reports go there, too."""
    folder = tmp_path_factory.mktemp("kill")
    (folder / "four.toml").write_text(MATRIX, encoding="utf-8")
    return folder


@contextlib.contextmanager
def running(place: Path, run: str, *options: str) -> Iterator[subprocess.Popen[bytes]]:
    """Start a run in the background."""
    environ = {**os.environ, "PROMPT_BENCH_REPORTS": str(place / run)}
    command = [sys.executable, "-m", "harness", "run", str(place / "four.toml"), "--quiet", *options]
    with subprocess.Popen(command, cwd=ROOT, env=environ, stderr=subprocess.DEVNULL) as process:
        yield process


def records(place: Path, run: str) -> list[dict[str, Any]]:
    """Read every whole line of a run's record files."""
    files = sorted((place / run / "runs" / "r" / "records").glob("*.jsonl"))
    lines = [line for path in files for line in path.read_bytes().split(b"\n")[:-1]]
    return [json.loads(line) for line in lines]


def where(record: dict[str, Any]) -> tuple[str, ...]:
    """Name the place of a record."""
    return (record["cell"]["id"], *record["variant"].values())


@pytest.fixture(scope="module")
def whole_run_s(place: Path) -> float:
    """Measure everything once, warm, so that kills can be drawn over that time."""
    for name in ("warm", "whole"):
        begin = time.monotonic()
        with running(place, name, "--run-id", "r") as process:
            assert process.wait() == 0
    assert len(records(place, "whole")) == VARIANTS
    return time.monotonic() - begin


@pytest.mark.parametrize("number", range(KILLS))
def test_a_kill_at_a_random_moment_costs_nothing_that_was_finished(
    place: Path, whole_run_s: float, number: int
) -> None:
    """Kill the harness or one of its workers; go on until the run is whole; each place has one record."""
    draw = random.Random(SEED * 1000 + number)  # noqa: S311 - no secret
    victim, moment, name = draw.choice(["harness", "worker"]), draw.uniform(0, whole_run_s), f"k{number}"
    with running(place, name, "--run-id", "r") as process:
        time.sleep(moment)
        if victim == "harness":
            process.kill()
        else:
            kill_a_worker(process.pid, draw)
        process.wait()
    wait_for_quiet(place, name)
    before = records(place, name)
    with running(place, name, "--run-id", "r") as process:
        assert process.wait() == 0
    after = records(place, name)
    told = f"seed {SEED}, kill {number}: {victim} after {moment:.2f} s, {len(before)} of {VARIANTS} were finished"
    assert len(after) == VARIANTS, told
    assert len({where(record) for record in after}) == VARIANTS, told
    assert [one for one in after if where(one) in {where(record) for record in before}] == before, told
    print(told)


def kill_a_worker(harness: int, draw: random.Random) -> None:
    """Kill one of the workers that are there now, if any is."""
    with contextlib.suppress(psutil.Error):
        below = psutil.Process(harness).children()
        workers = [one for one in below if any(word.endswith("worker.py") for word in one.cmdline())]
        if workers:
            os.kill(draw.choice(workers).pid, signal.SIGKILL)


def wait_for_quiet(place: Path, name: str) -> None:
    """Wait until no process of a killed run is left: workers die with their parent, a moment later."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if not any(
            str(place / name) in (one.info["environ"] or {}).values() for one in psutil.process_iter(["environ"])
        ):
            return
        time.sleep(0.1)
    pytest.fail("a worker outlived the run that it belongs to")
