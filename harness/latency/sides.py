"""Run two cells side by side: one kept worker each, one fresh child of each a variant, calls interleaved."""

from __future__ import annotations

import os
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from harness.contracts.job import Request
from harness.contracts.record import VariantRecord
from harness.environments.build import InstallFailed, build
from harness.environments.resolve import Lock, resolve
from harness.errors import UsageError
from harness.interface import Outcome, with_defaults
from harness.latency.ratio import own_times
from harness.latency.turns import Table, play
from harness.machine import machine_facts
from harness.matrix.cases import load_cases, select_variants
from harness.run.keys import key_of
from harness.run.workers import Worker, cell_facts, settings_for
from harness.worker_client import WorkerEnded

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from harness.contracts.record import CellFacts, Record
    from harness.environments.build import Environment
    from harness.environments.locks import LockBook
    from harness.latency.turns import Turn
    from harness.matrix.cases import Case
    from harness.matrix.spec import Cell
    from harness.run.runs import Run


SIDES = ("first", "second")
_MEETING_S = 600.0
_CALL_S = 60.0


@dataclass(frozen=True, kw_only=True)
class Pair:
    """One variant in two cells: the record of each side, how many blocks were played, and how long that took."""

    case: str
    variant: Mapping[str, str]
    records: Mapping[str, Record]
    blocks: int
    seconds: float

    def samples(self, side: str, label: str, *, wall: bool = False) -> list[float]:
        """Return a side's samples of a label in seconds, in the order in which they were taken.

        Without the time on the run queue, unless ``wall``.
        """
        record = self.records[side]
        series = record.latency.get(label) if isinstance(record, VariantRecord) else None
        if not isinstance(series, dict):
            return []
        return list(series["samples_s"]) if wall else own_times(series)


@dataclass(kw_only=True)
class Sides:
    """Two cells, built, and a worker for each: alive from ``with`` until its end."""

    run: Run
    cells: tuple[Cell, Cell]
    book: LockBook
    matrix: str
    device: str = "cpu"
    _count: int = 0
    _stack: ExitStack = field(default_factory=ExitStack)
    _pool: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(len(SIDES)))

    def __enter__(self) -> Self:
        """Resolve, build and start. Raises :class:`UsageError` when a cell cannot exist."""
        ready = [self._built(cell) for cell in self.cells]
        self._folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="prompt-bench-")))
        self._table = self._stack.enter_context(Table(self._folder))
        self._facts = {side: facts for side, (facts, _) in zip(SIDES, ready, strict=True)}
        self._overlays = {side: environment.overlays for side, (_, environment) in zip(SIDES, ready, strict=True)}
        settings = settings_for(self.run, limit_s=_MEETING_S + 1, timed=True, device=self.device)
        self._workers = {}
        for side, (_, environment) in zip(SIDES, ready, strict=True):
            self._workers[side] = Worker(environment, self.run, side, settings)
            self._stack.callback(self._workers[side].close)
        return self

    def __exit__(self, *_: object) -> None:
        """End both workers."""
        self._stack.close()
        self._pool.shutdown()

    def _built(self, cell: Cell) -> tuple[CellFacts, Environment]:
        lock = self.book.get(cell) or resolve(cell)
        if not isinstance(lock, Lock):
            message = f"cell {cell.id} cannot be had ({lock.state}): {lock.words[-300:]}; name another cell"
            raise UsageError(message)
        try:
            return cell_facts(cell, self.matrix, lock), build(lock, cell.python)
        except InstallFailed as error:
            message = f"cell {cell.id} cannot be installed: {str(error)[-300:]}; name another cell"
            raise UsageError(message) from None

    def measure(self, case: Case, variant: Mapping[str, str], block: Sequence[Turn], *, budget_s: float) -> Pair:
        """Measure one variant on both sides, turn by turn; ``budget_s`` is the time for the turns alone."""
        on_core(self._workers.values())
        self._count += 1
        # A side's name at the table is new for each variant, so that no event is taken for a later one's.
        names = {f"{side}-{self._count}": side for side in SIDES}
        futures = {side: self._pool.submit(self._ask, name, case, variant) for name, side in names.items()}
        came = self._table.gather(tuple(names), limit_s=_MEETING_S)
        players = {names[name]: player for name, player in came.items()}
        begin = time.monotonic()
        # One that is alone, or cannot run what is asked for, has nobody to take turns with.
        together = len(players) == len(SIDES) and all(turn.arm in players[turn.side].call_s for turn in block)
        blocks = play(players, block if together else (), budget_s=budget_s if together else 0.0, limit_s=_CALL_S)
        seconds = time.monotonic() - begin
        records = {side: future.result() for side, future in futures.items()}
        return Pair(case=case.name, variant=variant, records=records, blocks=blocks, seconds=seconds)

    def _ask(self, name: str, case: Case, variant: Mapping[str, str]) -> Record:
        side = name.partition("-")[0]
        facts = self._facts[side]
        key = key_of(
            lock=str(facts.lock), python=facts.python, case=case, variant=variant, machine=machine_facts(),
            timed=True, examples=None,
        )  # fmt: skip
        request = Request(
            # Not the key of an ordinary record: the samples of a comparison are not those of a run.
            key=f"compare-{key}",
            case=case.name,
            document=case.document,
            variant=dict(variant),
            timing={"turns": self._table.address, "name": name},
        )
        benchmarks = f"{side}-{case.name}-{'-'.join(variant.values())}"
        try:
            (record,) = self._workers[side].measure(facts, self._overlays[side], (request,), benchmarks=benchmarks)
        except WorkerEnded as error:
            # Not written: no record of a run, only what became of this comparison.
            return VariantRecord(
                run=self.run.id, time="", cell=facts, key=request.key, case=case.name, variant=variant,
                outcome=Outcome.CRASHED, message=str(error),
            )  # fmt: skip
        else:
            return record
        finally:
            self._table.ended(name)


def on_core(workers: Iterator[Worker] | Any) -> None:
    """Keep both workers on the core that is least busy now: a busier neighbour then slows both alike.

    Only one of them runs at a time. Where the system has no such call, nothing is done.
    """
    import psutil

    processes = [psutil.Process(worker.pid) for worker in workers]
    if not hasattr(psutil.Process, "cpu_affinity") or not hasattr(os, "sched_getaffinity"):
        return
    busy = psutil.cpu_percent(interval=0.2, percpu=True)
    core = min(os.sched_getaffinity(0), key=lambda one: busy[one] if one < len(busy) else 0.0)
    for process in processes:
        process.cpu_affinity([core])


def timed_variants(expression: str, device: str = "cpu") -> list[tuple[Case, dict[str, str]]]:
    """List the variants that an expression selects, as a device measures them. Raises :class:`UsageError`."""
    return [(case, with_defaults(variant, device)) for case, variant in select_variants(load_cases(), expression)]
