"""Measure one cell: a child that imports peft, and a child of that one for each case file.

The worker forks a *cell child*, which imports the overlays. It forks a *case child* for each case file, which runs
the file's variants under pytest, or runs them itself where there is one file only. So peft is imported once, and what a
case patches, changes or breaks ends with its file. Without forks a fresh process for each case file does both.

Each parent watches its child (:mod:`harness.cell.children`) and gives the variant that it was at an outcome when it
hangs, dies or ends without a word; the rest goes to the next child.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from harness.cell.children import Ended, die_with_parent, end_with_parent, lead_group, watch
from harness.cell.events import EventReader, bounded_result, to_event, to_line
from harness.interface import Outcome

if TYPE_CHECKING:
    from collections.abc import Callable

    Tell = Callable[[dict[str, Any]], None]

IMPORT_LIMIT_S = 300.0
"""Seconds for a child to import peft and collect the cases. Imports without byte code are slow."""

_GRACE_S = 30.0
"""How much later than the cell child its own parent calls something a hang."""

_ATTEMPTS = 2
"""Children that may end without a word about any variant, before the variants are given up."""


class Writer:
    """Complete what was measured to a record, write it at once, and tell the other side."""

    def __init__(self, job: dict[str, Any], output: IO[str]) -> None:
        """``output`` is opened for appending."""
        self._header, self._output = job["header"], output

    def record(self, entry: dict[str, Any], one: dict[str, Any], result: dict[str, Any]) -> None:
        """Write the record of one variant."""
        cell = {**entry["cell"], "packages": {**entry["cell"]["packages"], **entry.get("imported", {})}}
        machine = {**self._header["machine"], **entry.get("device", {})}
        named = {key: one[key] for key in ("key", "case", "document", "variant")}
        empty: dict[str, Any] = {"signature": None, "message": None, "evidence": {}, "counters": {}, "latency": {}}
        record = {**self._header, "time": _now(), "machine": machine, "cell": cell, **empty, **result, **named}
        self._write(record, {"event": "record", "cell": entry["cell"]["id"], "outcome": result["outcome"]})

    def state(self, entry: dict[str, Any], state: str, words: str) -> None:
        """Write the record of a cell that never became ready."""
        record = {**self._header, "time": _now(), "cell": {**entry["cell"], "state": state}, "message": words}
        self._write(record, {"event": "state", "cell": entry["cell"]["id"], "state": state})

    def _write(self, record: dict[str, Any], event: dict[str, Any]) -> None:
        self._output.write(to_line(record) + "\n")
        self._output.flush()
        print(json.dumps(event), flush=True)


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Seconds for one variant, and for what comes before the first and after the last."""

    variant_s: float
    import_s: float

    @classmethod
    def of(cls, job: dict[str, Any], *, grace_s: float = 0.0) -> Limits:
        """Take a job's limits, each longer by ``grace_s``."""
        import_s = job.get("import_limit_s", IMPORT_LIMIT_S)
        return cls(variant_s=job["limit_s"] + grace_s, import_s=import_s + grace_s)


class Waiting:
    """Variants that have no outcome yet, and what a child says about them."""

    def __init__(
        self, variants: list[dict[str, Any]], limits: Limits, finish: Callable[[dict[str, Any], dict[str, Any]], None]
    ) -> None:
        """``finish`` takes a variant and its result, once for each."""
        self.left = {one["index"]: one for one in variants}
        self.current: int | None = None
        self._limits, self._finish = limits, finish
        self._reader = EventReader()
        self._deadline = 0.0

    def listen(self, pid: int, pipe: int, other: Tell) -> Ended:
        """Watch a child to its end; ``other`` takes its events that finish nothing, ``started`` among them."""
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

    def finish(self, index: int, result: dict[str, Any]) -> None:
        """Give one variant its outcome; a second one for it does not count."""
        if index == self.current:
            self.current = None
        if index in self.left:
            self._finish(self.left.pop(index), result)

    def give_up(self, ended: Ended) -> None:
        """Give every variant that is left the outcome of a child that came to none of them."""
        if ended.timed_out:
            words = f"no variant started within {self._limits.import_s:g} s"
            result = {"outcome": str(Outcome.TIMEOUT), "message": words}
        elif os.WIFSIGNALED(ended.status):
            words = f"{ended.describe()} before this variant started"
            result = {"outcome": str(Outcome.CRASHED), "signature": ended.signature(), "message": words}
        else:
            words = f"pytest did not come to this variant; {ended.describe()}"
            result = {"outcome": str(Outcome.NOT_RUN), "message": words}
        for index in list(self.left):
            self.finish(index, result)

    def _take(self, event: dict[str, Any]) -> None:
        match event:
            case {"started": int(index)} if index in self.left:
                if self.current is not None:
                    words = "the process went on and did not say what became of the check"
                    self.finish(
                        self.current, {"outcome": str(Outcome.CRASHED), "signature": "silent", "message": words}
                    )
                self.current = index
            case {"finished": int(index), "result": dict(result)}:
                self.finish(index, bounded_result(result))
            case {"collect": str(case), "result": dict(result)}:
                for one in [one for one in self.left.values() if one["case"] == case]:
                    self.finish(one["index"], bounded_result(result))

    def _begin(self) -> None:
        self.current, self._reader = None, EventReader()
        self._set_deadline()

    def _set_deadline(self) -> None:
        limit = self._limits.import_s if self.current is None else self._limits.variant_s
        self._deadline = time.monotonic() + limit


def _outcome_of(ended: Ended, limits: Limits) -> dict[str, Any]:
    """Return the result of the variant that a child was at when it ended."""
    if ended.timed_out:
        limit = limits.variant_s
        return {"outcome": str(Outcome.TIMEOUT), "message": f"no end within {limit:g} s", "duration_s": limit}
    words = ended.describe()
    if not os.WIFSIGNALED(ended.status):
        words += " and did not say what became of the check"
    outcome = Outcome.OUT_OF_MEMORY if ended.out_of_memory else Outcome.CRASHED
    return {"outcome": str(outcome), "signature": ended.signature(), "message": words}


class CellRun:
    """All variants of one cell, in as many children as it takes; in the worker."""

    def __init__(self, job: dict[str, Any], entry: dict[str, Any], writer: Writer, fresh_child: list[str]) -> None:
        """``entry`` is one of the job's cells; ``fresh_child`` is the command that takes the place of a fork."""
        self._job, self._entry, self._writer, self._fresh_child = job, entry, writer, fresh_child
        self._refused: str | None = None
        self._ready = False
        self.seen: list[str] = []

    def run(self) -> None:
        """Measure until every variant has its record, or the cell the record of its state."""
        print(json.dumps({"event": "cell", "cell": self._entry["cell"]["id"]}), flush=True)
        Path(self._entry["benchmarks"]).unlink(missing_ok=True)
        files = by_case(self._entry["variants"])
        if self._job.get("fork", True):
            # The cell child watches its own children, and is watched a little longer; a single file it runs itself.
            limits = Limits.of(self._job, grace_s=_GRACE_S if len(files) > 1 else 0.0)
            self._measure(self._entry["variants"], self._fork, limits)
        else:
            for variants in files:
                if self._refused is None:
                    self._measure(variants, self._start, Limits.of(self._job))
        if self._refused is not None:
            self._writer.state(self._entry, "import-failed", self._refused)

    def _measure(
        self, variants: list[dict[str, Any]], start: Callable[[list[dict[str, Any]], int], int], limits: Limits
    ) -> None:
        waiting = Waiting(variants, limits, lambda one, result: self._writer.record(self._entry, one, result))
        attempts = 0
        while waiting.left and self._refused is None:
            before = len(waiting.left)
            self._ready = False
            reader, writer = os.pipe()
            sys.stdout.flush()
            child = start(list(waiting.left.values()), writer)
            os.close(writer)
            ended = waiting.listen(child, reader, self._take)
            add_benchmarks(_benchmarks_of(self._entry), Path(self._entry["benchmarks"]))
            if self._refused is None and not self._ready:
                self._refused = _import_failure(ended, limits)
            attempts = attempts + 1 if len(waiting.left) == before else 0
            if self._refused is None and (attempts >= _ATTEMPTS or (attempts and ended.timed_out)):
                waiting.give_up(ended)

    def _fork(self, variants: list[dict[str, Any]], pipe: int) -> int:
        parent = os.getpid()
        child = os.fork()
        if child == 0:
            run_cell_child(self._job, self._entry, variants, pipe, parent)
        return child

    def _start(self, variants: list[dict[str, Any]], pipe: int) -> int:
        path = Path(f"{self._entry['scratch']}.part.json")
        job = {key: value for key, value in self._job.items() if key != "cells"}
        path.write_text(json.dumps({"job": job, "entry": self._entry, "variants": variants}), encoding="utf-8")
        with Path(self._entry["log"]).open("a", encoding="utf-8") as log:
            command = [*self._fresh_child, str(path)]
            self._process = subprocess.Popen(  # noqa: S603 - this very program
                command, stdin=subprocess.DEVNULL, stdout=pipe, stderr=log, process_group=0
            )
        return self._process.pid

    def _take(self, event: dict[str, Any]) -> None:
        match event:
            case {"ready": dict(imported)}:
                self._ready = True
                self._entry["imported"] = imported
            case {"device": dict(device)}:
                self._entry["device"] = device
            case {"refused": str(words)}:
                self._refused = words
            case {"seen": list(names)}:
                from harness.cell.preload import without_overlays

                self.seen = without_overlays(names)


def _import_failure(ended: Ended, limits: Limits) -> str | None:
    """Say why a child never got its imports done; None when that says nothing about the packages."""
    if ended.timed_out:
        return f"the imports did not end within {limits.import_s:g} s"
    if ended.signature() in {"SIGKILL", "SIGTERM", "exit 143"}:
        # Somebody, or the kernel for lack of memory, ended it.
        return None
    return f"{ended.describe()} while peft was imported"


def by_case(variants: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """Group variants by their case file, in the order of the files' names."""
    ordered = sorted(variants, key=lambda one: str(one["case"]))
    return [list(group) for _, group in groupby(ordered, key=lambda one: one["case"])]


def run_cell_child(
    job: dict[str, Any], entry: dict[str, Any], variants: list[dict[str, Any]], pipe: int, parent: int
) -> None:
    """In the worker's fork: import peft, fork for each case file, never return."""
    lead_group()
    die_with_parent(parent)
    _redirect(entry["log"])
    status = 1
    try:
        from harness.cell.session import prepare

        def tell(event: dict[str, Any]) -> None:
            _send(pipe, event)

        if not prepare(job, entry, tell):
            _leave(0)
        if len({one["case"] for one in entry["variants"]}) == 1:
            # There is nothing to isolate it from, and a second fork would cost a seventh of such a cell's time.
            run_case_child(job, {**entry, "benchmarks": str(_benchmarks_of(entry))}, variants, pipe, parent)
        end_with_parent(parent)
        seen = [name for group in by_case(variants) for name in _measure_file(job, entry, group, pipe)]
        tell({"seen": sorted(set(seen))})
        status = 0
    finally:
        _leave(status)


def _measure_file(job: dict[str, Any], entry: dict[str, Any], variants: list[dict[str, Any]], pipe: int) -> list[str]:
    """Fork until each variant of one case file has its outcome; return what its children have imported."""
    from harness.cell.preload import import_also

    imported: list[str] = []

    def tell(event: dict[str, Any]) -> None:
        _send(pipe, event)

    def take(event: dict[str, Any]) -> None:
        match event:
            case {"started": _} | {"device": _}:
                tell(event)
            case {"seen": list(names)}:
                imported.extend(names)

    waiting = Waiting(variants, Limits.of(job), lambda one, result: tell({"finished": one["index"], "result": result}))
    part = _benchmarks_of(entry)
    attempts = 0
    while waiting.left:
        before = len(waiting.left)
        part.unlink(missing_ok=True)
        reader, writer = os.pipe()
        parent = os.getpid()
        child = os.fork()
        if child == 0:
            os.close(reader)
            os.close(pipe)
            run_case_child(job, {**entry, "benchmarks": str(part)}, list(waiting.left.values()), writer, parent)
        os.close(writer)
        ended = waiting.listen(child, reader, take)
        add_benchmarks(part, Path(entry["benchmarks"]))
        attempts = attempts + 1 if len(waiting.left) == before else 0
        if attempts >= _ATTEMPTS or (attempts and ended.timed_out):
            waiting.give_up(ended)
    if more := [name for name in imported if name not in sys.modules]:
        import_also(more, never=())
    return imported


def run_case_child(
    job: dict[str, Any], entry: dict[str, Any], variants: list[dict[str, Any]], pipe: int, parent: int | None
) -> None:
    """In a process that has imported peft: run variants of one case file under pytest, never return."""
    if parent is not None:
        lead_group()
    die_with_parent(parent)
    status = 1
    try:
        from harness.cell.preload import seen_here
        from harness.cell.session import run_variants

        def tell(event: dict[str, Any]) -> None:
            _send(pipe, event)

        status = run_variants(job, entry, variants, tell)
        tell({"seen": seen_here()})
    finally:
        _leave(status)


def run_fresh_child(job: dict[str, Any], entry: dict[str, Any], variants: list[dict[str, Any]]) -> None:
    """In a fresh process, in place of the forks: import everything, run variants of one case file, never return."""
    die_with_parent()
    # Events go where this process was told to write; what the packages print goes to the log.
    pipe = os.dup(1)
    _redirect(entry["log"])
    from harness.cell.preload import import_base
    from harness.cell.session import prepare

    if error := import_base():
        _send(pipe, {"refused": error})
        _leave(0)
    if not prepare(job, entry, lambda event: _send(pipe, event)):
        _leave(0)
    part = _benchmarks_of(entry)
    run_case_child(job, {**entry, "benchmarks": str(part)}, variants, pipe, None)


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


def _benchmarks_of(entry: dict[str, Any]) -> Path:
    return Path(f"{entry['scratch']}.benchmarks.json")


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


def _send(pipe: int, event: dict[str, Any]) -> None:
    data = to_event(event)
    while data:
        data = data[os.write(pipe, data) :]


def _leave(status: int) -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
