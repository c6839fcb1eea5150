"""The commands. Each one is a few lines that call the flow."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Any

import click

from harness.commands.advise import advise
from harness.commands.baseline import baseline
from harness.commands.bisect import bisect
from harness.commands.calibrate import calibrate
from harness.commands.catalogue import catalogue
from harness.commands.claims import claims
from harness.commands.clean import clean
from harness.commands.compare import compare
from harness.commands.explain import explain
from harness.commands.gate import gate
from harness.commands.prove import prove
from harness.commands.publish import publish
from harness.commands.repro import repro
from harness.commands.repro_check import repro_check
from harness.commands.steady import steady
from harness.commands.summaries import SUMMARIES
from harness.commands.watch import watch
from harness.commands.windows import check, propose
from harness.environments.locks import lock_book
from harness.errors import ExitStatus, HarnessError
from harness.matrix.cases import load_cases
from harness.matrix.plan import Selection, concrete_device, plan_run
from harness.matrix.read import MATRICES, load_matrix
from harness.matrix.weights import DTYPES, read_weights
from harness.run.pipeline import run_matrix
from harness.run.runs import Run, find_run, new_run

if TYPE_CHECKING:
    from collections.abc import Sequence

_INTERRUPTED = 130


class _Commands(click.Group):
    """Turns every refusal of the harness into one clear line and its exit status."""

    def main(self, args: Sequence[str] | None = None, *rest: Any, **options: Any) -> Any:
        try:
            return super().main(args, *rest, **{**options, "standalone_mode": False})
        except HarnessError as error:
            click.echo(str(error), err=True)
            raise SystemExit(int(error.exit_status)) from None
        except click.ClickException as error:
            error.show()
            raise SystemExit(int(ExitStatus.BAD_USAGE)) from None
        except (click.Abort, KeyboardInterrupt):
            click.echo("interrupted; what was measured is kept", err=True)
            raise SystemExit(_INTERRUPTED) from None


@click.group(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Example: python -m harness run documented; python -m harness COMMAND --help has one for each",
)
def cli() -> None:
    """Reproduce what breaks prompt learning in PEFT, on real releases."""


_case_option = click.option("--case", metavar="EXPR", help="Case names or patterns, e.g. 'generate_with_cache:bloom'.")
_cell_option = click.option(
    "--cell", "cells", metavar="ID", multiple=True, help="A cell's id or its beginning; repeatable."
)
_base_option = click.option(
    "--base", "bases", metavar="ID", multiple=True, help="A base's id or its beginning; repeatable."
)
_device_option = click.option("--device", type=click.Choice(["cpu", "cuda", "auto"]), default="cpu", show_default=True)


def _shard(_context: click.Context, _parameter: click.Parameter, value: str | None) -> tuple[int, int] | None:
    if value is None:
        return None
    first, slash, second = value.partition("/")
    if not (slash and first.isdigit() and second.isdigit() and 1 <= int(first) <= int(second)):
        message = f"{value!r} is not I/N with 1 <= I <= N, such as 1/4"
        raise click.BadParameter(message)
    return int(first), int(second)


_shard_option = click.option("--shard", metavar="I/N", callback=_shard, help="Every N-th base, from the I-th.")


@cli.command(epilog="Example: python -m harness plan documented --case generate_with_cache")
@click.argument("matrix", required=False)
@_case_option
@_cell_option
@_base_option
@_device_option
@_shard_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def plan(matrix: str | None, case: str | None, device: str, as_json: bool, **chosen: Any) -> None:  # noqa: FBT001
    """List the cells of MATRIX, cached or not, and what is excluded; touch nothing.

    Without MATRIX, list the matrices.
    """
    from harness.report.plan import print_matrices, print_plan

    if matrix is None:
        print_matrices([load_matrix(path.stem) for path in sorted(MATRICES.glob("*.toml"))])
        return
    loaded = load_matrix(matrix)
    planned = plan_run(loaded, load_cases(), Selection(case=case, device=concrete_device(device), **chosen))
    print_plan(loaded, planned, lock_book(loaded), as_json=as_json)


_EXAMPLE_OF_RUN = """Example: python -m harness run documented --case 'prompt_tuning_guide' --cell peft0.13.0

python -m harness run families --case generate_families --weights qwen3=PATH_OR_NAME --dtype bfloat16"""


@cli.command(epilog=_EXAMPLE_OF_RUN)
@click.argument("matrix")
@_case_option
@_cell_option
@_base_option
@_device_option
@_shard_option
@click.option("--weights", metavar="FAMILY=PATH_OR_NAME", multiple=True, help="Real weights for a family; repeatable.")
@click.option("--dtype", type=click.Choice(DTYPES), help="Of real weights (default: float32).")
@click.option("--device-map", metavar="MAP", help="Of real weights, such as 'auto'; for who has accelerate.")
@click.option("--resume", metavar="RUN", help="Go on with a run that was stopped.")
@click.option("--run-id", metavar="RUN", help="Name the run; sessions that share a name share the run.")
@click.option("--fresh", is_flag=True, help="Measure again what is known already.")
@click.option("--relock", is_flag=True, help="Resolve again instead of using the kept locks.")
@click.option("-j", "--jobs", type=click.IntRange(1), help="Bases at a time (default: cores, as memory allows).")
@click.option("--fork/--no-fork", default=True, help="Fork for each cell (default), or start a fresh process.")
@click.option("--quiet", is_flag=True, help="Leave out the grid at the end.")
def run(matrix: str, case: str | None, device: str, quiet: bool, **options: Any) -> None:  # noqa: FBT001
    """Measure MATRIX, a name in matrices/ or the path of a TOML file.

    What earlier runs know is not measured again. The exit status is 0 when measuring itself
    went well, whatever it found: `gate` judges.
    """
    # nox and CI end sessions with SIGTERM; what was measured is kept as after Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if options["resume"] and options["run_id"]:
        message = "give --resume or --run-id; under nox: PROMPT_BENCH_RUN=RUN nox -s matrix"
        raise click.UsageError(message)
    if options["shard"] and options["bases"]:
        message = "--shard takes every N-th base, --base names one; give one of them"
        raise click.UsageError(message)
    loaded, cases = load_matrix(matrix), load_cases()
    resume, run_id = options.pop("resume"), options.pop("run_id")
    flags = {name: options.pop(name) for name in ("fresh", "relock", "jobs", "fork")}
    this = find_run(resume) if resume else Run(id=run_id) if run_id else new_run(loaded.name)
    real = read_weights(options.pop("weights"), dtype=options.pop("dtype"), device_map=options.pop("device_map"))
    selection = Selection(case=case, device=concrete_device(device), weights=real, **options)
    try:
        run_matrix(loaded, cases, selection, this, **flags)
    except KeyboardInterrupt:
        click.echo(f"interrupted; go on with: python -m harness run {matrix} --resume {this.id}", err=True)
        raise SystemExit(_INTERRUPTED) from None
    click.echo(f"run {this.id}", err=True)
    if not quiet:
        _print(this)


@cli.command(epilog="Example: python -m harness report documented-20261121-010203")
@click.argument("run_id", metavar="[RUN]", required=False)
def report(run_id: str | None) -> None:
    """Draw RUN (the newest): the grid here; Markdown, HTML, JUnit and JSON under reports/latest/."""
    from harness.report.files import write_reports

    this = find_run(run_id)
    summary = _print(this)
    for path in write_reports(summary, _proposal(this) if summary.for_a_person() else ""):
        click.echo(f"wrote {path}")


@cli.command(epilog="Example: python -m harness merge shard-1 shard-2 --run-id nightly")
@click.argument("run_ids", metavar="RUN...", nargs=-1, required=True)
@click.option("--run-id", default="merged", show_default=True, help="Name of the joined run.")
@click.option("--matrix", help="Hold the joined run against all of this matrix: what no shard measured is unknown.")
def merge(run_ids: tuple[str, ...], run_id: str, matrix: str | None) -> None:
    """Join runs that measured parts of one matrix into one run."""
    from harness.run.merge import merge_runs

    this = merge_runs([find_run(one) for one in run_ids], Run(id=run_id))
    if matrix is not None:
        selection = Selection(device=this.plan()["device"])
        this.add_plan(this.plan(), plan_run(load_matrix(matrix), load_cases(), selection))
    click.echo(f"run {this.id}: {len(this.plan()['cells'])} cells from {len(run_ids)} runs")


for _command in (
    advise,
    baseline,
    bisect,
    calibrate,
    catalogue,
    check,
    claims,
    clean,
    compare,
    explain,
    gate,
    propose,
    prove,
    publish,
    repro,
    repro_check,
    steady,
    watch,
):
    cli.add_command(_command)


@cli.command()
def here() -> None:
    """Run the cases in the active environment, without installing anything."""
    # harness/__main__.py hands it over to a program that imports nothing of this one; here it is listed.
    message = "run it as: python -m harness here"
    raise click.UsageError(message)


for _name, _text in SUMMARIES.items():
    cli.commands[_name].short_help = _text


def _proposal(this: Run) -> str:
    """Give the diff that would make a run's records expected; none when no windows can say it."""
    from harness.commands.origin import origin_of
    from harness.errors import CaseError
    from harness.explain.propose import proposed_diff
    from harness.judge.reference import published

    try:
        return proposed_diff(load_cases(), origin_of(published(), [this.id]).records)
    except CaseError as error:
        click.echo(f"no edit of the windows is proposed: {error}", err=True)
        return ""


def _print(this: Run) -> Any:
    from harness.judge.summary import summarise
    from harness.report.terminal import console, print_summary

    summary = summarise(this, load_cases())
    print_summary(summary, console())
    return summary
