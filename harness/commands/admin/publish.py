"""``admin publish``: make the records of a run the reference of its matrix."""

from __future__ import annotations

import click

from harness.errors import UsageError
from harness.paths import file_name
from harness.program import PROGRAM, example
from harness.run.runs import find_run


@click.command(epilog=example("admin publish guide --name guide"))
@click.argument("run_id", metavar="RUN")
@click.option("--name", help="The reference's name (default: the run's matrix).")
@click.option("--partial", is_flag=True, help="Publish a run although something it was asked for is missing.")
def publish(run_id: str, name: str | None, partial: bool) -> None:  # noqa: FBT001
    """Make the records of RUN the reference of its matrix.

    They are written to reports/reference/NAME.jsonl.gz. Raw samples, tracebacks and this machine's paths are left out.
    """
    from harness.judge.reference import missing_from, read_reference, write_reference

    run = find_run(run_id)
    matrix = file_name(name or run.plan().matrix, "matrix")
    missing = missing_from(run)
    if missing and not partial:
        message = (
            f"{missing} variants of run {run.id} have no record; go on with: "
            f"{PROGRAM} run {run.plan().matrix} --resume {run.id} (or publish it with --partial)"
        )
        raise UsageError(message)
    path = write_reference(run, matrix)
    records = read_reference(matrix)
    if not records:
        path.unlink()
        message = f"run {run.id} has no records; nothing was published"
        raise UsageError(message)
    cells = len({record.cell.id for record in records})
    click.echo(f"wrote {path}: {len(records)} records of {cells} cells, {path.stat().st_size / 1000:.0f} kB")
