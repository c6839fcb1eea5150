"""One process per base: import torch and transformers once, fork for each overlay.

``python -P harness/cell/worker.py JOB.json`` with the interpreter of the base. The job is a file
that the other side of the wall wrote; records go to the JSON-lines file that it names, and one
event a line to standard output, for whoever shows progress. What a child does is in
:mod:`harness.cell.measure`. Where forking is not to be had (``"fork": false`` in the job) fresh processes
take its place, and pay for the imports.

A job without ``cells`` takes them from standard input, one JSON object a line, until it ends: so
a worker can be kept warm while somebody decides what to measure next.
"""

from __future__ import annotations

import importlib
import json
import sys
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator


def main(job_path: str) -> int:
    """Run a job to its end; the status is 0 whatever the records say."""
    job = json.loads(Path(job_path).read_text(encoding="utf-8"))
    _lay_path(job)
    from harness.cell.children import end_with_parent
    from harness.cell.measure import CellRun, Writer
    from harness.cell.preload import import_also, preload

    end_with_parent()
    entries = iter(job["cells"]) if "cells" in job else _streamed()
    first = next(entries, None)
    if first is None:
        return 0
    # transformers asks at import whether peft is installed: it has to be findable, not imported.
    overlay = first["overlays"]
    sys.path[:0] = overlay
    with Path(job["output"]).open("a", encoding="utf-8", errors="backslashreplace") as output:
        writer = Writer(job, output)
        forks = job.get("fork", True)
        error = preload() if forks else None
        for entry in chain([first], entries):
            sys.path[: len(overlay)] = overlay = entry["overlays"]
            importlib.invalidate_caches()
            if error is None:
                run = CellRun(job, entry, writer, [sys.executable, "-P", __file__, "--fresh-child"])
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
    """In a fresh process, in place of a fork: do what the forked children do."""
    part = json.loads(Path(part_path).read_text(encoding="utf-8"))
    _lay_path(part["job"])
    from harness.cell.measure import run_fresh_child

    sys.path[:0] = part["entry"]["overlays"]
    run_fresh_child(part["job"], part["entry"], part["variants"])


def _lay_path(job: dict[str, Any]) -> None:
    """Put what stands behind the base on the path, and the cases and the harness last."""
    sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != Path(__file__).parent]
    sys.path += [*job["behind"], job["root"]]


if __name__ == "__main__":
    if sys.argv[1] == "--fresh-child":
        fresh_child(sys.argv[2])
    raise SystemExit(main(sys.argv[1]))
