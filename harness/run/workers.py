"""Run: hand each base its job, listen to its worker, keep what it wrote."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from harness.contracts.records import append_records, mend, read_records
from harness.environments.build import Environment, InstallFailed, build
from harness.environments.index import clean_environment
from harness.environments.scratch import scratch_folder
from harness.errors import EnvironmentFailure
from harness.interface import SCHEMA, CellState
from harness.machine import machine_facts
from harness.matrix.source import redact
from harness.matrix.spec import PACKAGES
from harness.paths import ROOT, cache_folder

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from harness.environments.resolve import Lock
    from harness.matrix.spec import Cell
    from harness.matrix.weights import RealWeights
    from harness.progress import Progress
    from harness.run.runs import Run

    Builder = Callable[[Lock, str], Environment]

    from harness.contracts.records import Record
    from harness.environments.build import Environment


FORKS = sys.platform == "linux"
"""Elsewhere a process that has started threads, as torch does, must not be forked."""

WORKER = ROOT / "harness" / "cell" / "worker.py"
THREADS = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "RAYON_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}


@dataclass(frozen=True, kw_only=True)
class WorkItem:
    """What is left to measure in one cell: its lock and the variants, as the worker takes them.

    ``part`` tells shares of one cell apart, which several workers measure side by side.
    """

    cell: Cell
    matrix: str
    lock: Lock
    variants: tuple[dict[str, Any], ...]
    part: str = ""


class Measurement:
    """Measures bases, each with a worker of its own; may be interrupted from another thread."""

    def __init__(
        self,
        run: Run,
        progress: Progress,
        *,
        limit_s: float,
        timed: bool,
        examples: int | None = None,
        device: str,
        weights: RealWeights | None = None,
        builder: Builder = build,
        fork: bool = True,
    ) -> None:
        """``limit_s`` bounds one variant, in seconds; without ``fork`` each cell gets a fresh process.

        ``examples`` is the budget of a property (see :class:`harness.matrix.spec.Matrix`), ``weights`` replace
        tiny models.
        """
        self._run, self._progress, self._build = run, progress, builder
        self._options = {
            "limit_s": limit_s,
            "timed": timed,
            "device": device,
            "fork": fork and FORKS,
            "examples": examples,
            "memory": str(cache_folder() / "examples"),
            "told": str(run.folder / "examples.jsonl"),
            "weights": weights.job() if weights else {},
        }
        self._workers: set[subprocess.Popen[str]] = set()
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._failures: list[str] = []

    def raise_failures(self) -> None:
        """Raise :class:`EnvironmentFailure` when a worker itself failed: that is no result."""
        if self._failures:
            raise EnvironmentFailure("\n".join(self._failures))

    def stop(self) -> None:
        """End every worker; what they have written stays."""
        with self._lock:
            self._stopped.set()
            for worker in self._workers:
                worker.send_signal(signal.SIGKILL)

    def measure_base(self, items: list[WorkItem]) -> None:
        """Build the environments of cells that share a base, and measure them in one worker."""
        ready: list[tuple[WorkItem, Environment]] = []
        for item in items:
            if self._stopped.is_set():
                return
            self._progress.step(item.cell.id, "preparing the environment")
            try:
                ready.append((item, self._build(item.lock, item.cell.python)))
            except InstallFailed as error:
                if self._stopped.is_set():
                    return
                self._progress.step(item.cell.id, f"{error.state}: {str(error)[-200:]}")
                self.write_state(item.cell, item.matrix, error.state, str(error), item.lock)
        if ready and not self._stopped.is_set():
            with scratch_folder(self._run.id) as scratch:
                self._work(ready, scratch)

    def write_state(self, cell: Cell, matrix: str, state: CellState, words: str, lock: Lock | None = None) -> None:
        """Write the record of a cell that never became ready."""
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        record = {
            **self.header(),
            "time": now,
            "cell": {**cell_facts(cell, matrix, lock), "state": str(state)},
            "message": words,
        }
        append_records(self._run.folder / "records" / f"{cell.id}.state.jsonl", [record])

    def header(self) -> dict[str, Any]:
        """Give what all records of the run share."""
        return {"schema": SCHEMA, "run": self._run.id, "machine": machine_facts()}

    def _work(self, ready: list[tuple[WorkItem, Environment]], scratch: Path) -> None:
        first, part = ready[0][0].cell, ready[0][0].part
        base = ready[0][1]
        output = self._run.folder / "records" / f"{first.base_id}.{os.getpid()}.{first.id}{part}.jsonl"
        output.parent.mkdir(parents=True, exist_ok=True)
        mend(output)
        job = {
            "root": str(ROOT),
            "behind": [str(path) for path in base.behind],
            "output": str(output),
            **self._options,
            "header": self.header(),
            "cells": [self._entry(item, environment, scratch) for item, environment in ready],
        }
        job_path = scratch / "job.json"
        job_path.write_text(json.dumps(job), encoding="utf-8")
        log = self._run.folder / "logs" / f"{first.base_id}.worker.log"
        environ = {**clean_environment(os.environ), **THREADS}
        with log.open("a", encoding="utf-8") as errors:
            command = [str(base.python), "-P", str(WORKER), str(job_path)]
            with self._lock:
                if self._stopped.is_set():
                    return
                worker = subprocess.Popen(  # noqa: S603 - the interpreter of an environment we built
                    command,
                    stdout=subprocess.PIPE,
                    stderr=errors,
                    text=True,
                    env=environ,
                    cwd=scratch,
                    start_new_session=True,
                )
                self._workers.add(worker)
            self._listen(worker)
        if worker.returncode != 0 and not self._stopped.is_set():
            tail = log.read_text(encoding="utf-8", errors="replace")[-600:]
            self._progress.step(first.base_id, f"the worker ended with {worker.returncode}")
            self._failures.append(f"the worker of {first.base_id} ended with {worker.returncode}: {tail}")

    def _listen(self, worker: subprocess.Popen[str]) -> None:
        tally: Counter[str] = Counter()
        current = ""
        assert worker.stdout is not None  # noqa: S101 - PIPE was asked for
        with worker:
            for line in worker.stdout:
                event = json.loads(line)
                match event["event"]:
                    case "cell":
                        self._tell(current, tally)
                        current = event["cell"]
                        self._progress.step(current, "measuring")
                    case "record":
                        self._progress.advance()
                        tally[event["outcome"]] += 1
                    case "state":
                        self._progress.step(event["cell"], event["state"])
        self._tell(current, tally)
        with self._lock:
            self._workers.discard(worker)

    def _tell(self, cell: str, tally: Counter[str]) -> None:
        if tally:
            self._progress.step(cell, ", ".join(f"{count} {outcome}" for outcome, count in tally.most_common()))
        tally.clear()

    def _entry(self, item: WorkItem, environment: Environment, scratch: Path) -> dict[str, Any]:
        logs, benchmarks = self._run.folder / "logs", self._run.folder / "benchmarks"
        for folder in (logs, benchmarks):
            folder.mkdir(parents=True, exist_ok=True)
        return {
            "cell": cell_facts(item.cell, item.matrix, item.lock),
            "overlays": [str(path) for path in environment.overlays],
            "log": str(logs / f"{item.cell.id}.log"),
            "benchmarks": str(benchmarks / f"{item.cell.id}{item.part}.json"),
            "scratch": str(scratch / "cases"),
            "variants": [{**one, "index": index} for index, one in enumerate(item.variants)],
        }


def cell_facts(cell: Cell, matrix: str, lock: Lock | None) -> dict[str, Any]:
    """Give a cell as records carry it. The worker puts the versions really imported in their place."""
    versions = lock.versions if lock else {name: redact(pin) for name, pin in cell.pins.items()}
    facts = {
        "id": cell.id,
        "matrix": matrix,
        "lock": lock.digest if lock else None,
        "python": cell.python,
        "packages": {name: versions[name] for name in PACKAGES if name in versions},
    }
    return {**facts, "sources": lock.sources} if lock and lock.sources else facts


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
