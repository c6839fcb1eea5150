"""What a commit costs at the least: ``python docs/bisect_bare.py RUN/bisect.json MATRIX CELL``.

Takes the commits that a bisect asked and does for each of them, by hand, what cannot be left out:
install it from the clone into an empty folder, fork the warm worker, import peft, run the variant.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from harness.bisect.probe import Subject
from harness.contracts.record import CellFacts
from harness.environments.build import _install_into, build
from harness.environments.locks import lock_book
from harness.matrix.cases import CASES, read_case
from harness.matrix.read import load_matrix
from harness.run.runs import Run
from harness.run.workers import Worker, settings_for


def main(path: str, matrix: str, cell_id: str) -> None:
    """Print the seconds of each commit, in the bisect and by hand, and the ratio of the sums."""
    report = json.loads(Path(path).read_text(encoding="utf-8"))
    case = read_case(CASES / f"{report['case']}.py")
    subject = Subject(case=case, variant=report["variant"])
    steps = [step for step in report["steps"] if step["why"] == "git bisect"]
    loaded = load_matrix(matrix)
    lock = lock_book(loaded).get(next(cell for cell in loaded.cells if cell.id == cell_id))
    assert lock is not None  # noqa: S101 - a kept lock
    environment = build(lock, "3.11")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["PROMPT_BENCH_REPORTS"] = folder
        run = Run(id="bare")
        settings = settings_for(run, limit_s=60, timed=False, device="cpu")
        warm = CellFacts(id="warm", matrix="bare", lock=lock.digest, python="3.11")
        bare = []
        with Worker(environment, run, "bare", settings) as worker:
            worker.measure(warm, environment.overlays, (subject.request("warm"),))
            for number, step in enumerate(steps):
                begin = time.monotonic()
                overlay = Path(folder) / f"overlay{number}"
                _install_into(
                    overlay, "3.11", "--no-deps", "--refresh-package", "peft", step["record"]["cell"]["sources"]["peft"]
                )
                (record,) = worker.measure(replace(warm, id=step["label"]), (overlay,), (subject.request("k"),))
                bare.append(time.monotonic() - begin)
                print(
                    f"{step['label'][:40]:<40} {step['seconds']:5.2f} s in the bisect, {bare[-1]:5.2f} s bare",
                    record.result,
                )
    whole = report["commit"]["seconds"]
    print(f"git bisect run as a whole {whole:.2f} s, bare {sum(bare):.2f} s: ratio {whole / sum(bare):.2f}")


if __name__ == "__main__":
    main(*sys.argv[1:])
