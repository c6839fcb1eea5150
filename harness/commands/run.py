"""``run``: measure what is not known yet of a matrix."""

from __future__ import annotations

import re
import signal
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from harness.commands.options import (
    base_option,
    case_option,
    cell_option,
    device_option,
    minor_version,
    shard_option,
)
from harness.groups import INTERRUPTED
from harness.matrix.weights import DTYPES
from harness.program import PROGRAM, example

if TYPE_CHECKING:
    from harness.matrix.cases import Case
    from harness.matrix.plan import Selection
    from harness.matrix.spec import Matrix
    from harness.run.runs import Run


@click.command(epilog=example("run documented --case prompt_tuning_guide --cell peft0.13.0-st3.1 --run-id guide"))
@click.argument("matrix")
@case_option
@cell_option
@base_option
@device_option
@shard_option
@click.option(
    "--python", metavar="MINOR", callback=minor_version, help="Measure the cells with this Python, such as 3.12."
)
@click.option("--weights", metavar="FAMILY=PATH_OR_NAME", multiple=True, help="Real weights for a family; repeatable.")
@click.option("--dtype", type=click.Choice(DTYPES), help="Of real weights (default: float32).")
@click.option("--device-map", metavar="MAP", help="Of real weights, such as 'auto'; for who has accelerate.")
@click.option("--resume", metavar="RUN", help="Go on with a run that was stopped.")
@click.option("--run-id", metavar="RUN", help="Name the run; sessions that share a name share the run.")
@click.option("--quick", is_flag=True, help="Only a variant for each case and method, of all families in turn.")
@click.option("--fresh", is_flag=True, help="Measure again what is known already.")
@click.option("--relock", is_flag=True, help="Resolve again instead of using the kept locks.")
@click.option("-j", "--jobs", type=click.IntRange(1), help="Bases at a time (default: cores, as memory allows).")
@click.option("--fork/--no-fork", default=True, help="Fork for each cell (default), or start a fresh process.")
@click.option("--quiet", is_flag=True, help="Leave out the grid at the end.")
@click.option("--report", "reported", is_flag=True, help="Go on as `report` does: reports, verdict, exit status.")
def run(matrix: str, case: str | None, device: str, **options: Any) -> None:
    """Measure what is not known yet of MATRIX, a name in matrices/ or a path.

    What earlier runs know is not measured again. The exit status is 0 when measuring itself
    went well, whatever it found (`report` judges, and so does --report), and 3 when no cell's
    source could be reached.
    """
    from harness.contracts.records import nothing_was_reachable, read_run
    from harness.errors import ExitStatus
    from harness.flow import main_job
    from harness.judge.summary import summarise
    from harness.matrix.cases import load_cases
    from harness.matrix.plan import Selection, concrete_device, with_python
    from harness.matrix.read import load_matrix
    from harness.matrix.weights import read_weights
    from harness.report.shown import shown
    from harness.report.terminal import console, print_summary
    from harness.run.pipeline import How, run_matrix
    from harness.run.runs import Run, find_run, new_run

    # nox and CI end sessions with SIGTERM; what was measured is kept as after Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if options["resume"] and options["run_id"]:
        message = "give --resume or --run-id; under nox: PROMPT_BENCH_RUN=RUN nox -s matrix"
        raise click.UsageError(message)
    if options["shard"] and options["bases"]:
        message = "--shard splits all bases, --base names one; give one of them"
        raise click.UsageError(message)
    shard, quick = options.pop("shard"), options.pop("quick")
    quiet, reported = options.pop("quiet"), options.pop("reported")
    loaded, cases, python = load_matrix(matrix), load_cases(), options.pop("python")
    if python:
        loaded = with_python(loaded, python)
        # Sessions name their base with the Python of the matrix.
        options["bases"] = tuple(re.sub(r"-py3\.\d+$", f"-py{python}", one) for one in options["bases"])
    resume, run_id = options.pop("resume"), options.pop("run_id")
    how = How(**{name: options.pop(name) for name in ("fresh", "relock", "jobs", "fork")})
    this = find_run(resume) if resume else Run(id=run_id) if run_id else new_run(loaded.name)
    real = read_weights(options.pop("weights"), dtype=options.pop("dtype"), device_map=options.pop("device_map"))
    selection = Selection(case=case, device=concrete_device(device), weights=real, **options)
    selection = _part(loaded, cases, selection, quick=quick, shard=shard)
    try:
        if reported:
            status = main_job(loaded, cases, selection, this, how)
            _tell_left_out(this, python)
            raise SystemExit(int(status))
        run_matrix(loaded, cases, selection, this, how)
        _tell_left_out(this, python)
    except KeyboardInterrupt:
        click.echo(f"interrupted; go on with: {PROGRAM} run {matrix} --resume {this.id}", err=True)
        raise SystemExit(INTERRUPTED) from None
    click.echo(f"run {this.id}", err=True)
    if not quiet:
        print_summary(shown(summarise(this, cases)), console())
    if nothing_was_reachable(read_run(this.folder)):
        click.echo(
            "nothing was measured: no cell's source could be reached; see the words above, and try again", err=True
        )
        raise SystemExit(int(ExitStatus.NOTHING_MEASURED))


def _part(
    matrix: Matrix, cases: tuple[Case, ...], selection: Selection, *, quick: bool, shard: tuple[int, int] | None
) -> Selection:
    """Narrow a selection to its quick ring, and to a shard of that."""
    from harness.against.question import quick_ring
    from harness.judge.reference import in_shard
    from harness.matrix.plan import plan_run

    if quick:
        planned = plan_run(matrix, cases, selection)
        selection = replace(selection, case=quick_ring([one for cell in planned for one in cell.variants]))
    if shard:
        planned = in_shard(matrix, plan_run(matrix, cases, selection), shard)
        selection = replace(selection, shard=frozenset(one.cell.id for one in planned))
    return selection


def _tell_left_out(run: Run, python: str | None) -> None:
    """Name the cells that another Python than the matrix's does not allow."""
    from harness.contracts.record import StateRecord
    from harness.contracts.records import read_run

    if python is None:
        return
    left_out = {one.cell.id: one.state for one in read_run(run.folder) if isinstance(one, StateRecord)}
    for cell, state in left_out.items():
        click.echo(f"not with Python {python}: {cell} ({state})", err=True)
