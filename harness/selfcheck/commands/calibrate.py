"""``calibrate``: a cell against itself, and against itself with a planted delay, on this machine."""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING, Any

import click

from harness.errors import ExitStatus

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness.latency.calibration import Calibration, Subject
    from harness.run.runs import Run

_FILE = "comparisons.jsonl"
_DEFAULT_CELLS = ("peft0.15.2-", "peft0.21.2-st6.2.0-")


@click.command(epilog="Example: python -m harness.selfcheck calibrate --comparisons 320 --budget 60")
@click.argument("run_id", metavar="[RUN]", required=False)
@click.option("--matrix", default="documented", show_default=True, help="Where the cells are looked up.")
@click.option(
    "--cell", "cells", metavar="ID", multiple=True, default=_DEFAULT_CELLS, show_default=True,
    help="A cell to hold against itself; repeatable.",
)  # fmt: skip
@click.option(
    "--case", metavar="EXPR", default="generate_with_cache:*-cached", show_default=True, help="What is timed."
)
@click.option("--comparisons", type=click.IntRange(1), default=320, show_default=True, help="At least so many.")
@click.option(
    "--budget", type=click.FloatRange(0, min_open=True), default=60.0, show_default=True,
    help="Seconds of timing for each family of comparisons, as `compare` has them.",
)  # fmt: skip
@click.option(
    "--plant", type=click.FloatRange(0, min_open=True), default=0.1, show_default=True, help="Share of delay."
)
@click.option(
    "--pool", "pooled", type=click.IntRange(1), default=1, show_default=True,
    help="Join the samples of so many families of a cell into one.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def calibrate(run_id: str | None, pooled: int, as_json: bool, **options: Any) -> None:  # noqa: FBT001
    """State the false alarms of `compare` here, and the smallest slowdown it finds.

    A family is every variant of one cell, each in two fresh processes of that cell; half of the time goes to the cell
    against itself, as much again to the same with one side slowed. With RUN the samples of an earlier calibration
    are judged again. The exit status is 1 when more than 1 % are false alarms or less than 95 % are found.
    """
    from harness.latency.calibration import Subject, calibrate, pool
    from harness.run.runs import Run, new_run

    run = Run(id=run_id) if run_id else new_run("calibrate")
    if run_id is None:
        _measure(run, **options)
    path = run.folder / _FILE
    if not path.is_file():
        message = f"run {run.id} has no {_FILE}; measure one with: python -m harness.selfcheck calibrate"
        raise click.UsageError(message)
    subjects = [Subject.from_data(json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]
    subjects = pool(subjects, pooled) if pooled > 1 else subjects
    if not subjects:
        message = f"run {run.id} has fewer than {pooled} families of one cell; pool less of them"
        raise click.UsageError(message)
    result = calibrate(subjects)
    _print(result, subjects, run, as_json=as_json)
    ours = result.rules[0]
    sys.exit(int(ExitStatus.NEEDS_A_PERSON) if ours.false_alarms.share > 0.01 or ours.found.share < 0.95 else 0)  # noqa: PLR2004 - what the issue of calibration asks for


def _measure(run: Run, **options: Any) -> None:
    run.folder.mkdir(parents=True)
    with (run.folder / _FILE).open("w", encoding="utf-8") as file:
        for subject in _subjects(run, **options):
            file.write(json.dumps(subject.as_data()) + "\n")
            file.flush()


def _subjects(
    run: Run, *, matrix: str, cells: tuple[str, ...], case: str, comparisons: int, budget: float, plant: float
) -> Iterator[Subject]:
    from harness.environments.locks import lock_book
    from harness.interface import variant_id
    from harness.latency.calibration import Series, Subject
    from harness.latency.sides import Sides, timed_variants
    from harness.latency.turns import Turn
    from harness.matrix.plan import find_cell
    from harness.matrix.read import load_matrix
    from harness.progress import Progress

    loaded = load_matrix(matrix)
    found = [find_cell(loaded, one) for one in cells]
    variants = timed_variants(case)
    progress = Progress(comparisons, unit="comparisons")
    progress.start()
    same = [("first", "cached", 0.0), ("second", "cached", 0.0)]
    slow = [("first", "base", 0.0), ("second", "planted", plant)]
    turns = [
        Turn(side=side, label=label, plant=share) for side, label, share in (*same, *same[::-1], *slow, *slow[::-1])
    ]
    done = family = 0
    while done < comparisons:
        cell = found[family % len(found)]
        with Sides(run=run, cells=(cell, cell), book=lock_book(loaded), matrix=matrix) as sides:
            for each, variant in variants:
                pair = sides.measure(each, variant, turns, budget_s=2 * budget / len(variants))
                if not pair.blocks:
                    progress.step(cell.id, f"{variant_id(variant)} was not timed")
                    continue
                series = {
                    name: Series(
                        first=tuple(pair.samples("first", one)),
                        second=tuple(pair.samples("second", other)),
                        first_wall=tuple(pair.samples("first", one, wall=True)),
                        second_wall=tuple(pair.samples("second", other, wall=True)),
                    )
                    for name, one, other in (("same", "cached", "cached"), ("planted", "base", "planted"))
                }
                named = f"{each.name}[{variant_id(variant)}]"
                yield Subject(
                    cell=cell.id,
                    family=family,
                    variant=named,
                    seconds=pair.seconds / 2,
                    load=os.getloadavg()[0],
                    same=series["same"],
                    planted=series["planted"],
                )
                progress.advance()
                done += 1
        progress.step(cell.id, f"family {family + 1}")
        family += 1


def _print(result: Calibration, subjects: list[Subject], run: Run, *, as_json: bool) -> None:
    from dataclasses import asdict
    from statistics import median

    loads = sorted(one.load for one in subjects)
    families = len({one.family for one in subjects})
    if as_json:
        data = {**asdict(result), "comparisons": len(subjects), "families": families, "loads": loads}
        click.echo(json.dumps(data, indent=1))
        return
    pairs = sorted(len(one.same.first) for one in subjects)
    click.echo(f"{len(subjects)} comparisons in {families} families, run {run.id}")
    click.echo(
        f"each {median(one.seconds for one in subjects):.1f} s of timing (median), {pairs[0]} to {pairs[-1]} pairs; "
        f"load {loads[0]:.1f} to {loads[-1]:.1f} (median {median(loads):.1f}) on {os.cpu_count()} cores"
    )
    for rule in result.rules:
        click.echo(f"{rule.name}:")
        click.echo(f"  false alarms, A against A: {rule.false_alarms}")
        click.echo(f"  planted slowdown found:    {rule.found}")
    if result.smallest is None:
        click.echo("no slowdown that was tried (1 % to 25 %, by scaling the samples) is found with 95 % power")
    else:
        click.echo(f"smallest slowdown found with 95 % power (by scaling the samples): {result.smallest:.0%}")
