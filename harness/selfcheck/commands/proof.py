"""``proof``: layered environments give the records of plain ones, and shuffled variants those of sorted ones."""

from __future__ import annotations

import secrets
import sys

import click

from harness.errors import ExitStatus


@click.command(epilog="Example: python -m harness.selfcheck proof grid --cells 20")
@click.argument("matrix")
@click.option("--case", metavar="EXPR", help="Case names or patterns, e.g. 'generate_with_cache:bloom'.")
@click.option("--cells", "count", type=click.IntRange(1), default=20, show_default=True, help="Cells to compare.")
@click.option("-j", "--jobs", type=click.IntRange(1), help="Environments at a time (default: as memory allows).")
@click.option("--shuffled", is_flag=True, help="Hold variants in another order, in two processes, against sorted ones.")
@click.option("--seed", type=int, help="Of the order (default: a new one, which is printed).")
def proof(*, matrix: str, case: str | None, count: int, jobs: int | None, shuffled: bool, seed: int | None) -> None:
    """Hold layered environments against plain ones; fail if one record differs.

    With --shuffled variants in a random order and in two halves are held against sorted ones instead.
    """
    from harness.matrix.cases import load_cases
    from harness.matrix.plan import Selection
    from harness.matrix.read import load_matrix
    from harness.run.cost import free_memory_jobs
    from harness.selfcheck.proof import prove

    selection = Selection(case=case)
    if shuffled:
        seed = secrets.randbelow(1 << 20) if seed is None else seed
        click.echo(f"seed {seed}")
    compared, differing = prove(
        load_matrix(matrix), load_cases(), selection, count=count, jobs=jobs or free_memory_jobs(), seed=seed
    )
    ways = ("sorted", "shuffled") if shuffled else ("layered", "plain")
    for pair in differing:
        about = next(one.about for one in pair if one)
        told = ", ".join(f"{way} {one.result if one else 'nothing'}" for way, one in zip(ways, pair, strict=True))
        click.echo(f"differs: {about}: {told}")
    click.echo(f"{compared} records compared, {len(differing)} differ")
    if not compared:
        sys.exit(int(ExitStatus.NOTHING_MEASURED))
    sys.exit(int(ExitStatus.NEEDS_A_PERSON) if differing else 0)
