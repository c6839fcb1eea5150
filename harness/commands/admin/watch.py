"""``admin watch``: what looks slower than on earlier nights, measured again before it is told."""

from __future__ import annotations

import sys
from datetime import date
from typing import TYPE_CHECKING, Any

import click

from harness.errors import ExitStatus
from harness.packages import TOLD_PACKAGES
from harness.program import example

if TYPE_CHECKING:
    from harness.contracts.record import VariantRecord
    from harness.latency.history import Suspect
    from harness.latency.verdicts import Row
    from harness.matrix.spec import Cell


@click.command(epilog=example("admin watch documented --run guide --look-only"))
@click.argument("matrix")
@click.option("--run", "run_id", metavar="RUN", help="Take the records of this run into the history first.")
@click.option(
    "--budget", type=click.FloatRange(0, min_open=True), default=60.0, show_default=True,
    help="Seconds of timing for each pair of cells that is held side by side.",
)  # fmt: skip
@click.option("--look-only", is_flag=True, help="Only say what looks slower; measure nothing.")
def watch(matrix: str, run_id: str | None, budget: float, look_only: bool) -> None:  # noqa: FBT001
    """Find what became slower on this kind of machine, and confirm it side by side.

    The history is the store of this machine. A change point only raises a suspicion; told is what `compare` confirms
    between the cell as it was before the change and as it is now. Exit status 1 when something is confirmed.
    """
    from harness.contracts.records import read_run, variants_in
    from harness.latency.history import suspects
    from harness.latency.statistics import Difference
    from harness.paths import reports_folder
    from harness.run.runs import find_run
    from harness.run.store import Store

    store = Store(reports_folder() / "store.sqlite")
    if run_id:
        store.add(variants_in(read_run(find_run(run_id).folder)))
    found = suspects(store.of_matrix(matrix))
    for one in found:
        click.echo(f"looks slower by {one.factor - 1:.0%}: {_title(one.now)}, since after {one.before.time[:10]}")
    if not found or look_only:
        click.echo(f"{len(found)} variants of {matrix} look slower than before")
        return
    confirmed = [row for row in _confirm(found, matrix, budget) if row.difference is Difference.SLOWER]
    click.echo(f"{len(found)} looked slower, {len(confirmed)} confirmed side by side")
    sys.exit(int(ExitStatus.NEEDS_A_PERSON) if confirmed else 0)


def _confirm(found: list[Suspect], matrix: str, budget: float) -> list[Row]:
    from harness.environments.locks import LockBook
    from harness.latency.sides import Sides
    from harness.latency.turns import abba
    from harness.latency.verdicts import rows_of, sentence
    from harness.matrix.cases import load_cases
    from harness.paths import cache_folder
    from harness.run.runs import new_run

    cases = {case.name: case for case in load_cases()}
    book = LockBook(cache_folder() / "watch-locks.json")
    run = new_run("watch")
    groups: dict[tuple[str, str], list[Suspect]] = {}
    for one in found:
        groups.setdefault((cell_of(one.before).id, cell_of(one.now).id), []).append(one)
    rows: list[Row] = []
    for group in groups.values():
        cells = (cell_of(group[0].before), cell_of(group[0].now))
        device = group[0].now.variant["device"]
        with Sides(run=run, cells=cells, book=book, matrix=matrix, device=device) as sides:
            pairs = [
                sides.measure(cases[one.now.case], one.now.variant, abba("cached"), budget_s=budget / len(group))
                for one in group
                if one.now.case in cases
            ]
        rows += rows_of(pairs)
        click.echo(f"{cells[0].id} and {cells[1].id}, side by side:")
        for row in rows[-len(pairs) :]:
            click.echo(f"  {sentence(row)}")
    return rows


def cell_of(record: VariantRecord) -> Cell:
    """Return the cell of a record as it was: the versions that were measured, all else of that day."""
    from harness.matrix.spec import Cell

    pins: dict[str, Any] = {name: version.partition("+")[0] for name, version in record.cell.packages.items()}
    kept: dict[str, str] = {name: pins[name] for name in TOLD_PACKAGES if name in pins}
    python = ".".join(record.cell.python.split(".")[:2])
    return Cell(python=python, pins=kept, as_of=date.fromisoformat(record.time[:10]))


def _title(record: VariantRecord) -> str:
    return f"{record.case}[{'-'.join(record.variant.values())}] in {record.cell.id}"
