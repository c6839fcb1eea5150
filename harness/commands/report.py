"""``report``: draw a run, judge it, and say the verdict with the exit status."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from harness.commands.options import case_option, cell_option
from harness.errors import ExitStatus, UsageError
from harness.judge.verdicts import Verdict
from harness.program import example

if TYPE_CHECKING:
    from harness.judge.summary import Summary
    from harness.run.runs import Run

_WATCHED = [str(one) for one in Verdict if one is not Verdict.AS_EXPECTED]
_NEVER = "never"
_WORDS = {
    ExitStatus.AS_EXPECTED: "all as expected",
    ExitStatus.NEEDS_A_PERSON: "a verdict needs a person",
    ExitStatus.NOTHING_MEASURED: "nothing was measured",
}


@click.command(epilog=example("report", "report guide --fail-on regressed --fail-on changed"))
@click.argument("run_id", metavar="[RUN]", required=False)
@click.option(
    "--fail-on", multiple=True, type=click.Choice([*_WATCHED, _NEVER]),
    help="Fail on this verdict only; repeatable (default: all of them). never: draw, and exit with 0.",
)  # fmt: skip
@case_option
@cell_option
def report(run_id: str | None, fail_on: tuple[str, ...], case: str | None, cells: tuple[str, ...]) -> None:
    """Draw a run (the newest) and judge it: the exit status says the verdict.

    The grid is printed; Markdown, HTML, JUnit XML and JSON of the whole run go to reports/latest/. With --case or
    --cell only that part is printed and judged. Exit status: 0 all as expected, 1 a verdict needs a person, 3 nothing
    was measured. What is expected stands with the cases; what was asked for and not measured is unknown, and fails.
    """
    from harness.judge.summary import summarise
    from harness.matrix.cases import load_cases
    from harness.report.files import write_reports
    from harness.report.terminal import console, print_summary
    from harness.run.runs import find_run

    if _NEVER in fail_on and len(fail_on) > 1:
        message = "--fail-on never stands alone; leave it out, or the other verdicts"
        raise UsageError(message)
    this = find_run(run_id)
    whole = summarise(this, load_cases())
    part = whole.part(case, cells) if case or cells else whole
    print_summary(part, console())
    for path in write_reports(whole, _proposal(this, {one.case for one in whole.for_a_person()})):
        click.echo(f"wrote {path}")
    if _NEVER in fail_on:
        return
    status, told = _verdict(part, frozenset(fail_on or _WATCHED))
    click.echo(f"verdict: {told} (exit {int(status)})")
    raise SystemExit(int(status))


def _verdict(summary: Summary, watched: frozenset[str]) -> tuple[ExitStatus, str]:
    status = summary.exit_status(watched)
    left = len(summary.for_a_person()) + len(summary.cells_for_a_person())
    if status is ExitStatus.AS_EXPECTED and left:
        return status, f"{left} verdicts need a person, but none is {' or '.join(sorted(watched))}"
    return status, _WORDS[status]


def _proposal(this: Run, names: set[str]) -> str:
    """Return the diff of some cases after which a run's records are expected; empty when no windows can say it."""
    from harness.errors import CaseError
    from harness.explain.propose import proposed_diff
    from harness.judge.origin import published_with
    from harness.matrix.cases import load_cases

    cases = tuple(case for case in load_cases() if case.name in names)
    try:
        return proposed_diff(cases, published_with(this.id).records) if cases else ""
    except CaseError as error:
        click.echo(f"no edit of the windows is proposed: {error}", err=True)
        return ""
