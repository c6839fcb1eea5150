"""One process per base: import torch and transformers once, fork for each overlay.

``python -P harness/cell/worker.py JOB.json`` with the interpreter of the base. The job is a file
that the other side of the wall wrote (:mod:`harness.contracts.job`). Cells come on standard input, one JSON object a
line, until it ends: so a worker can be kept warm while somebody decides what to measure next. Records go to the
JSON-lines file that the job names, and one event a line to standard output, for whoever shows progress. What a
child does is in :mod:`harness.cell.measure`. Where forking is not to be had (``fork`` in the job's settings) fresh
processes take its place, and pay for the imports.
"""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import Any


def main(job_path: str) -> int:
    """Measure the cells on standard input until it ends; the status is 0 whatever the records say."""
    data = json.loads(Path(job_path).read_text(encoding="utf-8"))
    _lay_path(data)
    from harness.cell.children import end_with_parent
    from harness.cell.measure import CellRun, Writer
    from harness.cell.preload import import_also, preload
    from harness.contracts.job import read_cell_job, read_job
    from harness.interface import CellState

    job = read_job(data)
    forks = job.settings.fork
    end_with_parent()
    overlays: tuple[str, ...] = ()
    error: str | None = None
    with Path(job.output).open("ab") as output:
        writer = Writer(job, output)
        for number, line in enumerate(sys.stdin):
            entry = read_cell_job(json.loads(line))
            sys.path[: len(overlays)] = overlays = entry.overlays
            importlib.invalidate_caches()
            if number == 0 and forks:
                # transformers asks at import whether peft is installed: it has to be findable, not imported.
                error = preload()
            if error is None:
                run = CellRun(job, entry, writer, [sys.executable, "-P", __file__, "--fresh-child"])
                run.run()
                more = [name for name in run.seen if name not in sys.modules] if forks else []
            else:
                writer.state(entry.cell, CellState.IMPORT_FAILED, error)
                more = []
            print(json.dumps({"event": "done", "cell": entry.cell.id}), flush=True)
            if more:
                import_also(more)
    return 0


def fresh_child(part_path: str) -> None:
    """In a fresh process, in place of a fork: do what the forked children do."""
    data = json.loads(Path(part_path).read_text(encoding="utf-8"))
    _lay_path(data["job"])
    from harness.cell.measure import run_fresh_child
    from harness.contracts.job import read_cell_job, read_job

    entry = read_cell_job(data["entry"])
    sys.path[:0] = entry.overlays
    run_fresh_child(read_job(data["job"]), entry, {index: entry.requests[index] for index in data["indices"]})


def _lay_path(job: dict[str, Any]) -> None:
    """Put what stands behind the base on the path, and the cases and the harness last.

    Takes the job as JSON has it: what reads it is imported from there.
    """
    sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != Path(__file__).parent]
    sys.path += [*job["behind"], job["root"]]


if __name__ == "__main__":
    if sys.argv[1] == "--fresh-child":
        fresh_child(sys.argv[2])
    raise SystemExit(main(sys.argv[1]))
