"""``proof``: layered environments give the records of plain ones."""

from __future__ import annotations

import sys

import click

from harness.errors import ExitStatus


@click.command(epilog="Example: python -m harness.selfcheck proof grid --cells 20")
@click.argument("matrix")
@click.option("--case", metavar="EXPR", help="Case names or patterns, e.g. 'generate_with_cache:bloom'.")
@click.option("--cells", "count", type=click.IntRange(1), default=20, show_default=True, help="Cells to compare.")
@click.option("-j", "--jobs", type=click.IntRange(1), help="Environments at a time (default: as memory allows).")
def proof(matrix: str, case: str | None, count: int, jobs: int | None) -> None:
    """Hold layered environments against plain ones; fail if one record differs."""
    from harness.matrix.cases import load_cases
    from harness.matrix.plan import Selection
    from harness.matrix.read import load_matrix
    from harness.run.cost import free_memory_jobs
    from harness.selfcheck.proof import prove

    selection = Selection(case=case)
    compared, differing = prove(
        load_matrix(matrix), load_cases(), selection, count=count, jobs=jobs or free_memory_jobs()
    )
    for layered, plain in differing:
        about = next(one.about for one in (layered, plain) if one)
        told = [one.result if one else "nothing" for one in (layered, plain)]
        click.echo(f"differs: {about}: layered {told[0]}, plain {told[1]}")
    click.echo(f"{compared} records compared, {len(differing)} differ")
    if not compared:
        sys.exit(int(ExitStatus.NOTHING_MEASURED))
    sys.exit(int(ExitStatus.NEEDS_A_PERSON) if differing else 0)
