"""``admin merge``: one run out of the shards of a job matrix."""

from __future__ import annotations

import click

from harness.program import example


@click.command(epilog=example("admin merge shard-1 shard-2 --run-id nightly"))
@click.argument("run_ids", metavar="RUN...", nargs=-1, required=True)
@click.option("--run-id", default="merged", show_default=True, help="Name of the joined run.")
@click.option("--matrix", help="Hold the joined run against all of this matrix: what no shard measured is unknown.")
def merge(run_ids: tuple[str, ...], run_id: str, matrix: str | None) -> None:
    """Join runs that measured parts of one matrix."""
    from harness.matrix.cases import load_cases
    from harness.matrix.plan import Selection, plan_run
    from harness.matrix.read import load_matrix
    from harness.run.merge import merge_runs
    from harness.run.runs import Run, find_run

    this = merge_runs([find_run(one) for one in run_ids], Run(id=run_id))
    if matrix is not None:
        selection = Selection(device=this.plan().device)
        this.add_plan(this.plan(), plan_run(load_matrix(matrix), load_cases(), selection))
    click.echo(f"run {this.id}: {len(this.plan().cells)} cells from {len(run_ids)} runs")
