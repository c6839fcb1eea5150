"""``baseline``: a whole matrix here, against one nox session for each cell."""

from __future__ import annotations

import json

import click

from harness.contracts.record import VariantRecord


@click.command(epilog="Example: python -m harness.selfcheck baseline grid --cells 20 --pip-cells 20")
@click.argument("matrix")
@click.option("--cells", type=click.IntRange(1), default=20, show_default=True, help="Sample for nox with uv.")
@click.option("--pip-cells", type=click.IntRange(0), default=20, show_default=True, help="Sample for nox with pip.")
@click.option("-j", "--jobs", type=click.IntRange(1), help="Workers and sessions at a time (default: one a core).")
def baseline(matrix: str, cells: int, pip_cells: int, jobs: int | None) -> None:
    """Measure MATRIX afresh, and a sample of its cells with one nox session each.

    The ratio of the two is printed. The exit status is 1 when the two ways do not give the same outcomes.
    """
    from harness.contracts.records import read_run
    from harness.environments.locks import lock_book
    from harness.matrix.cases import load_cases
    from harness.matrix.plan import Selection, plan_run
    from harness.matrix.read import load_matrix
    from harness.run.cost import free_memory_jobs
    from harness.run.pipeline import How, run_matrix
    from harness.run.runs import new_run
    from harness.selfcheck.baseline import measure_baseline
    from harness.selfcheck.proof import spread

    loaded, cases, jobs = load_matrix(matrix), load_cases(), jobs or free_memory_jobs()
    run = new_run(f"baseline-{loaded.name}")
    run_matrix(loaded, cases, Selection(), run, How(fresh=True, jobs=jobs))
    (cost,) = [json.loads(path.read_text(encoding="utf-8")) for path in run.folder.glob("cost.*.json")]
    planned, book, known = plan_run(loaded, cases, Selection()), lock_book(loaded), read_run(run.folder)
    ready = {record.cell.id for record in known if isinstance(record, VariantRecord)}
    work = [(one, lock) for one in planned if one.cell.id in ready and (lock := book.get(one.cell))]
    here = cost["seconds"] / len(planned)
    told = [f"{len(planned)} cells of {loaded.name}, {jobs} workers: {cost['seconds']:.0f} s, {here:.2f} s a cell"]
    told.append(f"peak memory of all processes: {cost['peak_mib']} MiB")
    differing = 0
    for backend, count in (("uv", cells), ("pip", pip_cells)):
        if count:
            sample = spread(tuple(work), count)
            result = measure_baseline(sample, known, backend=backend, jobs=jobs)
            differing += result.differing
            told.append(
                f"one nox session a cell, with {backend}, {jobs} at a time: {result.cells} cells in "
                f"{result.seconds:.0f} s, {result.seconds_a_cell:.2f} s a cell: {result.seconds_a_cell / here:.0f} x; "
                f"{result.compared} outcomes compared, {result.differing} differ"
            )
            click.echo(told[-1], err=True)
    click.echo("\n".join(told))
    if differing:
        raise SystemExit(1)
