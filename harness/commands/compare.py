"""``compare``: latency and counters of two cells, both alive at once, with statistics."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import click

from harness.errors import ExitStatus
from harness.program import example

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.latency.sides import Pair
    from harness.latency.verdicts import Row
    from harness.matrix.spec import Cell
    from harness.run.runs import Run


@click.command(
    epilog=example(
        "compare peft0.13.0-st3.1 peft0.13.1-st3.1 --case generate_with_cache:gpt2-prefix_tuning-cached --budget 5"
    )
)
@click.argument("first", metavar="CELL")
@click.argument("second", metavar="CELL")
@click.option("--matrix", default="documented", show_default=True, help="Where the cells are looked up by id.")
@click.option(
    "--case", metavar="EXPR", default="generate_with_cache:*-cached", show_default=True, help="What is timed."
)
@click.option("--arm", default="cached", show_default=True, help="Which way of generating: cached or uncached.")
@click.option(
    "--budget", type=click.FloatRange(0, min_open=True), default=60.0, show_default=True,
    help="Seconds of timing, shared by all variants; imports come on top.",
)  # fmt: skip
@click.option("--device", type=click.Choice(["cpu", "cuda", "auto"]), default="cpu", show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def compare(first: str, second: str, as_json: bool, **options: Any) -> None:  # noqa: FBT001
    """Say which variants are slower in the second CELL, by how much and how sure.

    A CELL is an id or the beginning of one. Single calls of both are timed in turn, A-B-B-A, each in a process of its
    own. Slower needs a rank test, corrected over all variants, and a difference of more than 5 %. Exit status: 1
    when a variant is slower, 3 when none could be compared.
    """
    from harness.latency.verdicts import as_data, rows_of
    from harness.matrix.plan import find_cell
    from harness.matrix.read import load_matrix
    from harness.run.runs import new_run

    loaded, run = load_matrix(options["matrix"]), new_run("compare")
    cells = (find_cell(loaded, first), find_cell(loaded, second))
    pairs = _measure(run, cells, **options)
    rows = rows_of(pairs, arm=options["arm"])
    files = benchmark_files(run)
    if as_json:
        data = {"schema": 1, "run": run.id, "cells": [cell.id for cell in cells], "variants": [*map(as_data, rows)]}
        text = json.dumps(data, ensure_ascii=False, indent=1)
        click.echo(text)
    else:
        _print(rows, cells, files)
    sys.exit(int(_status(rows)))


def _measure(
    run: Run, cells: tuple[Cell, Cell], *, matrix: str, case: str, arm: str, budget: float, device: str
) -> list[Pair]:
    from harness.environments.locks import lock_book
    from harness.interface import variant_id
    from harness.latency.sides import Sides, timed_variants
    from harness.latency.turns import abba
    from harness.matrix.plan import concrete_device
    from harness.matrix.read import load_matrix
    from harness.progress import Progress

    device = concrete_device(device)
    variants = timed_variants(case, device)
    progress = Progress(len(variants), unit="variants to compare")
    progress.start()
    pairs = []
    with Sides(run=run, cells=cells, book=lock_book(load_matrix(matrix)), matrix=matrix, device=device) as sides:
        for each, variant in variants:
            pairs.append(sides.measure(each, variant, abba(arm), budget_s=budget / len(variants)))
            progress.advance()
            progress.step(variant_id(variant), f"{pairs[-1].blocks} blocks in {pairs[-1].seconds:.1f} s")
    return pairs


def benchmark_files(run: Run) -> dict[str, str]:
    """Join pytest-benchmark's files of each side into one that its ``compare`` reads; gives their paths."""
    folder = run.folder / "benchmarks"
    joined = {}
    for side in ("first", "second"):
        whole: dict[str, Any] = {}
        for path in sorted(folder.glob(f"{side}-*.json")):
            # A variant that timed nothing left an empty file.
            if text := path.read_text(encoding="utf-8"):
                part = json.loads(text)
                whole = {**part, "benchmarks": [*whole.get("benchmarks", []), *part["benchmarks"]]}
        if whole:
            target = folder / f"{side}.json"
            target.write_text(json.dumps(whole), encoding="utf-8")
            joined[side] = str(target)
    return joined


def _status(rows: Sequence[Row]) -> ExitStatus:
    from harness.latency.statistics import Difference

    if not any(row.comparison for row in rows):
        return ExitStatus.NOTHING_MEASURED
    slower = any(row.difference is Difference.SLOWER for row in rows)
    return ExitStatus.NEEDS_A_PERSON if slower else ExitStatus.AS_EXPECTED


def _print(rows: Sequence[Row], cells: tuple[Cell, Cell], files: dict[str, str]) -> None:
    from rich.table import Table

    from harness.latency.verdicts import sentence
    from harness.report.terminal import console

    out = console()
    for role, cell in zip(("first", "second"), cells, strict=True):
        out.print(f"{role:<6} {cell.id}", soft_wrap=True, highlight=False)
    out.print()
    for row in rows:
        click.echo(sentence(row))
    table = Table(box=None, pad_edge=False, padding=(0, 1), header_style="bold")
    for heading in ("variant", "first ms", "second ms", "ratio", "95 % range", "p", "verdict"):
        table.add_column(heading, justify="left" if heading in {"variant", "verdict"} else "right", no_wrap=True)
    styles = {"slower": "red", "faster": "green", "same": "", "inconclusive": "dim"}
    for row in rows:
        entries = ["", "", "", "", ""]
        if row.comparison and row.medians_s:
            ratio = row.comparison.ratio
            spread = f"{ratio.low:.3f} to {ratio.high:.3f}" if ratio.is_bounded else "-"
            times = [f"{1000 * one:.2f}" for one in row.medians_s]
            entries = [*times, f"{ratio.estimate:.3f}", spread, f"{row.comparison.p:.2g}"]
        verdict = str(row.difference) if row.comparison else "not compared"
        table.add_row(row.name, *entries, verdict, style=styles.get(verdict, "dim"))
    out.print()
    out.print(table)
    counted = [row for row in rows if row.counts]
    if counted:
        out.print("\nExact counts that differ, first and second", style="bold")
    for row in counted:
        told = ", ".join(f"{name} {one} | {other}" for name, (one, other) in row.counts.items())
        out.print(f"  {row.name}: {told}", highlight=False)
    if len(files) == len(("first", "second")):
        click.echo(f"\nthe same samples, wall times: pytest-benchmark compare {' '.join(files.values())}")
