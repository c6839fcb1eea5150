"""The one way in which the harness runs uv: nothing of it outlives the harness, however that ends."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from harness.environments.index import uv_environment
from harness.errors import EnvironmentFailure

if TYPE_CHECKING:
    from collections.abc import Mapping

_WATCHED = Path(__file__).parents[1] / "cell" / "watched.py"

_running: set[subprocess.Popen[str]] = set()
_changing = threading.Lock()


def find_uv() -> str:
    """Return the path of uv: beside this interpreter, or on PATH. Raises :class:`EnvironmentFailure`."""
    beside = Path(sys.executable).parent / "uv"
    found = str(beside) if beside.is_file() else shutil.which("uv")
    if found is None:
        message = "uv is not installed; run: pip install 'nox[uv]'"
        raise EnvironmentFailure(message)
    return found


def run_uv(
    *arguments: str, environ: Mapping[str, str] | None = None, cwd: Path | None = None, limit_s: float | None = None
) -> subprocess.CompletedProcess[str]:
    """Run uv to its end and return its status, output and errors; a negative status is the signal that ended it.

    ``environ`` is :func:`uv_environment` where nothing else is given. uv, and all that it has started, ends with this
    process, with an exception here (``KeyboardInterrupt``), and at ``limit_s``. Raises ``subprocess.TimeoutExpired``.
    """
    command = [sys.executable, "-I", "-S", str(_WATCHED), str(os.getpid()), find_uv(), *arguments]
    with subprocess.Popen(  # noqa: S603 - uv
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        env=uv_environment() if environ is None else environ,
        cwd=cwd,
    ) as process:
        with _changing:
            _running.add(process)
        try:
            output, errors = process.communicate(timeout=limit_s)
        except BaseException:
            # Not SIGKILL: the process that watches uv has to end what is below it.
            process.terminate()
            raise
        finally:
            with _changing:
                _running.discard(process)
    return subprocess.CompletedProcess(command, process.returncode, output, errors)


def stop_uv() -> None:
    """End every uv that runs in a thread of this process; each returns there as ended by SIGTERM."""
    with _changing:
        for process in _running:
            process.terminate()
