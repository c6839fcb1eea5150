"""A worker that is kept: torch and transformers stay imported while somebody asks for cell after cell.

``Measurement`` hands a worker all its cells at once. Whoever decides on the next cell by the
answer to the last one (bisect) asks here, one at a time.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
from typing import TYPE_CHECKING, Any, Self

from harness.errors import EnvironmentFailure
from harness.index import clean_environment
from harness.interface import SCHEMA
from harness.measure import FORKS, THREADS, WORKER
from harness.paths import ROOT
from harness.records import machine_facts, mend, read_records

if TYPE_CHECKING:
    from pathlib import Path

    from harness.environment import Environment
    from harness.records import Record

_KEPT = 3
"""Workers alive at a time: each holds about half a GiB, and the last few bases are asked again."""


class KeptWorker:
    """One worker process on one base. Start it from a thread that lives as long as it does."""

    def __init__(
        self, environment: Environment, folder: Path, name: str, *, limit_s: float, timed: bool, device: str
    ) -> None:
        """``folder`` is a run's: records, logs and the worker's job go there under ``name``."""
        self._folder, self._name = folder, name
        self._output = folder / "records" / f"{name}.{os.getpid()}.jsonl"
        self._log = folder / "logs" / f"{name}.worker.log"
        for path in (self._output, self._log, folder / "benchmarks" / name):
            path.parent.mkdir(parents=True, exist_ok=True)
        mend(self._output)
        job = {
            "root": str(ROOT),
            "behind": [str(path) for path in environment.behind],
            "output": str(self._output),
            "limit_s": limit_s,
            "timed": timed,
            "device": device,
            "fork": FORKS,
            "header": {"schema": SCHEMA, "run": folder.name, "machine": machine_facts()},
        }
        path = folder / "logs" / f"{name}.{os.getpid()}.job.json"
        path.write_text(json.dumps(job), encoding="utf-8")
        with self._log.open("a", encoding="utf-8") as errors:
            self._process = subprocess.Popen(  # noqa: S603 - the interpreter of an environment we built
                [str(environment.python), "-P", str(WORKER), str(path)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env={**clean_environment(os.environ), **THREADS},
                cwd=folder,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """Give the process id of the worker; its children inherit what is set for it."""
        return self._process.pid

    def ask(
        self,
        cell: dict[str, Any],
        overlays: tuple[Path, ...],
        variant: dict[str, Any],
        scratch: Path,
        *,
        benchmarks: str = "",
    ) -> Record:
        """Measure one variant (as a job lists it) in one cell; give its record, or the cell's state's.

        ``benchmarks`` names pytest-benchmark's file; the cell's id does otherwise. Raises
        :class:`EnvironmentFailure` when the worker itself ended.
        """
        entry = {
            "cell": cell,
            "overlays": [str(path) for path in overlays],
            "log": str(self._folder / "logs" / f"{cell['id']}.log"),
            "benchmarks": str(self._folder / "benchmarks" / f"{benchmarks or cell['id']}.json"),
            "scratch": str(scratch),
            "variants": [{**variant, "index": 0}],
        }
        assert self._process.stdin is not None  # noqa: S101 - PIPE was asked for
        assert self._process.stdout is not None  # noqa: S101 - PIPE was asked for
        try:
            self._process.stdin.write(json.dumps(entry) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise self._ended() from None
        for line in iter(self._process.stdout.readline, ""):
            if json.loads(line)["event"] == "done":
                return self._newest(cell["id"])
        raise self._ended()

    def close(self) -> None:
        """End the worker; what it wrote stays."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGKILL)
        with self._process:
            pass

    def _newest(self, cell: str) -> Record:
        for record in reversed(list(read_records(self._output))):
            if record["cell"]["id"] == cell:
                return record
        message = f"the worker {self._name} wrote no record of {cell}; see {self._log}"
        raise EnvironmentFailure(message)

    def _ended(self) -> EnvironmentFailure:
        tail = self._log.read_text(encoding="utf-8", errors="replace")[-600:]
        return EnvironmentFailure(f"the worker {self._name} ended with {self._process.wait()}; see {self._log}: {tail}")


class KeptWorkers:
    """Workers by base, the ones used last; ends them all when its context is left."""

    def __init__(self, folder: Path, *, limit_s: float, timed: bool, device: str) -> None:
        """``folder`` is a run's."""
        self._folder = folder
        self._options: dict[str, Any] = {"limit_s": limit_s, "timed": timed, "device": device}
        self._workers: dict[tuple[Path, ...], KeptWorker] = {}
        self.started = 0

    def __enter__(self) -> Self:
        """Start nothing yet."""
        return self

    def __exit__(self, *_: object) -> None:
        """End every worker."""
        for worker in self._workers.values():
            worker.close()
        self._workers.clear()

    def forget(self, worker: KeptWorker) -> None:
        """End one worker; the next cell on its base gets a new one."""
        worker.close()
        self._workers = {place: one for place, one in self._workers.items() if one is not worker}

    def on(self, environment: Environment) -> KeptWorker:
        """Give the worker of an environment's base, started if need be."""
        place = (environment.python, *environment.behind)
        worker = self._workers.pop(place, None)
        if worker is None:
            while len(self._workers) >= _KEPT:
                self._workers.pop(next(iter(self._workers))).close()
            self.started += 1
            worker = KeptWorker(environment, self._folder, f"worker{self.started}", **self._options)
        self._workers[place] = worker
        return worker
