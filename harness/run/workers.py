"""Run cells in workers: one process on one base that imports torch once, and is handed cell after cell."""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from harness.contracts.job import CellJob, Job, Settings
from harness.contracts.record import CellFacts, Record, StateRecord
from harness.contracts.records import append_records, mend, read_record
from harness.environments.build import Environment, InstallFailed, build
from harness.environments.index import clean_environment
from harness.environments.scratch import scratch_folder
from harness.environments.uv import stop_uv
from harness.errors import EnvironmentFailure
from harness.machine import machine_facts
from harness.matrix.source import redact
from harness.packages import PACKAGES
from harness.paths import ROOT, cache_folder
from harness.worker_client import FORKS, WorkerClient, WorkerEnded

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from harness.contracts.job import Request
    from harness.environments.resolve import Lock
    from harness.interface import CellState
    from harness.matrix.spec import Cell
    from harness.progress import Progress
    from harness.run.runs import Run
    from harness.worker_client import Tell

    Builder = Callable[[Lock, str], Environment]


_MOST_WORKERS = 3
"""Workers that a pool keeps alive: each holds about half a GiB, and the last few bases are asked again."""


def settings_for(
    run: Run,
    *,
    limit_s: float,
    device: str,
    timed: bool,
    fork: bool = True,
    examples: int | None = None,
    weights: Mapping[str, Mapping[str, Any]] | None = None,
) -> Settings:
    """Return the settings of a run's workers. Failing examples are remembered in the cache, and told within the run."""
    return Settings(
        limit_s=limit_s,
        device=device,
        timed=timed,
        fork=fork and FORKS,
        examples=examples,
        memory=str(cache_folder() / "examples"),
        told=str(run.folder / "examples.jsonl"),
        weights=weights or {},
    )


class Worker:
    """A worker on the base of an environment, whose records go into a run."""

    def __init__(self, environment: Environment, run: Run, name: str, settings: Settings) -> None:
        """Start the process; its records, logs and benchmarks go to the run's folder under ``name``."""
        self._run, self._read = run, 0
        self._output = run.folder / "records" / f"{name}.{os.getpid()}.jsonl"
        log = run.folder / "logs" / f"{name}.worker.log"
        for path in (self._output, log, run.folder / "benchmarks" / name):
            path.parent.mkdir(parents=True, exist_ok=True)
        mend(self._output)
        if self._output.is_file():
            self._read = self._output.stat().st_size
        self._held = ExitStack()
        self._scratch = self._held.enter_context(scratch_folder(run.id))
        job = Job(
            root=str(ROOT),
            behind=tuple(map(str, environment.behind)),
            output=str(self._output),
            run=run.id,
            machine=machine_facts(),
            settings=settings,
        )
        environ = clean_environment(os.environ)
        self._client = WorkerClient(environment.python, job, scratch=self._scratch, log=log, environ=environ)
        self._held.callback(self._client.close)

    def __enter__(self) -> Self:
        """Use the worker until the block ends."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the worker; what it wrote stays."""
        self.close()

    @property
    def pid(self) -> int:
        """Return the process id; its children inherit what is set for it."""
        return self._client.pid

    def measure(
        self,
        cell: CellFacts,
        overlays: tuple[Path, ...],
        requests: tuple[Request, ...],
        *,
        benchmarks: str = "",
        tell: Tell | None = None,
    ) -> list[Record]:
        """Measure variants in one cell; return the records that were written, or the cell's state.

        ``benchmarks`` names pytest-benchmark's file (the cell's id does otherwise); ``tell`` hears every event of
        the worker. Raises :class:`WorkerEnded` when the worker itself ended; what it wrote until then stays.
        """
        entry = CellJob(
            cell=cell,
            overlays=tuple(map(str, overlays)),
            log=str(self._run.folder / "logs" / f"{cell.id}.log"),
            benchmarks=str(self._run.folder / "benchmarks" / f"{benchmarks or cell.id}.json"),
            scratch=str(self._scratch / "cases"),
            requests=requests,
        )
        self._client.measure(entry, tell)
        with self._output.open("rb") as output:
            output.seek(self._read)
            data = output.read()
        self._read += len(data)
        return [read_record(line, str(self._output)) for line in data.splitlines()]

    def stop(self) -> None:
        """End the process at once, from any thread; :meth:`close` has to follow."""
        self._client.stop()

    def close(self) -> None:
        """End the process and remove its scratch folder; what it wrote stays."""
        self._held.close()


class WorkerPool:
    """Workers by base, the ones used last; ends them all when its context is left."""

    def __init__(self, run: Run, settings: Settings) -> None:
        """Start nothing yet."""
        self._run, self._settings = run, settings
        self._workers: dict[tuple[Path, ...], Worker] = {}
        self.started = 0

    def __enter__(self) -> Self:
        """Use the pool until the block ends."""
        return self

    def __exit__(self, *_: object) -> None:
        """End every worker."""
        for worker in self._workers.values():
            worker.close()
        self._workers.clear()

    def discard(self, worker: Worker) -> None:
        """End one worker; the next cell on its base gets a new one."""
        worker.close()
        self._workers = {base: other for base, other in self._workers.items() if other is not worker}

    def on(self, environment: Environment) -> Worker:
        """Return the worker of an environment's base, started if need be."""
        base = (environment.python, *environment.behind)
        worker = self._workers.pop(base, None)
        if worker is None:
            while len(self._workers) >= _MOST_WORKERS:
                self._workers.pop(next(iter(self._workers))).close()
            self.started += 1
            worker = Worker(environment, self._run, f"worker{self.started}", self._settings)
        self._workers[base] = worker
        return worker


@dataclass(frozen=True, kw_only=True)
class WorkItem:
    """What is left to measure in one cell: its lock and the variants.

    ``part`` tells shares of one cell apart, which several workers measure side by side.
    """

    cell: Cell
    matrix: str
    lock: Lock
    requests: tuple[Request, ...]
    part: str = ""


class Measurement:
    """Measures groups of cells that share a base, each group with a worker; may be stopped from another thread."""

    def __init__(self, run: Run, progress: Progress, settings: Settings, *, builder: Builder = build) -> None:
        """``builder`` makes the environment of a lock."""
        self._run, self._progress, self._settings, self._build = run, progress, settings, builder
        self._workers: set[Worker] = set()
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._failures: list[str] = []

    def raise_failures(self) -> None:
        """Raise :class:`EnvironmentFailure` when a worker itself failed: that is no result."""
        if self._failures:
            raise EnvironmentFailure("\n".join(self._failures))

    def stop(self) -> None:
        """End every worker and every build; what the workers have written stays."""
        with self._lock:
            self._stopped.set()
            for worker in self._workers:
                worker.stop()
        stop_uv()

    def measure_base(self, items: list[WorkItem]) -> None:
        """Build the environments of cells that share a base, and measure them in one worker."""
        ready: list[tuple[WorkItem, Environment]] = []
        for item in items:
            if self._stopped.is_set():
                return
            self._progress.passing(item.cell.id, "preparing the environment")
            try:
                ready.append((item, self._build(item.lock, item.cell.python)))
            except InstallFailed as error:
                if self._stopped.is_set():
                    return
                self._progress.step(item.cell.id, f"{error.state}: {str(error)[-200:]}")
                self.write_state(item.cell, item.matrix, error.state, str(error), item.lock)
        if ready:
            self._work(ready)

    def write_state(self, cell: Cell, matrix: str, state: CellState, words: str, lock: Lock | None = None) -> None:
        """Write the record of a cell that never became ready."""
        write_state(self._run, cell_facts(cell, matrix, lock), state, words)

    def _work(self, ready: list[tuple[WorkItem, Environment]]) -> None:
        first, environment = ready[0]
        name = f"{first.cell.base_id}.{first.cell.id}{first.part}"
        with self._lock:
            if self._stopped.is_set():
                return
            worker = Worker(environment, self._run, name, self._settings)
            self._workers.add(worker)
        try:
            for item, built in ready:
                self._measure(worker, item, built)
        except WorkerEnded as ended:
            if not self._stopped.is_set():
                self._progress.step(first.cell.base_id, "the worker ended")
                self._failures.append(str(ended))
        finally:
            with self._lock:
                self._workers.discard(worker)
            worker.close()

    def _measure(self, worker: Worker, item: WorkItem, environment: Environment) -> None:
        tally: Counter[str] = Counter()

        def tell(event: Mapping[str, Any]) -> None:
            match event["event"]:
                case "cell":
                    self._progress.passing(item.cell.id, "measuring")
                case "record":
                    self._progress.advance()
                    tally[event["outcome"]] += 1
                case "state":
                    self._progress.step(item.cell.id, event["state"])

        facts = cell_facts(item.cell, item.matrix, item.lock)
        worker.measure(facts, environment.overlays, item.requests, benchmarks=f"{item.cell.id}{item.part}", tell=tell)
        if tally:
            self._progress.milestone(item.cell.id, ", ".join(f"{count} {what}" for what, count in tally.most_common()))


def write_state(run: Run, facts: CellFacts, state: CellState, words: str) -> StateRecord:
    """Write the record of a cell that never became ready into a run, and return it."""
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    record = StateRecord(run=run.id, time=now, cell=facts, state=state, machine=machine_facts(), message=words)
    append_records(run.folder / "records" / f"{facts.id}.state.jsonl", [record])
    return record


def cell_facts(cell: Cell, matrix: str, lock: Lock | None) -> CellFacts:
    """Return a cell as records carry it. The worker puts the versions really imported in their place."""
    versions = lock.versions if lock else {name: redact(pin) for name, pin in cell.pins.items()}
    return CellFacts(
        id=cell.id,
        matrix=matrix,
        lock=lock.digest if lock else None,
        python=cell.python,
        packages={name: versions[name] for name in PACKAGES if name in versions},
        sources=lock.sources if lock else {},
    )
