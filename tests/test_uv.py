"""uv ends with the harness, however that ends, and so does all that uv has started."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from harness.environments import uv as uv_module
from harness.environments.machine_failures import machine_failed
from harness.environments.uv import run_uv, stop_uv
from harness.paths import ROOT
from tests.jobs import marked, wait_until_gone

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PROGRAM = """
import sys
from harness.environments.uv import run_uv
run_uv("pip", "install", "--no-config", "--no-cache", "--target", sys.argv[1], "planted-package==1.0")
"""

STARTS_OTHERS = """#!{python}
import pathlib, subprocess, sys, time
for own_session in (False, True):
    program = "import time; time.sleep(900)"
    subprocess.Popen([sys.executable, "-c", program, sys.argv[1]], start_new_session=own_session)
pathlib.Path(sys.argv[1]).touch()
time.sleep(float(sys.argv[2]))
"""
"""In the place of uv: it has a child in its group and one in a session of its own, which hold its pipes."""


@contextmanager
def silent_index() -> Iterator[tuple[str, threading.Event]]:
    """Listen, and never answer; yield the index's URL, and what is set once uv has asked."""
    asked = threading.Event()
    taken: list[socket.socket] = []

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            taken.append(connection)
            asked.set()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/simple", asked
        listener.shutdown(socket.SHUT_RDWR)
    thread.join()
    for connection in taken:
        connection.close()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_an_installing_uv_ends_with_a_harness_that_is_ended(tmp_path: Path, number: signal.Signals) -> None:
    """The real uv waits for an index that does not answer; nothing of it is left when the harness is gone."""
    folder = tmp_path / "target"
    environ = {name: value for name, value in os.environ.items() if not name.startswith("UV_")}
    with silent_index() as (url, asked):
        environ |= {"UV_DEFAULT_INDEX": url, "UV_HTTP_TIMEOUT": "600"}
        command = [sys.executable, "-c", PROGRAM, str(folder)]

        def heed() -> None:
            # Under nohup, or in the background of a shell, a signal may be ignored, and that is inherited.
            if number != signal.SIGKILL:
                signal.signal(number, signal.SIG_DFL)

        with subprocess.Popen(command, cwd=ROOT, env=environ, preexec_fn=heed) as harness:  # noqa: PLW1509 - it sets a signal alone
            assert asked.wait(60)
            assert len(marked(str(folder))) == 3, "the harness, what watches uv, and uv"
            harness.send_signal(number)
            harness.wait()
        assert wait_until_gone(str(folder)) == []


def put_in_place(monkeypatch: pytest.MonkeyPatch, program: Path, text: str, mode: int = 0o755) -> None:
    """Let a program stand in the place of uv."""
    program.write_text(text, encoding="utf-8")
    program.chmod(mode)
    monkeypatch.setattr(uv_module, "find_uv", lambda: str(program))


def test_what_uv_leaves_running_ends_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its children hold the pipes, and do not delay the answer."""
    put_in_place(monkeypatch, tmp_path / "uv", STARTS_OTHERS.format(python=sys.executable))
    mark = str(tmp_path / "mark")
    assert run_uv(mark, "0").returncode == 0
    assert marked(mark) == []


def test_a_uv_that_is_stopped_from_another_thread_ends_with_its_children(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The thread that ran it goes on, and takes its end for nothing that says something about versions."""
    put_in_place(monkeypatch, tmp_path / "uv", STARTS_OTHERS.format(python=sys.executable))
    mark = tmp_path / "mark"
    ends: list[subprocess.CompletedProcess[str]] = []
    thread = threading.Thread(target=lambda: ends.append(run_uv(str(mark), "900")))
    thread.start()
    while thread.is_alive() and not mark.exists():
        thread.join(0.05)
    stop_uv()
    thread.join()
    assert machine_failed(ends[0].returncode, ends[0].stderr)
    assert marked(str(mark)) == []


def test_a_limit_ends_uv_and_its_children(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever it has come to by then."""
    put_in_place(monkeypatch, tmp_path / "uv", STARTS_OTHERS.format(python=sys.executable))
    mark = str(tmp_path / "mark")
    with pytest.raises(subprocess.TimeoutExpired):
        run_uv(mark, "900", limit_s=1)
    assert marked(mark) == []


@pytest.mark.parametrize(("end", "status"), [("exit 7", 7), ("kill -9 $$", -9), ("kill -11 $$", -11)])
def test_the_end_of_uv_is_told_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: str, status: int
) -> None:
    """Its exit status or signal, and both of its outputs."""
    put_in_place(monkeypatch, tmp_path / "uv", f"#!/bin/sh\necho out; echo err >&2; {end}\n")
    done = run_uv()
    assert (done.returncode, done.stdout, done.stderr) == (status, "out\n", "err\n")


def test_a_uv_that_cannot_be_started_is_a_failure_of_the_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The system's words come with their number."""
    put_in_place(monkeypatch, tmp_path / "uv", "", mode=0o644)
    done = run_uv()
    assert "(os error 13)" in done.stderr
    assert machine_failed(done.returncode, done.stderr)
