"""The one client of the worker that runs in a cell: start it, hand it cells, hear its events.

Needs nothing but the standard library: ``here`` uses it in environments that have only what a cell has.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.contracts.job import cell_job_data, job_data

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from harness.contracts.job import CellJob, Job

    Tell = Callable[[Mapping[str, Any]], None]

FORKS = sys.platform == "linux"
"""Elsewhere a process that has started threads, as torch does, must not be forked."""

THREADS = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "RAYON_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
"""Tiny models gain nothing from more threads, and two that wait for each other beside a busy process cost much."""

_PROGRAM = Path(__file__).parent / "cell" / "worker.py"
_LOG_TAIL = 600


class WorkerEnded(Exception):
    """The worker process itself ended before it was done; the message has its status and the end of its log."""


class WorkerClient:
    """One worker process. Start it from a thread that lives as long as it does: Linux ends it with that thread."""

    def __init__(self, python: Path, job: Job, *, scratch: Path, log: Path, environ: Mapping[str, str]) -> None:
        """Start ``python`` on a job; ``scratch`` is its working folder, ``log`` takes what it prints beside events."""
        self._log = log
        path = scratch / "job.json"
        path.write_text(json.dumps(job_data(job)), encoding="utf-8")
        with log.open("a", encoding="utf-8") as errors:
            self._process = subprocess.Popen(  # noqa: S603 - the interpreter of an environment
                [str(python), "-P", str(_PROGRAM), str(path)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env={**environ, **THREADS},
                cwd=scratch,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """Return the process id; its children inherit what is set for it."""
        return self._process.pid

    def measure(self, entry: CellJob, tell: Tell | None = None) -> None:
        """Have one cell measured; ``tell`` hears every event.

        Raises :class:`WorkerEnded` when the worker itself ended; what it wrote until then stays.
        """
        assert self._process.stdin is not None  # noqa: S101 - PIPE was asked for
        assert self._process.stdout is not None  # noqa: S101 - PIPE was asked for
        try:
            self._process.stdin.write(json.dumps(cell_job_data(entry)) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise self._ended() from None
        for line in iter(self._process.stdout.readline, ""):
            event = json.loads(line)
            if tell is not None:
                tell(event)
            if event["event"] == "done":
                return
        raise self._ended()

    def stop(self) -> None:
        """End the process at once, from any thread; :meth:`close` has to follow."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGKILL)

    def close(self) -> None:
        """End the process; what it wrote stays."""
        self.stop()
        with self._process:
            pass

    def _ended(self) -> WorkerEnded:
        tail = self._log.read_text(encoding="utf-8", errors="replace")[-_LOG_TAIL:]
        return WorkerEnded(f"a worker ended with {self._process.wait()}; see {self._log}: {tail}")
