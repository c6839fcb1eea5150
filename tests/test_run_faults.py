"""Faults while a run is measured, made with the real thing: each ends in a record or one line, and nothing is lost."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from harness.contracts.plan import Plan
from harness.errors import UsageError
from harness.paths import ROOT
from harness.run.runs import Run, new_run

if TYPE_CHECKING:
    from pathlib import Path

MATRIX = """
[matrix]
title = "One cell"
torch = "2.13.0"
latency = false
cases = ["generate_with_cache:llama"]

[[cell]]
why = "a release that passes"
peft = "0.14.0"
transformers = "4.45.1"
"""
VARIANTS = 8


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a folder with the matrix."""
    folder = tmp_path_factory.mktemp("faults")
    (folder / "single.toml").write_text(MATRIX, encoding="utf-8")
    return folder


def start(place: Path, reports: str, *options: str, **more: Any) -> subprocess.Popen[str]:
    """Start a run of the matrix; its reports go to a folder of their own."""
    return subprocess.Popen(
        [sys.executable, "-m", "harness", "run", str(place / "single.toml"), "--quiet", *options],
        env={**os.environ, "PROMPT_BENCH_REPORTS": str(place / reports)},
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        **more,
    )


def keys(place: Path, reports: str, run: str) -> list[str]:
    """Return the key of each record of a run; every line is a whole record."""
    files = (place / reports / "runs" / run / "records").glob("*.jsonl")
    return [json.loads(line)["key"] for file in files for line in file.read_text(encoding="utf-8").splitlines()]


@pytest.mark.slow
def test_two_runs_with_one_id_measure_once(place: Path) -> None:
    """One measures; the other measures nothing twice: it is refused, or finds everything known."""
    both = [start(place, "same", "--run-id", "same") for _ in range(2)]
    ends = [(process.communicate()[0], process.returncode) for process in both]
    assert sorted(status for _, status in ends) in ([0, 0], [0, 2]), ends
    for words, status in ends:
        if status == 2:
            assert "another process measures" in words.splitlines()[-1], words
    assert len(keys(place, "same", "same")) == len(set(keys(place, "same", "same"))) == VARIANTS


def test_a_run_that_is_held_is_refused_and_free_afterwards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process, or thread, with the same base is refused in one line; with another base it goes on."""
    monkeypatch.setenv("PROMPT_BENCH_REPORTS", str(tmp_path))
    run = Run(id="r")
    run.add_plan(Plan(matrix="m", title="", device="cpu", run="r"), ())
    with run.hold(["a", "b"]):
        with pytest.raises(UsageError, match="wait for its end, or give another --run-id"), run.hold(["b", "c"]):
            pytest.fail("it was held twice")
        with run.hold(["c"]):
            pass
    with run.hold(["a"]):
        pass


@pytest.mark.slow
def test_two_runs_at_once_keep_apart(place: Path) -> None:
    """Runs that start in one second get ids of their own, and each is whole."""
    both = [start(place, "apart") for _ in range(2)]
    ends = [(process.communicate()[0], process.returncode) for process in both]
    assert [status for _, status in ends] == [0, 0], ends
    runs = sorted(path.name for path in (place / "apart" / "runs").iterdir())
    assert len(runs) == 2
    for run in runs:
        assert len(set(keys(place, "apart", run))) == len(keys(place, "apart", run)) == VARIANTS


def test_names_of_one_second_differ(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many threads name a run at once, each has a folder of its own."""
    monkeypatch.setenv("PROMPT_BENCH_REPORTS", str(tmp_path))
    names: list[str] = []
    threads = [threading.Thread(target=lambda: names.append(new_run("m").id)) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(names)) == 16


@pytest.mark.slow
@pytest.mark.parametrize("limit_kb", [0, 1, 4, 8, 16, 64])
def test_a_file_system_that_is_full_at_any_write_loses_nothing(place: Path, limit_kb: int) -> None:
    """No file may grow beyond a limit: the run ends in one line, not in a traceback, and the next one is whole."""
    name = f"full{limit_kb}"

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit_kb * 1024, limit_kb * 1024))

    process = start(place, name, "--run-id", "r", "--fresh", preexec_fn=limit)
    words, _ = process.communicate()
    assert "Traceback" not in words, words
    if process.returncode:
        last = words.splitlines()[-1]
        assert "make room" in last, words
    again = start(place, name, "--run-id", "r")
    words, _ = again.communicate()
    assert again.returncode == 0, words
    assert sorted(set(keys(place, name, "r"))) == sorted(keys(place, name, "r"))
    assert len(keys(place, name, "r")) == VARIANTS


@pytest.mark.slow
def test_half_a_line_is_measured_again(place: Path) -> None:
    """A record that was cut off by a crash of the machine is no record: that variant is measured again, no other."""
    process = start(place, "half", "--run-id", "r")
    words, _ = process.communicate()
    assert process.returncode == 0, words
    (file,) = (place / "half" / "runs" / "r" / "records").glob("*.jsonl")
    whole = file.read_bytes()
    lines = whole.splitlines(keepends=True)
    file.write_bytes(b"".join(lines[:-1]) + lines[-1][: len(lines[-1]) // 2])
    (place / "half" / "store.sqlite").unlink()
    again = start(place, "half", "--run-id", "r")
    words, _ = again.communicate()
    assert again.returncode == 0, words
    (more,) = set((place / "half" / "runs" / "r" / "records").glob("*.jsonl")) - {file}
    assert [json.loads(line)["key"] for line in more.read_text(encoding="utf-8").splitlines()] == [
        json.loads(lines[-1])["key"]
    ]
    assert file.read_bytes().startswith(b"".join(lines[:-1]))


@pytest.mark.slow
def test_a_clock_that_goes_back_loses_no_measurement(place: Path) -> None:
    """Records of a run that was "later" stay known: the next run measures nothing, and reads as before."""
    process = start(place, "clock", "--run-id", "later")
    words, _ = process.communicate()
    assert process.returncode == 0, words
    folder = place / "clock" / "runs" / "later" / "records"
    for path in folder.glob("*.jsonl"):
        records = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        for record in records:
            record["time"] = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 86_400 * 365))
        path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    (place / "clock" / "runs" / "later" / f"unfinished-{os.getpid()}").touch()
    (place / "clock" / "store.sqlite").unlink()
    again = start(place, "clock", "--run-id", "earlier")
    words, _ = again.communicate()
    assert again.returncode == 0, words
    assert not list((place / "clock" / "runs" / "earlier").glob("cost.*"))
    assert len(set(keys(place, "clock", "earlier"))) == VARIANTS
