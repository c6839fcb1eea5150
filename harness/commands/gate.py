"""``gate``: judge a run, and say so with the exit status."""

from __future__ import annotations

import click

from harness.errors import ExitStatus
from harness.judge.verdicts import Verdict

_WATCHED = [str(one) for one in Verdict if one is not Verdict.AS_EXPECTED]


@click.command(epilog="Example: python -m harness gate --fail-on regressed --fail-on changed; echo $?")
@click.argument("run_id", metavar="[RUN]", required=False)
@click.option(
    "--fail-on", "fail_on", multiple=True, type=click.Choice(_WATCHED),
    help="Fail on this verdict only; repeatable (default: all of them).",
)  # fmt: skip
@click.option("--case", metavar="EXPR", help="Judge these cases only, e.g. 'generate_with_cache:bloom'.")
@click.option(
    "--cell", "cells", metavar="ID", multiple=True, help="Judge this cell only; repeatable, may be a beginning."
)
def gate(run_id: str | None, fail_on: tuple[str, ...], case: str | None, cells: tuple[str, ...]) -> None:
    """Judge RUN (the newest): exit 0 all as expected, 1 somebody has to look, 3 nothing measured.

    What is expected stands in the case files; what was asked for and not measured is unknown,
    and fails.
    """
    from harness.judge.summary import summarise
    from harness.matrix.cases import load_cases
    from harness.report.terminal import console, print_attention
    from harness.run.runs import find_run

    summary = summarise(find_run(run_id), load_cases()).part(case, cells)
    watched = frozenset(fail_on or _WATCHED)
    status = summary.exit_status(watched)
    words = {
        ExitStatus.AS_EXPECTED: "all as expected",
        ExitStatus.NEEDS_A_PERSON: "a verdict needs a person",
        ExitStatus.NOTHING_MEASURED: "nothing was measured",
    }
    print_attention(summary, console())
    left = len(summary.for_a_person()) + len(summary.cells_for_a_person())
    told = words[status]
    if status is ExitStatus.AS_EXPECTED and left:
        told = f"{left} verdicts need a person, but none is {' or '.join(sorted(watched))}"
    click.echo(f"gate: {told} (exit {int(status)})")
    raise SystemExit(int(status))
