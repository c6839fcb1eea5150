"""``steady``: the same cells measured several times; what changes from run to run is told."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from harness.errors import ExitStatus

if TYPE_CHECKING:
    from harness.selfcheck.steady import Steadiness


@click.command(epilog="Example: python -m harness.selfcheck steady library families --times 3")
@click.argument("matrices", metavar="MATRIX...", nargs=-1, required=True)
@click.option("--case", metavar="EXPR", help="Case names or patterns, e.g. 'generate_with_cache:bloom'.")
@click.option("--cell", "cells", metavar="ID", multiple=True, help="Cells (default: the oldest and the newest).")
@click.option("--times", type=click.IntRange(2), default=3, show_default=True, help="Runs to hold together.")
@click.option("-j", "--jobs", type=click.IntRange(1), help="Environments at a time (default: as memory allows).")
def steady(matrices: tuple[str, ...], case: str | None, cells: tuple[str, ...], times: int, jobs: int | None) -> None:
    """Measure cells several times; fail if a variant does not come out alike.

    They are the oldest and the newest cell of each MATRIX, unless named. Told are variants whose outcome or signature
    changed (the exit status is then 1), how many had other words, evidence or counters, and how long a cell's variants
    take after imports.
    """
    from harness.matrix.cases import load_cases
    from harness.matrix.plan import Selection
    from harness.matrix.read import load_matrix
    from harness.run.cost import free_memory_jobs
    from harness.selfcheck.steady import measure_again

    compared = unsteady = 0
    for name in matrices:
        found = measure_again(
            load_matrix(name),
            load_cases(),
            Selection(case=case, cells=cells),
            times=times,
            jobs=jobs or free_memory_jobs(),
        )
        compared, unsteady = compared + found.compared, unsteady + len(found.unsteady)
        _tell(name, found, times)
    click.echo(f"{compared} variants in {times} runs each: {unsteady} changed their outcome")
    if not compared:
        sys.exit(int(ExitStatus.NOTHING_MEASURED))
    sys.exit(int(ExitStatus.NEEDS_A_PERSON) if unsteady else 0)


def _tell(matrix: str, found: Steadiness, times: int) -> None:
    for title, places in (("changed", found.unsteady), ("equal outcomes, other evidence", found.restless)):
        for records in places:
            about = next(one.about for one in records if one)
            told = ", ".join(one.result if one else "no record" for one in records) if title == "changed" else ""
            click.echo(f"{title}: {about} {told}".rstrip())
    for cell, seconds in found.seconds.items():
        took = " ".join(f"{one:.1f}" for one in seconds)
        click.echo(f"{matrix} {cell}: {took} s for its variants, after imports, in {times} runs")
