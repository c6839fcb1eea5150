"""``repro-check``: scripts against records, window by window."""

from __future__ import annotations

import sys
from collections import Counter
from typing import NoReturn

import click


@click.command(epilog="Example: python -m harness.selfcheck repro-check documented --windows 15")
@click.argument("matrix", required=False)
@click.option("--short", is_flag=True, help="Instead: the short scripts of every live defect, as a table.")
@click.option("--defect", "defects", metavar="ID", multiple=True, help="With --short: only this one; repeatable.")
@click.option("--write", is_flag=True, help="With --short: into docs/repro-short.md and the defects, too.")
@click.option("--windows", "count", type=click.IntRange(1), default=15, show_default=True, help="Expectations to show.")
@click.option("--cell", metavar="ID", help="Instead: every variant of this cell, in the harness's own environment.")
@click.option("--sizes", is_flag=True, help="With --cell: write the scripts, run none, and say how long they are.")
def repro_check(  # noqa: PLR0917 - click gives keywords
    matrix: str | None,
    short: bool,  # noqa: FBT001
    defects: tuple[str, ...],
    write: bool,  # noqa: FBT001
    count: int,
    cell: str | None,
    sizes: bool,  # noqa: FBT001
) -> None:
    """Run scripts of MATRIX with `uv run`, and hold each against its record.

    As many expectations as asked for, turn by turn from each case, and for each case one cell in which the same
    variant is expected to pass.
    """
    if short:
        _check_short(defects, write=write)
    if matrix is None:
        message = "name a matrix, or give --short"
        raise click.UsageError(message)
    if sizes and cell is None:
        message = "--sizes is about one cell; name it with --cell"
        raise click.UsageError(message)
    if cell is not None:
        _print_sizes(matrix, cell) if sizes else _check_cell(matrix, cell)
        return

    from harness.errors import ExitStatus
    from harness.matrix.cases import load_cases
    from harness.matrix.read import load_matrix
    from harness.repro.demonstrate import demonstrate, windows
    from harness.run.runs import new_run

    loaded = load_matrix(matrix)
    chosen = windows(loaded, load_cases(), count)
    if not chosen:
        click.echo(f"no cell of {matrix} is expected to fail: nothing to show", err=True)
        sys.exit(int(ExitStatus.NOTHING_MEASURED))
    run, different = new_run("repro-check"), 0
    click.echo("| case and variant | cell | record | script: exit | same | lines | kB | s |")
    click.echo("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for one in demonstrate(loaded, chosen, run):
        different += not one.same
        record = f"{one.record.outcome}: {(one.record.message or '')[:60]}".rstrip(": ").replace("|", "/")
        lines, size = one.size
        click.echo(
            f"| {one.window.name} | {one.window.cell.id} | {record} | {one.outcome}: {one.status} "
            f"| {'yes' if one.same else 'NO'} | {lines} | {size / 1000:.0f} | {one.seconds:.1f} |"
        )
    click.echo(f"\n{len(chosen)} scripts, {different} differ from their record; they are in {run.folder / 'repro'}")
    sys.exit(int(ExitStatus.NEEDS_A_PERSON) if different else 0)


def _check_short(defects: tuple[str, ...], *, write: bool) -> NoReturn:
    """Print the table of the short scripts of live defects; 1 when fewer than four in five have one."""
    from harness.errors import ExitStatus
    from harness.paths import ROOT
    from harness.run.runs import new_run
    from harness.selfcheck.short_check import (
        ENOUGH,
        keep_commands,
        live_defects,
        page,
        places,
        shortest,
        show_all,
        table,
    )

    if unknown := set(defects) - set(live_defects()):
        message = f"{', '.join(sorted(unknown))}: no live defect; see: cases defects --live"
        raise click.UsageError(message)
    wanted = defects or tuple(live_defects())
    run = new_run("repro-check-short")
    tried = {defect: them for defect, them in places().items() if defect in wanted}
    best = shortest(list(show_all(tried, run.folder / "repro")))
    text, share = table(best, wanted)
    click.echo(text, nl=False)
    if write:
        keep_commands(best)
    if write and not defects:
        (ROOT / "docs" / "repro-short.md").write_text(page(text), encoding="utf-8")
    sys.exit(0 if share >= ENOUGH else int(ExitStatus.NEEDS_A_PERSON))


def _print_sizes(matrix: str, name: str) -> None:
    """Print for each case how long its scripts are, as a table in Markdown."""
    from harness.matrix.cases import load_cases
    from harness.matrix.plan import find_cell
    from harness.matrix.read import load_matrix
    from harness.run.runs import new_run
    from harness.selfcheck.repro_check import sizes, write_scripts

    loaded = load_matrix(matrix)
    written = write_scripts(loaded, find_cell(loaded, name), load_cases(), new_run("repro-check").folder / "repro")
    click.echo("| case | variants | lines without weights | kB | with weights |")
    click.echo("| --- | --- | --- | --- | --- |")
    for case, lines, size, carrying in sizes(written):
        span = f"{min(size) / 1000:.0f} to {max(size) / 1000:.0f}"
        click.echo(f"| {case} | {len(lines)} | {min(lines)} to {max(lines)} | {span} | {carrying} |")


def _check_cell(matrix: str, name: str) -> NoReturn:
    """Hold all scripts of one cell against their records; only those that differ have a line."""
    from harness.errors import ExitStatus
    from harness.matrix.cases import load_cases
    from harness.matrix.plan import find_cell
    from harness.matrix.read import load_matrix
    from harness.run.runs import new_run
    from harness.selfcheck.repro_check import sweep

    loaded = load_matrix(matrix)
    cell, run = find_cell(loaded, name), new_run("repro-check")
    tally: Counter[str] = Counter()
    different = 0
    for one in sweep(loaded, cell, load_cases(), run):
        tally[one.record.outcome] += 1
        if not one.same:
            different += 1
            told = f"{one.outcome}, exit {one.status}, {one.signature or one.words}"
            click.echo(f"differs: {one.window.name}: {told}; the record: {one.record.outcome}")
    counts = ", ".join(f"{count} {outcome}" for outcome, count in tally.most_common())
    click.echo(f"{cell.id}: {tally.total()} scripts ({counts}), {different} differ from their record")
    sys.exit(int(ExitStatus.NEEDS_A_PERSON) if different else 0)
