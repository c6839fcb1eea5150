"""``against``: what a change of one package breaks and mends."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from harness.commands.options import case_option, device_option
from harness.errors import ExitStatus, UsageError
from harness.groups import INTERRUPTED
from harness.program import example

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from harness.against.render import Format
    from harness.against.told import Told

FORMATS = ("terminal", "github-comment", "junit", "reportlog", "json")


@click.command(epilog=example("against 0.13.0 0.13.1 --with 4.45.1 --case generate_with_cache:gpt2 --quick"))
@click.argument("before")
@click.argument("after")
@click.option(
    "--package", type=click.Choice(["peft", "transformers"]), default="peft", show_default=True,
    help="The package that BEFORE and AFTER are of.",
)  # fmt: skip
@click.option(
    "--with", "companions", metavar="PINS", multiple=True,
    help="What stands beside both: a version, or transformers==5.24.0,accelerate==1.2; repeatable.",
)  # fmt: skip
@click.option("--as-of", type=click.DateTime(["%Y-%m-%d"]), help="Take everything else as it was on this day.")
@case_option
@device_option
@click.option("--quick", is_flag=True, help="End after the quick ring: a variant for each case and method.")
@click.option("--table", is_flag=True, help="List every variant that changed.")
@click.option(
    "--format", "forms", metavar="FORMAT[=FILE]", multiple=True,
    help=f"{', '.join(FORMATS)}; repeatable (default: terminal).",
)  # fmt: skip
@click.option(
    "--budget",
    type=click.FloatRange(0),
    default=0.0,
    help="Seconds of timing side by side, as compare does (default: none).",
)
@click.option("-j", "--jobs", type=click.IntRange(1), help="Workers at a time (default: cores, as memory allows).")
def against(before: str, after: str, forms: Sequence[str], **options: Any) -> None:
    """Say what changes from BEFORE to AFTER, and nothing else.

    Each is a release, main or pull/N/head (of the package's own repository), git+URL@REF with any branch,
    tag or commit, or the path of a checkout, as its files are; or both are runs. Exit status: 1 when something
    broke, 3 when nothing could be compared.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    outputs = _outputs(forms)
    table = options.pop("table")
    try:
        told = _of_runs(before, after) or _measured(before, after, **options)
    except KeyboardInterrupt:
        click.echo("interrupted; what was measured is known when you ask again", err=True)
        raise SystemExit(INTERRUPTED) from None
    _write(told, outputs, table=table)
    sys.exit(int(_status(told)))


def _outputs(forms: Sequence[str]) -> list[tuple[Format, Path | None]]:
    from harness.against.render import Format

    outputs = []
    for text in forms or ("terminal",):
        name, _, path = text.partition("=")
        if name not in FORMATS:
            message = f"--format {name!r} is none of {', '.join(FORMATS)}; write one of them, or FORMAT=FILE"
            raise UsageError(message)
        outputs.append((Format(name), Path(path) if path else None))
    return outputs


def _of_runs(before: str, after: str) -> Told | None:
    """Return the difference of two runs; None when neither name is that of a run."""
    from harness.against.flow import of_runs
    from harness.paths import reports_folder
    from harness.run.runs import Run

    plans = [reports_folder() / "runs" / name / "plan.json" for name in (before, after)]
    there = [("/" not in name and path.is_file()) for name, path in zip((before, after), plans, strict=True)]
    if not any(there):
        return None
    if not all(there):
        other = after if there[0] else before
        message = f"{other!r} is no run, and the other side is one; name two runs, or two versions"
        raise UsageError(message)
    return of_runs(Run(id=before), Run(id=after))


def _measured(
    before: str, after: str, *, package: str, companions: Sequence[str], as_of: Any, case: str | None, device: str,
    quick: bool, budget: float, jobs: int | None,
) -> Told:  # fmt: skip
    from dataclasses import replace

    from harness.against.companions import default_companions
    from harness.against.flow import Against
    from harness.against.question import LEFT_OUT, Question, fixed, read_companion, spelled_out
    from harness.against.render import answer_of, terminal
    from harness.matrix.cases import load_cases
    from harness.matrix.plan import Selection, concrete_device
    from harness.run.runs import new_run

    cases = load_cases()
    chosen: tuple[Mapping[str, str], ...] = tuple(read_companion(one, package) for one in companions)
    skipped: tuple[str, ...] = ()
    if not chosen:
        chosen, skipped = default_companions(package)
    question = Question(
        package=package, before=fixed(spelled_out(before, package)),
        after=fixed(spelled_out(after, package)), companions=chosen,
        as_of=as_of.date() if as_of else None, cases=tuple(case.split(",")) if case else LEFT_OUT,
    )  # fmt: skip
    selection = Selection(case=case, device=concrete_device(device))
    comparison = Against(question, cases, selection, new_run("against"), jobs=jobs)
    told = comparison.measure(quick=True)
    if not quick:
        click.echo(terminal(answer_of(told)), err=True)
        told = comparison.measure(quick=False)
    if budget:
        told = replace(told, timed=comparison.timed(budget))
    return replace(told, skipped=(*told.skipped, *skipped))


def _write(told: Told, outputs: Sequence[tuple[Format, Path | None]], *, table: bool) -> None:
    from harness.against.render import render

    for form, path in outputs:
        text = render(told, form, table=table)
        if path is None:
            click.echo(text)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text + "\n", encoding="utf-8", errors="backslashreplace")
            click.echo(f"wrote {path}", err=True)


def _status(told: Told) -> ExitStatus:
    from harness.latency.statistics import Difference

    if not told.difference.count:
        return ExitStatus.NOTHING_MEASURED
    slower = any(row.difference is Difference.SLOWER for row in told.timed)
    return ExitStatus.NEEDS_A_PERSON if told.difference.breaks or slower else ExitStatus.AS_EXPECTED
