"""The commands. Each one is a few lines that call the flow."""

from __future__ import annotations

import signal
import sys
from typing import TYPE_CHECKING, Any

import click

from harness.catalogue import load_cases
from harness.errors import ExitStatus, HarnessError
from harness.locks import lock_book
from harness.matrix import MATRICES, load_matrix
from harness.pipeline import run_matrix
from harness.plan import Selection, concrete_device, plan_run
from harness.runs import Run, find_run, new_run

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


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
def cli() -> None:
    r"""Reproduce what breaks prompt learning in PEFT, on real releases.

    \b
    Example: python -m harness run documented
             python -m harness here --case generate_with_cache
    """


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


@cli.command(epilog="Example: python -m harness run documented --case 'prompt_tuning_guide' --cell peft0.13.0")
@click.argument("matrix")
@_case_option
@_cell_option
@_base_option
@_device_option
@_shard_option
@click.option("--resume", metavar="RUN", help="Go on with a run that was stopped.")
@click.option("--run-id", metavar="RUN", help="Name the run; sessions that share a name share the run.")
@click.option("--fresh", is_flag=True, help="Measure again what is known already.")
@click.option("--relock", is_flag=True, help="Resolve again instead of using the kept locks.")
@click.option("-j", "--jobs", type=click.IntRange(1), help="Bases at a time (default: cores, as memory allows).")
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
    flags = {name: options.pop(name) for name in ("fresh", "relock", "jobs")}
    this = find_run(resume) if resume else Run(id=run_id) if run_id else new_run(loaded.name)
    selection = Selection(case=case, device=concrete_device(device), **options)
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
    for path in write_reports(_print(this)):
        click.echo(f"wrote {path}")


@cli.command(epilog="Example: python -m harness gate; echo $?")
@click.argument("run_id", metavar="[RUN]", required=False)
def gate(run_id: str | None) -> None:
    """Judge RUN (the newest): exit 0 all as expected, 1 somebody has to look, 3 nothing measured."""
    from harness.report.terminal import console, print_attention
    from harness.summary import summarise

    summary = summarise(find_run(run_id), load_cases())
    status = summary.exit_status()
    words = {
        ExitStatus.AS_EXPECTED: "all as expected",
        ExitStatus.NEEDS_A_PERSON: "a verdict needs a person",
        ExitStatus.NOTHING_MEASURED: "nothing was measured",
    }
    print_attention(summary, console())
    click.echo(f"gate: {words[status]} (exit {int(status)})")
    sys.exit(int(status))


@cli.command(epilog="Example: python -m harness merge shard-1 shard-2 --run-id nightly")
@click.argument("run_ids", metavar="RUN...", nargs=-1, required=True)
@click.option("--run-id", default="merged", show_default=True, help="Name of the joined run.")
@click.option("--matrix", help="Hold the joined run against all of this matrix: what no shard measured is unknown.")
def merge(run_ids: tuple[str, ...], run_id: str, matrix: str | None) -> None:
    """Join runs that measured parts of one matrix into one run."""
    from harness.merge import merge_runs

    this = merge_runs([find_run(one) for one in run_ids], Run(id=run_id))
    if matrix is not None:
        selection = Selection(device=this.plan()["device"])
        this.add_plan(this.plan(), plan_run(load_matrix(matrix), load_cases(), selection))
    click.echo(f"run {this.id}: {len(this.plan()['cells'])} cells from {len(run_ids)} runs")


@cli.command(epilog="Example: python -m harness prove grid --cells 20")
@click.argument("matrix")
@_case_option
@click.option("--cells", "count", type=click.IntRange(1), default=20, show_default=True, help="Cells to compare.")
@click.option("-j", "--jobs", type=click.IntRange(1), help="Environments at a time (default: as memory allows).")
def prove(matrix: str, case: str | None, count: int, jobs: int | None) -> None:
    """Measure cells of MATRIX in layered and in plain environments; fail if one record differs."""
    from harness.measure import free_memory_jobs
    from harness.proof import prove as measure_both

    selection = Selection(case=case)
    compared, differing = measure_both(
        load_matrix(matrix), load_cases(), selection, count=count, jobs=jobs or free_memory_jobs()
    )
    for layered, plain in differing:
        about = layered or plain or {}
        name = "-".join(about.get("variant", {}).values())
        told = [(one or {}).get("outcome") or (one or {}).get("message") or "nothing" for one in (layered, plain)]
        click.echo(f"differs: {about['cell']['id']} {about.get('case')} {name}: layered {told[0]}, plain {told[1]}")
    click.echo(f"{compared} records compared, {len(differing)} differ")
    if not compared:
        sys.exit(int(ExitStatus.NOTHING_MEASURED))
    sys.exit(int(ExitStatus.NEEDS_A_PERSON) if differing else 0)


def _print(this: Run) -> Any:
    from harness.report.terminal import console, print_summary
    from harness.summary import summarise

    summary = summarise(this, load_cases())
    print_summary(summary, console())
    return summary
