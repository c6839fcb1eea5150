"""``report``: draw a run, judge it, and say the verdict with the exit status."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from harness.commands.options import case_option, cell_option
from harness.errors import UsageError
from harness.judge.verdicts import Verdict
from harness.program import example

_WATCHED = [str(one) for one in Verdict if one is not Verdict.AS_EXPECTED]
_NEVER = "never"


@click.command(epilog=example("report", "report guide --fail-on regressed --fail-on changed"))
@click.argument("run_id", metavar="[RUN]", required=False)
@click.option(
    "--fail-on", multiple=True, type=click.Choice([*_WATCHED, _NEVER]),
    help="Fail on this verdict only; repeatable (default: all of them). never: draw, and exit with 0.",
)  # fmt: skip
@click.option("--since", metavar="RUN", help="Say what changed since this run (default: since last time).")
@click.option(
    "--site", type=click.Path(file_okay=False, path_type=Path), metavar="DIR",
    help="Write the published knowledge as static pages here, and draw no run.",
)  # fmt: skip
@case_option
@cell_option
def report(
    run_id: str | None,
    fail_on: tuple[str, ...],
    since: str | None,
    site: Path | None,
    **selected: Any,
) -> None:
    """Draw a run (the newest) and judge it: the exit status says the verdict.

    The grid is printed; Markdown, HTML, JUnit XML and JSON of the whole run go to reports/latest/. With --case or
    --cell only that part is printed and judged. Exit status: 0 all as expected, 1 a verdict needs a person, 3 nothing
    was measured. What is expected stands with the cases; what was asked for and not measured is unknown, and fails.
    """
    from harness.flow import judge_and_report, watched_verdicts
    from harness.matrix.cases import load_cases
    from harness.run.runs import find_run

    if site is not None:
        if run_id or fail_on or since or any(selected.values()):
            message = "--site DIR stands alone: it is about everything that is published; leave the rest out"
            raise UsageError(message)
        from harness.report.pages.site import write_site

        written = write_site(site, load_cases())
        click.echo(f"wrote {len(written)} files; open {written[0]}")
        return
    watched = watched_verdicts(fail_on, _NEVER)
    status = judge_and_report(find_run(run_id), load_cases(), watched=watched, since=since, **selected)
    raise SystemExit(int(status))
