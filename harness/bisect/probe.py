"""Probe: measure exactly one variant in one cell, in a worker that is kept warm."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from harness.contracts.job import Request
from harness.contracts.record import KNOWN, VariantRecord
from harness.contracts.records import variants_in
from harness.environments.build import Environment, InstallFailed, build
from harness.environments.locks import LockBook
from harness.environments.resolve import Lock, Unresolved, resolve
from harness.interface import CellState
from harness.judge.reference import published, read_reference
from harness.machine import machine_facts
from harness.matrix.read import MATRICES
from harness.paths import cache_folder
from harness.run.keys import key_of
from harness.run.workers import WorkerPool, cell_facts, settings_for, write_state
from harness.worker_client import WorkerEnded

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from harness.contracts.record import CellFacts, Record
    from harness.matrix.cases import Case
    from harness.matrix.spec import Cell
    from harness.run.runs import Run
    from harness.run.store import Store

MATRIX = "bisect"
"""What stands for a matrix in the records of probes."""


@dataclass(frozen=True, kw_only=True)
class Subject:
    """What is measured in every probe. ``variant`` has its device and dtype; ``limit_s`` is in seconds."""

    case: Case
    variant: Mapping[str, str]
    limit_s: float = 60.0
    timed: bool = False
    examples: int | None = None

    def key(self, lock: str, python: str, *, timed: bool) -> str:
        """Return the key under which the store knows the measurement."""
        return key_of(
            lock=lock, python=python, case=self.case, variant=self.variant, machine=machine_facts(), timed=timed,
            examples=self.examples,
        )  # fmt: skip

    def request(self, key: str) -> Request:
        """Return the variant as a worker takes it."""
        return Request(key=key, case=self.case.name, document=self.case.document, variant=self.variant)


class Locks:
    """Locks of cells: those that the matrices keep, those of earlier bisects, else resolved now."""

    def __init__(self, *, fresh: bool = False) -> None:
        """Open every book; with ``fresh`` none of them answers, and cells are resolved again."""
        self._own = LockBook(cache_folder() / "bisect-locks.json")
        kept = [LockBook(path) for path in sorted((MATRICES / "locks").glob("*.json"))]
        self._books = [] if fresh else [*kept, self._own]
        self._resolved: dict[str, Lock | Unresolved] = {}
        self._last: Lock | None = None
        self._asking = threading.Lock()

    def kept(self, cell: Cell) -> Lock | None:
        """Return the lock of a cell if there is one; asks no resolver."""
        found = self._resolved.get(cell.id) or next((lock for book in self._books if (lock := book.get(cell))), None)
        return found if isinstance(found, Lock) else None

    def put(self, cell: Cell, lock: Lock) -> None:
        """Return a cell a lock that no resolver was asked for."""
        self._resolved[cell.id] = lock

    def get(self, cell: Cell) -> Lock | Unresolved:
        """Return the lock of a cell, or the resolver's words.

        A cell without a date is resolved to what the one before it had, where that is allowed, so
        that nothing but the axis changes from probe to probe.
        """
        with self._asking:
            if (lock := self.kept(cell)) is not None:
                self._last = lock
                return lock
            if cell.id not in self._resolved:
                answer = self._resolved[cell.id] = resolve(cell, prefer=None if cell.as_of else self._last)
                if isinstance(answer, Lock):
                    self._last = answer
                    self._own.keep({cell: answer})
            return self._resolved[cell.id]


def _pins(pins: Mapping[str, str], python: str) -> tuple[str, ...]:
    """Return what tells cells with the same pins apart; the label of a build does not."""
    minor = ".".join(python.split(".")[:2])
    return (minor, *(f"{name}=={version.partition('+')[0]}" for name, version in sorted(pins.items())))


class Prober:
    """Measures one variant in cell after cell; records go to a run of its own, and to the store."""

    def __init__(self, subject: Subject, run: Run, store: Store, *, fresh: bool = False) -> None:
        """Without ``fresh`` what the store knows is not measured again."""
        self.subject, self._run, self._store, self._fresh = subject, run, store, fresh
        self.locks = Locks()
        self._stack = ExitStack()
        self._ahead = ThreadPoolExecutor(1, thread_name_prefix="prepare")
        self._prepared: set[str] = set()

    def __enter__(self) -> Self:
        """Make room for workers; none is started yet."""
        subject = self.subject
        settings = settings_for(
            self._run,
            limit_s=subject.limit_s,
            timed=subject.timed,
            device=subject.variant["device"],
            examples=subject.examples,
        )
        self.workers = self._stack.enter_context(WorkerPool(self._run, settings))
        return self

    def __exit__(self, *_: object) -> None:
        """End the workers."""
        self._ahead.shutdown(wait=False, cancel_futures=True)
        self._stack.close()

    def published(self, cells: Sequence[Cell]) -> dict[int, Record]:
        """Return what the published records say of cells with the same pins, by index.

        They were measured elsewhere, and beside other packages: a hint where to look, never an answer.
        """
        wanted = {_pins(cell.pins, cell.python): index for index, cell in enumerate(cells)}
        pinned = cells[0].pins.keys() if cells else ()
        records = (record for name in published() for record in read_reference(name))
        return {
            wanted[pins]: record
            for record in records
            if isinstance(record, VariantRecord)
            and record.case == self.subject.case.name
            and record.variant == self.subject.variant
            and (pins := _pins({name: record.cell.packages.get(name, "") for name in pinned}, record.cell.python))
            in wanted
        }

    def prepare(self, cells: Sequence[Cell]) -> None:
        """Resolve and build cells in the background, while something else is measured.

        What cannot be had is said when the cell is measured.
        """
        for cell in cells:
            if cell.id not in self._prepared and self.known(cell) is None:
                self._prepared.add(cell.id)
                self._ahead.submit(self._prepare, cell)

    def _prepare(self, cell: Cell) -> None:
        lock = self.locks.get(cell)
        if isinstance(lock, Lock):
            build(lock, cell.python)

    def known(self, cell: Cell) -> Record | None:
        """Return what the store knows of a cell; asks no resolver and measures nothing.

        When nothing is timed here, a record with latencies serves as well.
        """
        lock = None if self._fresh else self.locks.kept(cell)
        if lock is None:
            return None
        return self._in_store(lock.digest, cell.python)

    def _in_store(self, digest: str, python: str) -> Record | None:
        wanted = [self.subject.key(digest, python, timed=True)]
        if not self.subject.timed:
            wanted.append(self.subject.key(digest, python, timed=False))
        found = {key: record for key, record in self._store.find(wanted).items() if record.outcome in KNOWN}
        return next((found[key] for key in wanted if key in found), None)

    def measure(self, cell: Cell) -> Record:
        """Measure the variant in a cell, whatever the store knows; give its record or its cell's state."""
        lock = self.locks.get(cell)
        if isinstance(lock, Unresolved):
            return write_state(self._run, cell_facts(cell, MATRIX, None), lock.state, lock.words)
        facts = cell_facts(cell, MATRIX, lock)
        try:
            environment = build(lock, cell.python)
        except InstallFailed as error:
            return write_state(self._run, facts, error.state, str(error))
        return self._ask(facts, environment)

    def _ask(self, facts: CellFacts, environment: Environment) -> Record:
        key = self.subject.key(str(facts.lock), facts.python, timed=self.subject.timed)
        worker = self.workers.on(environment)
        try:
            (record,) = worker.measure(facts, environment.overlays, (self.subject.request(key),))
        except WorkerEnded as error:
            # The base itself dies while it is imported: nothing can be said of this cell.
            self.workers.discard(worker)
            return write_state(self._run, facts, CellState.IMPORT_FAILED, str(error))
        self._store.add(variants_in([record]))
        return record
