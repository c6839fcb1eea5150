"""Every script of one cell against its record, in the environment that the records came from."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.contracts.records import place, place_of, read_run, variants_in
from harness.environments.build import build
from harness.interface import variant_id
from harness.matrix.plan import Selection
from harness.repro.choose import lock_of
from harness.repro.demonstrate import Shown, Window
from harness.repro.execute import read_verdict, run_scripts
from harness.repro.script import script
from harness.run.pipeline import How, run_matrix

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from harness.matrix.cases import Case
    from harness.matrix.spec import Cell, Matrix
    from harness.run.runs import Run


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
