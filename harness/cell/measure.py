"""Measure one cell: a child that imports peft, and a child of that one for each case file.

The worker forks a *cell child*, which imports the overlays. It forks a *case child* for each case file, which runs
the file's variants under pytest, or runs them itself where there is one file only. So peft is imported once, and what a
case patches, changes or breaks ends with its file. Without forks a fresh process for each case file does both.

Each parent watches its child (:mod:`harness.cell.children`) and gives the variant that it was at an outcome when it
hangs, dies or ends without a word; the rest goes to the next child.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import IO, TYPE_CHECKING

from harness.cell.children import Ended, die_with_parent, end_with_parent, lead_group, watch
from harness.cell.events import (
    CollectFailed,
    Device,
    Event,
    EventReader,
    Finished,
    Ready,
    Refused,
    Result,
    Seen,
    Started,
    bounded_result,
    plain,
    to_event,
)
from harness.contracts.job import cell_job_data, job_data
from harness.contracts.record import Record, StateRecord, VariantRecord, record_line
from harness.interface import CellState, Outcome

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from harness.contracts.job import CellJob, Job, Request, Settings
    from harness.contracts.record import CellFacts

    Tell = Callable[[Event], None]

_GRACE_S = 30.0
"""How much later than the cell child its own parent calls something a hang."""

_ATTEMPTS = 2
"""Children that may end without a word about any variant, before the variants are given up."""


class Writer:
    """Complete what was measured to a record, write it at once, and tell the other side."""

    def __init__(self, job: Job, output: IO[bytes]) -> None:
        """``output`` is opened for appending."""
        self._run, self._machine, self._output = job.run, job.machine, output

    def record(self, cell: CellFacts, device: Device | None, request: Request, result: Result) -> None:
        """Write the record of one variant, measured in ``cell`` on ``device`` (None: on the CPU)."""
        result = bounded_result(result)
        record = VariantRecord(
            run=self._run,
            time=_now(),
            cell=cell,
            machine=replace(self._machine, **vars(device)) if device else self._machine,
            key=request.key,
            case=request.case,
            document=request.document,
            variant=request.variant,
            **vars(result),
        )
        self._write(record, {"event": "record", "cell": cell.id, "outcome": str(result.outcome)})

    def state(self, cell: CellFacts, state: CellState, message: str) -> None:
        """Write the record of a cell that never became ready."""
        record = StateRecord(
            run=self._run, time=_now(), cell=cell, machine=self._machine, state=state, message=plain(message)
        )
        self._write(record, {"event": "state", "cell": cell.id, "state": str(state)})

    def _write(self, record: Record, event: dict[str, str]) -> None:
        self._output.write(record_line(record))
        self._output.flush()
        print(json.dumps(event), flush=True)


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Seconds for one variant, and for what comes before the first and after the last."""

    variant_s: float
    import_s: float

    @classmethod
    def of(cls, settings: Settings, *, grace_s: float = 0) -> Limits:
        """Take a job's limits, each longer by ``grace_s``."""
        return cls(variant_s=settings.limit_s + grace_s, import_s=settings.import_limit_s + grace_s)


class Waiting:
    """Variants that have no outcome yet, and what a child says about them."""

    def __init__(self, requests: Mapping[int, Request], limits: Limits, finish: Callable[[int, Result], None]) -> None:
        """``requests`` are known by their indices in the cell's job; ``finish`` takes the result of each, once."""
        self.left = dict(requests)
        self.current: int | None = None
        self._limits, self._finish = limits, finish
        self._reader = EventReader()
        self._deadline = 0.0

    def listen(self, pid: int, pipe: int, other: Tell) -> Ended:
        """Watch a child to its end; ``other`` takes all its events."""
        self._begin()

        def take(data: bytes) -> None:
            for event in self._reader.feed(data):
                self._take(event)
                other(event)
                # Only what a child says counts: garbage in the pipe does not win it time.
                self._set_deadline()

        ended = watch(pid, pipe, take, lambda: self._deadline)
        if self._reader.garbage:
            print(f"ignored {self._reader.garbage} lines in the pipe that were no events", file=sys.stderr, flush=True)
        if self.current is not None:
            self.finish(self.current, _outcome_of(ended, self._limits))
        return ended

    def finish(self, index: int, result: Result) -> None:
        """Return one variant its result; a second one for it does not count."""
        if index == self.current:
            self.current = None
        if self.left.pop(index, None) is not None:
            self._finish(index, result)

    def give_up(self, ended: Ended) -> None:
        """Return every variant that is left the outcome of a child that came to none of them."""
        if ended.timed_out:
            words = f"no variant started within {self._limits.import_s:g} s"
            result = Result(outcome=Outcome.TIMEOUT, message=words)
        elif os.WIFSIGNALED(ended.status):
            words = f"{ended.describe()} before this variant started"
            result = Result(outcome=Outcome.CRASHED, signature=ended.signature(), message=words)
        else:
            words = f"pytest did not come to this variant; {ended.describe()}"
            result = Result(outcome=Outcome.NOT_RUN, message=words)
        for index in list(self.left):
            self.finish(index, result)

    def _take(self, event: Event) -> None:
        match event:
            case Started(index) if index in self.left:
                if self.current is not None:
                    words = "the process went on and did not say what became of the check"
                    self.finish(self.current, Result(outcome=Outcome.CRASHED, signature="silent", message=words))
                self.current = index
            case Finished(index, result):
                self.finish(index, result)
            case CollectFailed(case, result):
                for index in [index for index, request in self.left.items() if request.case == case]:
                    self.finish(index, result)

    def _begin(self) -> None:
        self.current, self._reader = None, EventReader()
        self._set_deadline()

    def _set_deadline(self) -> None:
        limit = self._limits.import_s if self.current is None else self._limits.variant_s
        self._deadline = time.monotonic() + limit


def _outcome_of(ended: Ended, limits: Limits) -> Result:
    """Return the result of the variant that a child was at when it ended."""
    if ended.timed_out:
        limit = limits.variant_s
        return Result(outcome=Outcome.TIMEOUT, message=f"no end within {limit:g} s", duration_s=limit)
    words = ended.describe()
    if not os.WIFSIGNALED(ended.status):
        words += " and did not say what became of the check"
    outcome = Outcome.OUT_OF_MEMORY if ended.out_of_memory else Outcome.CRASHED
    return Result(outcome=outcome, signature=ended.signature(), message=words)


class CellRun:
    """All variants of one cell, in as many children as it takes; in the worker."""

    def __init__(self, job: Job, entry: CellJob, writer: Writer, fresh_child: list[str]) -> None:
        """``entry`` is the cell; ``fresh_child`` is the command that takes the place of a fork."""
        self._job, self._entry, self._writer, self._fresh_child = job, entry, writer, fresh_child
        self._cell = entry.cell
        self._device: Device | None = None
        self._refused: str | None = None
        self._ready = False
        self.seen: list[str] = []

    def run(self) -> None:
        """Measure until every variant has its record, or the cell the record of its state."""
        print(json.dumps({"event": "cell", "cell": self._entry.cell.id}), flush=True)
        Path(self._entry.benchmarks).unlink(missing_ok=True)
        requests = dict(enumerate(self._entry.requests))
        files = by_case(requests)
        if self._job.settings.fork:
            # The cell child watches its own children, and is watched a little longer; a single file it runs itself.
            limits = Limits.of(self._job.settings, grace_s=_GRACE_S if len(files) > 1 else 0)
            self._measure(requests, self._fork, limits)
        else:
            for part in files:
                if self._refused is None:
                    self._measure(part, self._start, Limits.of(self._job.settings))
        if self._refused is not None:
            self._writer.state(self._entry.cell, CellState.IMPORT_FAILED, self._refused)

    def _measure(
        self, requests: Mapping[int, Request], start: Callable[[Mapping[int, Request], int], int], limits: Limits
    ) -> None:
        waiting = Waiting(requests, limits, self._finish)
        attempts = 0
        while waiting.left and self._refused is None:
            before = len(waiting.left)
            self._ready = False
            reader, writer = os.pipe()
            sys.stdout.flush()
            child = start(waiting.left, writer)
            os.close(writer)
            ended = waiting.listen(child, reader, self._take)
            add_benchmarks(_benchmarks_of(self._entry), Path(self._entry.benchmarks))
            if self._refused is None and not self._ready:
                self._refused = _import_failure(ended, limits)
            attempts = attempts + 1 if len(waiting.left) == before else 0
            if self._refused is None and (attempts >= _ATTEMPTS or (attempts and ended.timed_out)):
                waiting.give_up(ended)

    def _finish(self, index: int, result: Result) -> None:
        self._writer.record(self._cell, self._device, self._entry.requests[index], result)

    def _fork(self, requests: Mapping[int, Request], pipe: int) -> int:
        parent = os.getpid()
        child = os.fork()
        if child == 0:
            run_cell_child(self._job, self._entry, requests, pipe, parent)
        return child

    def _start(self, requests: Mapping[int, Request], pipe: int) -> int:
        path = Path(f"{self._entry.scratch}.part.json")
        part = {"job": job_data(self._job), "entry": cell_job_data(self._entry), "indices": list(requests)}
        path.write_text(json.dumps(part), encoding="utf-8")
        with Path(self._entry.log).open("a", encoding="utf-8") as log:
            command = [*self._fresh_child, str(path)]
            self._process = subprocess.Popen(  # noqa: S603 - this very program
                command, stdin=subprocess.DEVNULL, stdout=pipe, stderr=log, process_group=0
            )
        return self._process.pid

    def _take(self, event: Event) -> None:
        match event:
            case Ready(versions):
                self._ready = True
                cell = self._entry.cell
                self._cell = replace(cell, packages={**cell.packages, **versions})
            case Device():
                self._device = event
            case Refused(message):
                self._refused = message
            case Seen(modules):
                from harness.cell.preload import without_overlays

                self.seen = without_overlays(modules)


def _import_failure(ended: Ended, limits: Limits) -> str | None:
    """Say why a child never got its imports done; None when that says nothing about the packages."""
    if ended.timed_out:
        return f"the imports did not end within {limits.import_s:g} s"
    if ended.signature() in {"SIGKILL", "SIGTERM", "exit 143"}:
        # Somebody, or the kernel for lack of memory, ended it.
        return None
    return f"{ended.describe()} while peft was imported"


def by_case(requests: Mapping[int, Request]) -> list[dict[int, Request]]:
    """Group variants by their case file, in the order of the files' names."""
    ordered = sorted(requests.items(), key=lambda one: one[1].case)
    return [dict(group) for _, group in groupby(ordered, key=lambda one: one[1].case)]


def run_cell_child(job: Job, entry: CellJob, requests: Mapping[int, Request], pipe: int, parent: int) -> None:
    """In the worker's fork: import peft, fork for each case file, never return."""
    lead_group()
    die_with_parent(parent)
    _redirect(entry.log)
    status = 1
    try:
        from harness.cell.session import prepare

        def tell(event: Event) -> None:
            _send(pipe, event)

        if not prepare(job.settings, entry.cell, tell):
            _leave(0)
        if len({request.case for request in entry.requests}) == 1:
            # There is nothing to isolate it from, and a second fork would cost a seventh of such a cell's time.
            run_case_child(job, entry, requests, Wire(pipe), parent)
        end_with_parent(parent)
        seen = [name for group in by_case(requests) for name in _measure_file(job, entry, group, pipe)]
        tell(Seen(tuple(sorted(set(seen)))))
        status = 0
    finally:
        _leave(status)


def _measure_file(job: Job, entry: CellJob, requests: Mapping[int, Request], pipe: int) -> list[str]:
    """Fork until each variant of one case file has its outcome; return what its children have imported."""
    from harness.cell.preload import import_also

    imported: list[str] = []

    def take(event: Event) -> None:
        match event:
            case Started() | Device():
                _send(pipe, event)
            case Seen(modules):
                imported.extend(modules)

    waiting = Waiting(requests, Limits.of(job.settings), lambda index, result: _send(pipe, Finished(index, result)))
    part = _benchmarks_of(entry)
    attempts = 0
    while waiting.left:
        before = len(waiting.left)
        part.unlink(missing_ok=True)
        ended = _run_file(job, entry, waiting, pipe, take)
        add_benchmarks(part, Path(entry.benchmarks))
        attempts = attempts + 1 if len(waiting.left) == before else 0
        if attempts >= _ATTEMPTS or (attempts and ended.timed_out):
            waiting.give_up(ended)
    if more := [name for name in imported if name not in sys.modules]:
        import_also(more, never=())
    return imported


def _run_file(job: Job, entry: CellJob, waiting: Waiting, pipe: int, take: Tell) -> Ended:
    """Fork a case child for the variants that wait, and watch it; it starts a variant when ``pipe`` knows of it."""
    reader, writer = os.pipe()
    heard, passed_on = os.pipe()
    os.set_blocking(passed_on, False)
    parent = os.getpid()
    child = os.fork()
    if child == 0:
        for end in (reader, passed_on, pipe):
            os.close(end)
        run_case_child(job, entry, waiting.left, Wire(writer, heard), parent)
    os.close(writer)
    os.close(heard)

    def take_and_answer(event: Event) -> None:
        take(event)
        if isinstance(event, Started):
            # It may be full of answers to events that the case made up, or closed.
            with contextlib.suppress(BlockingIOError, BrokenPipeError):
                os.write(passed_on, b"\n")

    ended = waiting.listen(child, reader, take_and_answer)
    os.close(passed_on)
    return ended


@dataclass(frozen=True)
class Wire:
    """A case child's way to its parent, and where it hears that the parent has passed the start of a variant on.

    A parent that only passes events on may be killed by the variant; the worker has to know by which one.
    """

    pipe: int
    heard: int | None = None

    def tell(self, event: Event) -> None:
        """Send an event; return when it is known to whoever must know it before anything else happens."""
        _send(self.pipe, event)
        if self.heard is not None and isinstance(event, Started):
            # A variant before this one may have closed it.
            with contextlib.suppress(OSError):
                os.read(self.heard, 1)


def run_case_child(job: Job, entry: CellJob, requests: Mapping[int, Request], wire: Wire, parent: int | None) -> None:
    """In a process that has imported peft: run variants of one case file under pytest, never return.

    The benchmarks of the session go to a file of their own, which the parent adds to the cell's.
    """
    if parent is not None:
        lead_group()
    die_with_parent(parent)
    status = 1
    try:
        from harness.cell.preload import seen_here
        from harness.cell.session import run_variants

        status = run_variants(job, replace(entry, benchmarks=str(_benchmarks_of(entry))), requests, wire.tell)
        wire.tell(Seen(tuple(seen_here())))
    finally:
        _leave(status)


def run_fresh_child(job: Job, entry: CellJob, requests: Mapping[int, Request]) -> None:
    """In a fresh process, in place of the forks: import everything, run variants of one case file, never return."""
    die_with_parent()
    # Events go where this process was told to write; what the packages print goes to the log.
    pipe = os.dup(1)
    _redirect(entry.log)
    from harness.cell.preload import import_base
    from harness.cell.session import prepare

    if error := import_base():
        _send(pipe, Refused(error))
        _leave(0)
    if not prepare(job.settings, entry.cell, lambda event: _send(pipe, event)):
        _leave(0)
    run_case_child(job, entry, requests, Wire(pipe), None)


def add_benchmarks(part: Path, whole: Path) -> None:
    """Add the benchmarks of one pytest session to the cell's file, in pytest-benchmark's format; remove ``part``."""
    if not part.is_file():
        return
    text = part.read_text(encoding="utf-8", errors="replace")
    part.unlink()
    try:
        more = json.loads(text)
    except ValueError:
        # pytest-benchmark opens its file at the start and fills it at the end: the session was killed before.
        return
    known = json.loads(whole.read_text(encoding="utf-8"))["benchmarks"] if whole.is_file() else []
    whole.write_text(json.dumps({**more, "benchmarks": [*known, *more["benchmarks"]]}, indent=1), encoding="utf-8")


def _benchmarks_of(entry: CellJob) -> Path:
    return Path(f"{entry.scratch}.benchmarks.json")


def _redirect(log: str) -> None:
    """Read nothing, and write to the cell's log: what a case leaves behind must not hold the worker's pipes."""
    sys.stdout.flush()
    for path, flags, number in (
        (os.devnull, os.O_RDONLY, 0),
        (log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 1),
        (log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 2),
    ):
        opened = os.open(path, flags, 0o644)
        os.dup2(opened, number)
        os.close(opened)


def _send(pipe: int, event: Event) -> None:
    data = to_event(event)
    while data:
        data = data[os.write(pipe, data) :]


def _leave(status: int) -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
