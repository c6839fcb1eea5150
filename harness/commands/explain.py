"""``explain``: the smallest version windows that account for what was measured of a case."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from harness.commands.options import matrix_option, run_option
from harness.errors import ExitStatus, UsageError
from harness.explain.filters import parse_where
from harness.judge.origin import asked_origin, axes_of_variants
from harness.matrix.cases import find_case, load_cases
from harness.program import PROGRAM, example

if TYPE_CHECKING:
    from harness.explain.account import Account
    from harness.judge.origin import Origin
    from harness.matrix.cases import Case

_FILE = "decide.toml"


@click.command(epilog=example("explain generate_with_cache --matrix grid --where method=prefix_tuning"))
@click.argument("case")
@matrix_option
@run_option
@click.option("--where", "where_text", default="", metavar="EXPR", help="E.g. 'method=p_tuning,peft>=0.12,<0.20'.")
@click.option("--signatures", is_flag=True, help="Tell failures of different kinds apart, not outcomes alone.")
@click.option("--write-cells", metavar="FILE.toml", help="Write the cells that would decide as a matrix.")
@click.option(
    "--hold-out",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    metavar="SHARE",
    help="Leave out this share of the cells, learn on the rest, and predict them.",
)
@click.option("--seeds", type=click.IntRange(1), default=20, show_default=True, help="Draws of --hold-out.")
@click.option("--offline", is_flag=True, help="Do not ask the index which releases there are.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def explain(case: str, matrices: tuple[str, ...], runs: tuple[str, ...], where_text: str, **options: Any) -> None:
    """Say with which versions CASE fails, in the fewest windows of versions.

    Asks all published records and this machine's own, or the --matrix and --run that are named. A window is exact on
    what was measured; what no window covers passed. Exit status 3: nothing was measured of the case.
    """
    declared = find_case(load_cases(whole=()), case)
    where = parse_where(where_text, axes_of_variants([declared]))
    origin = asked_origin(matrices, runs, {case})
    origin.records[:] = where.select(origin.records)
    if options["hold_out"] is not None:
        _hold_out(declared, origin, options)
        return
    account = _account(declared, origin, options)
    if account is None:
        click.echo(f"nothing was measured of {case} in {origin.words}", err=True)
        sys.exit(int(ExitStatus.NOTHING_MEASURED))
    asked = " ".join([case, *(f"--matrix {name}" for name in matrices), *(f"--run {name}" for name in runs)])
    written = options["write_cells"]
    if options["as_json"]:
        _write(account, written)
        from harness.report.windows import as_data

        click.echo(json.dumps({"origin": origin.words, **as_data(account)}, ensure_ascii=False, indent=1))
        return
    _print(account, origin, asked + (f" --where '{where_text}'" if where_text else ""), written)


def _packages(case: Case) -> tuple[str, ...]:
    """List the packages that can account for what a case finds: sentence-transformers only if it uses them."""
    from harness.packages import EXPLAINED

    uses = "sentence_transformers" in case.path.read_text(encoding="utf-8")
    return tuple(one for one in EXPLAINED if uses or one != "sentence-transformers")


def _account(case: Case, origin: Origin, options: dict[str, Any]) -> Account | None:
    from harness.environments.releases import known_releases
    from harness.explain.account import account_of

    packages = _packages(case)
    releases = known_releases(packages, ask=not options["offline"])
    return account_of(case.name, origin.records, releases, by_kind=options["signatures"], packages=packages)


def _print(account: Account, origin: Origin, asked: str, written: str | None) -> None:
    from harness.explain.certainty import unique_cells
    from harness.report.windows import command_line, count_open, in_words

    click.echo(f"from {origin.words}")
    for line in in_words(account):
        click.echo(line)
    certain, bounds = count_open(account)
    click.echo(f"\n{certain} of {bounds} ends of windows are certain: between adjacent releases, all else equal.")
    deciding = unique_cells(cell for cell, _, _ in account.deciding())
    if not deciding:
        return
    count = _write(account, written)
    file = written or _FILE
    if count is None:
        click.echo(f"The {len(deciding)} cells that would decide more, as a matrix; then all of them measured, or one:")
        click.echo(command_line(f"{PROGRAM} explain {asked} --write-cells {file}"))
    else:
        click.echo(f"wrote {file}: {count} cells; measure all of them, or one:")
    click.echo(command_line(f"{PROGRAM} run {file}"))
    click.echo(command_line(f"{PROGRAM} run {file} --cell {deciding[0].id}"))
    click.echo("and ask again with --run RUN beside --matrix.")


def _write(account: Account, written: str | None) -> int | None:
    from harness.explain.account import deciding_cells
    from harness.matrix.write import matrix_text

    if written is None:
        return None
    path = Path(written)
    if path.suffix != ".toml":
        message = f"--write-cells {written}: the file of a matrix ends in .toml"
        raise UsageError(message)
    cells = deciding_cells(account)
    if not cells:
        message = "no cell would decide anything: every end is certain, or the releases are not known (--offline?)"
        raise UsageError(message)
    try:
        path.write_text(matrix_text(f"What would decide {account.case}", cells, comment=_COMMENT), encoding="utf-8")
    except OSError as error:
        message = f"--write-cells {written}: {error.strerror}; name a file in a folder that is there"
        raise UsageError(message) from None
    return len(cells)


_COMMENT = "Cells that decide what the windows of a case leave open; written by `explain --write-cells`."


def _hold_out(case: Case, origin: Origin, options: dict[str, Any]) -> None:
    from harness.explain.learn import hold_out

    seeds = range(options["seeds"])
    result = hold_out(
        case.name,
        origin.records,
        options["hold_out"],
        seeds,
        by_kind=options["signatures"],
        packages=_packages(case),
    )
    if result is None:
        click.echo(f"too little was measured of {case.name} in {origin.words} to leave something out", err=True)
        sys.exit(int(ExitStatus.NOTHING_MEASURED))
    accuracies = [trial.accuracy for trial in result.trials]
    if options["as_json"]:
        data = {
            "origin": origin.words,
            "case": case.name,
            "cells": result.cells,
            "left_out": result.left_out,
            "accuracy": result.accuracy,
            "always_passed": result.always_passed,
            "trials": [
                {"seed": trial.seed, "asked": trial.asked, "right": trial.right, "accuracy": trial.accuracy}
                for trial in result.trials
            ],
        }
        click.echo(json.dumps(data, indent=1))
        return
    click.echo(f"from {origin.words}: {case.name}, {result.left_out} of {result.cells} cells left out")
    what = "outcome and kind" if options["signatures"] else "outcome"
    click.echo(
        f"{what} predicted right: {result.accuracy:.1%} on average over {len(accuracies)} seeds, "
        f"{min(accuracies):.1%} to {max(accuracies):.1%}"
    )
    click.echo(f"somebody who always says 'passed' would be right in {result.always_passed:.1%}")
    for (actual, predicted), count in result.misses[:5]:
        click.echo(f"  {count:>5} x {actual.outcome} was predicted as {predicted.outcome}")
