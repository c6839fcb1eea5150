"""One process per base: import torch and transformers once, fork for each overlay.

``python -P harness/cell/worker.py JOB.json`` with the interpreter of the base. The job is a file
that the other side of the wall wrote; records go to the JSON-lines file that it names, and one
event a line to standard output, for whoever shows progress. The child of a fork imports peft and
runs the variants under pytest. Forking isolates: a child that crashes, hangs or is killed costs
the variant that it was at, and the next child goes on with the rest. Where forking is not to be
had (``"fork": false`` in the job) a fresh process does the same, and pays for the imports.

A job without ``cells`` takes them from standard input, one JSON object a line, until it ends: so
a worker can be kept warm while somebody decides what to measure next.
"""

from __future__ import annotations

import ctypes
import importlib
import json
import os
import selectors
import signal
import subprocess
import sys
import time
from itertools import chain
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

IMPORT_LIMIT_S = 300.0
"""Time for a child to import peft and collect the cases. Imports without byte code are slow."""

_PR_SET_PDEATHSIG = 1


def main(job_path: str) -> int:
    """Run a job to its end; the status is 0 whatever the records say."""
    _die_with_parent()
    job = json.loads(Path(job_path).read_text(encoding="utf-8"))
    entries = iter(job["cells"]) if "cells" in job else _streamed()
    first = next(entries, None)
    if first is None:
        return 0
    overlay = first["overlays"]
    _lay_path(job, overlay)
    from harness.cell.preload import import_also, preload

    with Path(job["output"]).open("a", encoding="utf-8", errors="backslashreplace") as output:
        writer = Writer(job, output)
        forks = job.get("fork", True)
        error = preload() if forks else None
        for entry in chain([first], entries):
            sys.path[: len(overlay)] = overlay = entry["overlays"]
            importlib.invalidate_caches()
            if error is None:
                run = CellRun(job, entry, writer)
                run.run()
                _tell_done(entry)
                if forks and (more := [name for name in run.seen if name not in sys.modules]):
                    import_also(more)
            else:
                writer.state(entry, "import-failed", error)
                _tell_done(entry)
    return 0


def _streamed() -> Iterator[dict[str, Any]]:
    for line in sys.stdin:
        yield json.loads(line)


def _tell_done(entry: dict[str, Any]) -> None:
    print(json.dumps({"event": "done", "cell": entry["cell"]["id"]}), flush=True)


def fresh_child(part_path: str) -> None:
    """In a fresh process, in place of a fork: import the base, then do what a forked child does."""
    part = json.loads(Path(part_path).read_text(encoding="utf-8"))
    # Events go where this process was told to write; what the packages print goes to the log.
    pipe = os.dup(1)
    _lay_path(part["job"], part["entry"]["overlays"])
    run_child(part["job"], part["entry"], part["variants"], pipe)


def _lay_path(job: dict[str, Any], overlay: list[str]) -> None:
    """Put overlays before the base and everything else behind it."""
    sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != Path(__file__).parent]
    sys.path += [*job["behind"], job["root"]]
    # transformers asks at import whether peft is installed: it has to be findable, not imported.
    sys.path[:0] = overlay


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
        record = {**self._header, "time": _now(), "machine": machine, "cell": cell, **named, **empty, **result}
        self._write(record, {"event": "record", "cell": entry["cell"]["id"], "outcome": result["outcome"]})

    def state(self, entry: dict[str, Any], state: str, words: str) -> None:
        """Write the record of a cell that never became ready."""
        record = {**self._header, "time": _now(), "cell": {**entry["cell"], "state": state}, "message": words}
        self._write(record, {"event": "state", "cell": entry["cell"]["id"], "state": state})

    def _write(self, record: dict[str, Any], event: dict[str, Any]) -> None:
        self._output.write(json.dumps(record, ensure_ascii=False) + "\n")
        self._output.flush()
        print(json.dumps(event), flush=True)


class CellRun:
    """All variants of one cell, in as many children as it takes."""

    def __init__(self, job: dict[str, Any], entry: dict[str, Any], writer: Writer) -> None:
        """``entry`` is one of the job's cells."""
        self.job, self.entry, self.writer = job, entry, writer
        self.waiting = {one["index"]: one for one in entry["variants"]}
        self.current: int | None = None
        self.refused: str | None = None
        self.seen: list[str] = []

    def run(self) -> None:
        """Fork until every variant has its record."""
        print(json.dumps({"event": "cell", "cell": self.entry["cell"]["id"]}), flush=True)
        while self.waiting and self.refused is None:
            before = len(self.waiting)
            self._one_child()
            if len(self.waiting) == before and self.refused is None:
                for one in list(self.waiting.values()):
                    self._finish(one["index"], {"outcome": "not-run", "message": "pytest did not come to this variant"})
        if self.refused is not None:
            self.writer.state(self.entry, "import-failed", self.refused)

    def _one_child(self) -> None:
        reader, writer = os.pipe()
        oom_before = _oom_kills()
        sys.stdout.flush()
        child = self._fork(reader, writer) if self.job.get("fork", True) else self._start(writer)
        os.close(writer)
        timed_out = self._listen(child, reader)
        _, status = os.waitpid(child, 0)
        if self.current is None:
            return
        limit = self.job["limit_s"]
        if timed_out:
            result = {"outcome": "timeout", "message": f"no end within {limit:g} s", "duration_s": limit}
        elif os.WIFSIGNALED(status):
            name = signal.Signals(os.WTERMSIG(status)).name
            killed_for_memory = name == "SIGKILL" and _oom_kills() > oom_before
            outcome = "out-of-memory" if killed_for_memory else "crashed"
            result = {"outcome": outcome, "signature": name, "message": f"the process died by {name}"}
        else:
            code = os.waitstatus_to_exitcode(status)
            result = {"outcome": "crashed", "signature": f"exit {code}", "message": f"the process exited with {code}"}
        self._finish(self.current, result)

    def _fork(self, reader: int, writer: int) -> int:
        child = os.fork()
        if child == 0:
            os.close(reader)
            run_child(self.job, self.entry, list(self.waiting.values()), writer)
        return child

    def _start(self, writer: int) -> int:
        path = Path(self.entry["scratch"]).with_name("part.json")
        job = {key: value for key, value in self.job.items() if key != "cells"}
        part = {"job": job, "entry": self.entry, "variants": list(self.waiting.values())}
        path.write_text(json.dumps(part), encoding="utf-8")
        command = [sys.executable, "-P", __file__, "--fresh-child", str(path)]
        with Path(self.entry["log"]).open("a", encoding="utf-8") as log:
            return subprocess.Popen(command, stdout=writer, stderr=log).pid  # noqa: S603 - this very file

    def _listen(self, child: int, pipe: int) -> bool:
        """Take events until the child closes the pipe; kill it when it passes its limit."""
        deadline = time.monotonic() + IMPORT_LIMIT_S
        buffer = b""
        with selectors.DefaultSelector() as selector:
            selector.register(pipe, selectors.EVENT_READ)
            while True:
                if not selector.select(max(0.0, deadline - time.monotonic())):
                    os.kill(child, signal.SIGKILL)
                    if self.current is None:
                        self.refused = f"no variant started within {IMPORT_LIMIT_S:g} s"
                    os.close(pipe)
                    return True
                chunk = os.read(pipe, 1 << 16)
                if not chunk:
                    os.close(pipe)
                    return False
                *lines, buffer = (buffer + chunk).split(b"\n")
                for line in lines:
                    self._take(json.loads(line))
                    deadline = time.monotonic() + (IMPORT_LIMIT_S if self.current is None else self.job["limit_s"])

    def _take(self, event: dict[str, Any]) -> None:
        match event:
            case {"started": int(index)}:
                self.current = index
            case {"finished": int(index), "result": dict(result)}:
                self._finish(index, result)
            case {"ready": dict(imported), "device": dict(device)}:
                self.entry.update(imported=imported, device=device)
            case {"refused": str(words)}:
                self.refused = words
            case {"seen": list(names)}:
                self.seen = names
            case {"collect": str(case), "result": dict(result)}:
                for one in [one for one in self.waiting.values() if one["case"] == case]:
                    self._finish(one["index"], result)

    def _finish(self, index: int, result: dict[str, Any]) -> None:
        self.current = None
        self.writer.record(self.entry, self.waiting.pop(index), result)


def run_child(job: dict[str, Any], entry: dict[str, Any], variants: list[dict[str, Any]], pipe: int) -> None:
    """In the forked child: import peft, run the variants under pytest, never return."""
    _die_with_parent()
    log = os.open(entry["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(log, 1)
    os.dup2(log, 2)

    def tell(event: dict[str, Any]) -> None:
        data = json.dumps(event, ensure_ascii=False, default=str).encode(errors="backslashreplace") + b"\n"
        while data:
            data = data[os.write(pipe, data) :]

    status = 1
    try:
        from harness.cell.preload import import_base, seen_here
        from harness.cell.session import run_variants

        # After a fork all of this is there already.
        if error := import_base():
            tell({"refused": error})
        else:
            run_variants(job, entry, variants, tell)
            tell({"seen": seen_here()})
        status = 0
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _die_with_parent() -> None:
    """Ask Linux to kill this process when its parent dies, so that nothing measures unwatched."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _oom_kills() -> int:
    """Count the kernel's out-of-memory kills so far; 0 where it does not say."""
    try:
        text = Path("/proc/vmstat").read_text(encoding="ascii")
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in text.splitlines() if line.startswith("oom_kill ")), 0)


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


if __name__ == "__main__":
    if sys.argv[1] == "--fresh-child":
        fresh_child(sys.argv[2])
    raise SystemExit(main(sys.argv[1]))
