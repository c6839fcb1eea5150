"""Every script of one cell against its record, in the environment that the records came from."""

from __future__ import annotations

import os
import re
import subprocess
from typing import TYPE_CHECKING

from harness.contracts.records import place, place_of, read_run, variants_in
from harness.environments.build import build
from harness.environments.index import clean_environment
from harness.interface import variant_id
from harness.matrix.plan import Selection
from harness.repro.choose import lock_of
from harness.repro.demonstrate import Shown, Window, read_verdict
from harness.repro.script import script
from harness.run.pipeline import How, run_matrix

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from harness.environments.build import Environment
    from harness.matrix.cases import Case
    from harness.matrix.spec import Cell, Matrix
    from harness.run.runs import Run

DRIVER = """
import os, runpy, sys
overlays, behind, scripts = (one.split(os.pathsep) for one in sys.argv[1:4])
sys.path[:0] = overlays
sys.path += behind
import torch, transformers
for script in scripts:
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        for stream, name in ((1, "out"), (2, "err")):
            os.dup2(os.open(f"{script}.{name}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC), stream)
        sys.argv = [script]
        status = 99
        try:
            runpy.run_path(script, run_name="__main__")
        except SystemExit as end:
            status = end.code
        finally:
            sys.stdout.flush()
            os._exit(status)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""
"""Imports torch and transformers once; each script then runs as a program of its own, in a fork."""


def sweep(matrix: Matrix, cell: Cell, cases: Sequence[Case], run: Run) -> Iterator[Shown]:
    """Measure what is not known of a cell, then run the script of every variant of every case."""
    run_matrix(matrix, tuple(cases), Selection(cells=(cell.id,)), run, How(jobs=1))
    records = {place_of(record): record for record in variants_in(read_run(run.folder))}
    windows = write_scripts(matrix, cell, cases, run.folder / "repro")
    environment = build(lock_of(matrix, cell), cell.python)
    for path, status in zip(windows, run_scripts(list(windows), environment), strict=True):
        window = windows[path]
        output = path.with_suffix(".py.out").read_text(encoding="utf-8")
        outcome, signature, words = read_verdict(output)
        named = place(cell.id, window.case.name, {**window.variant, "device": "cpu", "dtype": "float32"})
        yield Shown(
            window=window,
            record=records[named],
            outcome=outcome,
            signature=signature,
            words=words,
            status=status,
            seconds=0.0,
            size=(0, 0),
        )


def write_scripts(matrix: Matrix, cell: Cell, cases: Sequence[Case], folder: Path) -> dict[Path, Window]:
    """Write the script of every variant of every case for one cell; give what each file is about."""
    folder.mkdir(parents=True, exist_ok=True)
    lock = lock_of(matrix, cell)
    windows: dict[Path, Window] = {}
    for case in cases:
        for variant in case.variants:
            path = folder / f"{case.name}_{variant_id(variant)}.py"
            windows[path] = Window(case=case, variant=variant, cell=cell, expectation=None)
            on_cpu = {**variant, "device": "cpu", "dtype": "float32"}
            path.write_text(script(case, on_cpu, lock, cell.python), encoding="utf-8")
    return windows


def sizes(windows: dict[Path, Window]) -> list[tuple[str, list[int], list[int], int]]:
    """Give for each case the lines of its scripts without weights, their bytes, and how many carry weights."""
    found: dict[str, tuple[list[int], list[int], list[bool]]] = {}
    for path, window in windows.items():
        text = path.read_text(encoding="utf-8")
        before, weights, after = text.partition('WEIGHTS = """')
        code = before + after.partition('"""')[2]
        lines, size, carries = found.setdefault(window.case.name, ([], [], []))
        lines.append(len(code.splitlines()))
        size.append(len(text))
        carries.append(bool(weights))
    return [(name, lines, size, sum(carries)) for name, (lines, size, carries) in found.items()]


def run_scripts(paths: Sequence[Path], environment: Environment) -> list[int]:
    """Run scripts in an environment, one after the other; give their exit statuses.

    What each one prints is kept beside it, as ``NAME.py.out`` and ``NAME.py.err``.
    """
    lists = [os.pathsep.join(map(str, one)) for one in (environment.overlays, environment.behind, paths)]
    done = subprocess.run(  # noqa: S603 - the interpreter of an environment that we built
        [str(environment.python), "-P", "-c", DRIVER, *lists],
        stdout=subprocess.PIPE,
        text=True,
        env=clean_environment(os.environ),
        cwd=paths[0].parent,
        check=True,
    )
    return [int(status) for status in re.findall(r"^-?\d+$", done.stdout, re.MULTILINE)]
