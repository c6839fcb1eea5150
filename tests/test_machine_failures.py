"""Failures of this machine, made with the real uv: they are told apart from facts about versions."""

from __future__ import annotations

import http.server
import os
import random
import resource
import socket
import subprocess
import sys
import threading
import zipfile
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from harness.environments import uv as uv_module
from harness.environments.build import InstallFailed, build_overlay
from harness.environments.machine_failures import machine_failed
from harness.environments.resolve import Lock, Unresolved, resolve
from harness.environments.scratch import remove_left_over, scratch_folder
from harness.interface import CellState
from harness.matrix.spec import Cell
from harness.paths import ROOT, cache_folder

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CELL = Cell(python="3.11", pins={"peft": "0.13.0", "transformers": "4.45.1", "torch": "2.13.0"})


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give uv and the harness empty caches, and no index but the test's."""
    for name in [name for name in os.environ if name.startswith(("UV_", "PIP_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setattr("harness.environments.index.pip_settings", dict)
    monkeypatch.setenv("UV_NO_CONFIG", "1")
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "uv"))
    monkeypatch.setenv("PROMPT_BENCH_CACHE", str(tmp_path / "cache"))


def closed_port() -> int:
    """Return a port on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def index(status: int) -> Iterator[str]:
    """Serve an index that answers everything with one status; yield its URL."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_error(status)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/simple"
        server.shutdown()


def make_wheel(folder: Path, *, size: int = 0, spoil: bool = False) -> None:
    """Write a wheel of a package of our own; ``size`` bytes of data, or cut short."""
    folder.mkdir(exist_ok=True)
    path = folder / "planted_package-1.0-py3-none-any.whl"
    metadata = "Metadata-Version: 2.1\nName: planted-package\nVersion: 1.0\n"
    files = {
        "planted_package.py": b"x = 1\n",
        "planted_package_data.bin": random.Random(0).randbytes(size),  # noqa: S311 - no secret
        "planted_package-1.0.dist-info/METADATA": metadata.encode(),
        "planted_package-1.0.dist-info/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    names = "".join(f"{name},,\n" for name in [*files, "planted_package-1.0.dist-info/RECORD"])
    with zipfile.ZipFile(path, "w") as wheel:
        for name, data in {**files, "planted_package-1.0.dist-info/RECORD": names.encode()}.items():
            wheel.writestr(name, data)
    if spoil:
        data = path.read_bytes()
        path.write_bytes(data[: len(data) // 2])


def failure(pin: str = "planted-package==1.0") -> InstallFailed:
    """Return what the build of one package fails with."""
    with pytest.raises(InstallFailed) as caught:
        build_overlay(pin, "3.11")
    return caught.value


def test_an_index_that_is_down_is_no_fact_about_versions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody listens on the index's port: the cell is unreachable, resolved or built, with uv's words."""
    monkeypatch.setenv("UV_DEFAULT_INDEX", f"http://127.0.0.1:{closed_port()}/simple")
    answer = resolve(CELL)
    assert isinstance(answer, Unresolved)
    assert answer.state == CellState.UNREACHABLE
    assert "127.0.0.1" in answer.words
    failed = failure()
    assert failed.state == CellState.UNREACHABLE
    assert "127.0.0.1" in str(failed)


def test_a_matrix_of_which_nothing_can_be_reached_is_nothing_measured(tmp_path: Path) -> None:
    """`run` says so in its last line, and exits with 3."""
    matrix = tmp_path / "away.toml"
    matrix.write_text(
        """
[matrix]
title = "An index that is down"
torch = "2.13.0"
cases = ["generate_with_cache"]

[[cell]]
why = "nobody listens"
peft = "0.13.0"
transformers = "4.45.1"
""",
        encoding="utf-8",
    )
    done = subprocess.run(
        [sys.executable, "-m", "harness", "run", str(matrix), "--run-id", "away"],
        env={
            **os.environ,
            "PROMPT_BENCH_INDEX": "carried",
            "PROMPT_BENCH_REPORTS": str(tmp_path / "reports"),
            "UV_DEFAULT_INDEX": f"http://127.0.0.1:{closed_port()}/simple",
        },
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 3, done.stdout + done.stderr
    assert "no cell's source could be reached" in done.stderr.splitlines()[-1]


@pytest.mark.parametrize("status", [401, 403, 500, 503])
def test_an_index_that_refuses_is_no_fact_about_versions(status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without credentials, or with a server that fails, nothing is known of the packages."""
    with index(status) as url:
        monkeypatch.setenv("UV_DEFAULT_INDEX", url)
        answer = resolve(CELL)
        assert isinstance(answer, Unresolved)
        assert answer.state == CellState.UNREACHABLE, answer.words
        assert failure().state == CellState.UNREACHABLE


def test_an_index_that_does_not_have_it_is_a_fact(monkeypatch: pytest.MonkeyPatch) -> None:
    """404 for each package: the cell cannot exist, as before."""
    with index(404) as url:
        monkeypatch.setenv("UV_DEFAULT_INDEX", url)
        answer = resolve(CELL)
        assert isinstance(answer, Unresolved)
        assert answer.state == CellState.UNSATISFIABLE, answer.words
        assert failure().state == CellState.INSTALL_FAILED


def test_a_corrupt_wheel_is_install_failed_with_uvs_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a wheel in a folder of wheels: the same wheel, whole, can be installed."""
    monkeypatch.setenv("UV_NO_INDEX", "1")
    monkeypatch.setenv("UV_FIND_LINKS", str(tmp_path / "wheels"))
    make_wheel(tmp_path / "wheels", spoil=True)
    failed = failure()
    assert failed.state == CellState.INSTALL_FAILED
    assert "planted" in str(failed)
    make_wheel(tmp_path / "wheels")
    assert (build_overlay("planted-package==1.0", "3.11") / "planted_package.py").is_file()


PROGRAM = """
import resource, sys
from harness.environments.build import InstallFailed, build_overlay
limit = int(sys.argv[1])
if limit:
    import signal
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
try:
    build_overlay("planted-package==1.0", "3.11")
except InstallFailed as error:
    print(error.state, str(error))
"""


def built_apart(limit: int = 0) -> str:
    """Build the planted package in another process, in which files may grow to ``limit`` bytes."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(limit)], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_file_that_may_not_grow_is_no_fact_about_versions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A limit on the size of files (as a quota sets) stops uv in the middle; without the limit it installs."""
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[1] == resource.RLIM_INFINITY
    monkeypatch.setenv("UV_NO_INDEX", "1")
    monkeypatch.setenv("UV_FIND_LINKS", str(tmp_path / "wheels"))
    make_wheel(tmp_path / "wheels", size=1 << 20)
    assert built_apart(100_000).startswith("unreachable ")
    assert built_apart() == ""


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a file system of one megabyte; skip, and say so, where that is not allowed."""
    folder = tmp_path / "tiny"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    try:
        done = subprocess.run(mount, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("no mount command here: a full disk was not tried")
    if done.returncode != 0:
        pytest.skip(f"mounting is not allowed here, a full disk was not tried: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.parametrize("full", ["PROMPT_BENCH_CACHE", "UV_CACHE_DIR"])
def test_a_full_disk_is_no_fact_about_versions(
    tmp_path: Path, tiny_disk: Path, monkeypatch: pytest.MonkeyPatch, full: str
) -> None:
    """Two megabytes do not go on a disk of one, be it the harness's cache or uv's; nothing half-built counts."""
    monkeypatch.setenv(full, str(tiny_disk))
    monkeypatch.setenv("UV_NO_INDEX", "1")
    monkeypatch.setenv("UV_FIND_LINKS", str(tmp_path / "wheels"))
    make_wheel(tmp_path / "wheels", size=2 << 20)
    failed = failure()
    assert failed.state == CellState.UNREACHABLE
    assert "No space left" in str(failed)
    assert not list((cache_folder() / "overlays").glob("*/complete.json"))


def test_a_cache_that_may_not_be_written_is_no_fact_about_versions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file where the cache folder should be (root may write anywhere): one sentence, no traceback."""
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("PROMPT_BENCH_CACHE", str(tmp_path / "file"))
    assert failure().state == CellState.UNREACHABLE
    answer = resolve(CELL)
    assert isinstance(answer, Unresolved)
    assert answer.state == CellState.UNREACHABLE


def test_a_uv_that_is_killed_is_no_fact_about_versions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The out-of-memory killer ends uv without a word: that is the machine's, and it is said."""
    killed = tmp_path / "uv"
    killed.write_text("#!/bin/sh\nkill -9 $$\n")
    killed.chmod(0o755)
    monkeypatch.setattr(uv_module, "find_uv", lambda: str(killed))
    failed = failure()
    assert failed.state == CellState.UNREACHABLE
    assert "uv ended with -9" in str(failed)


@pytest.mark.parametrize(
    "words",
    [
        "No solution found when resolving dependencies: Because there is no version of peft==0.13.99",
        "The wheel is invalid: Missing RECORD file",
        "Failed to build `peft`: ModuleNotFoundError: No module named 'setuptools'",
    ],
)
def test_facts_about_versions_stay_facts(words: str) -> None:
    """What uv says of packages is not taken for a failure of the machine."""
    assert not machine_failed(1, words)


def test_credentials_of_a_source_are_in_no_words_and_no_lock() -> None:
    """The lock builds with them; what a record carries of it, its identity and its errors do not."""
    pin = "peft @ git+https://user:sesame@127.0.0.1:9/a/peft@" + "0" * 40
    lock = Lock(pins=(pin,))
    assert "sesame" in lock.overlay_pins[0]
    assert "sesame" not in str(lock.sources)
    assert lock.digest == Lock(pins=(pin.replace("sesame", "other"),)).digest
    failed = failure(pin)
    assert failed.state == CellState.UNREACHABLE, str(failed)
    assert "sesame" not in str(failed)


def test_scratch_of_a_killed_process_is_removed_by_the_next(tmp_path: Path) -> None:
    """SIGKILL leaves a folder; the next one that is made removes it, and none that is in use."""
    program = "from harness.environments.scratch import scratch_folder\n"
    program += "with scratch_folder('run') as folder:\n  print(folder, flush=True)\n  input()"
    command = [sys.executable, "-c", program]
    with (
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT) as killed,
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT) as alive,
    ):
        assert killed.stdout is not None
        assert alive.stdout is not None
        left, used = killed.stdout.readline().strip(), alive.stdout.readline().strip()
        assert str(killed.pid) in left
        killed.kill()
        killed.wait()
        names = {path.name for path in (tmp_path / "cache" / "scratch").iterdir() if path.is_dir()}
        assert names == {left.rpartition("/")[2], used.rpartition("/")[2]}
        with scratch_folder("next") as folder:
            assert remove_left_over() == []
            names = {path.name for path in folder.parent.iterdir() if path.is_dir()}
            assert names == {used.rpartition("/")[2], folder.name}
        alive.communicate("\n")
    assert not [path for path in (tmp_path / "cache" / "scratch").iterdir() if path.name != "lock"]
