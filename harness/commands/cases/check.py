"""``cases check``: expectation windows against what was measured."""

from __future__ import annotations

import sys

import click

from harness.errors import ExitStatus
from harness.program import PROGRAM, example


@click.command(epilog=example("cases check --run guide"))
@click.option("--run", "run_id", metavar="RUN", help="Hold the windows against this run, too.")
def check(run_id: str | None) -> None:
    """Hold the expectation windows against the published records.

    Told with file and line: windows that overlap, that no measured cell is in, that reach past the
    measured versions, whose signature matches nothing; and failures that no window covers.
    """
    from harness.explain.propose import unexpected
    from harness.judge.expectations import check_windows, describe, expectation_nodes
    from harness.judge.origin import published_with
    from harness.matrix.cases import load_cases

    cases, origin = load_cases(), published_with(run_id)
    records, words = origin.records, origin.words or "no records"
    count = windows = 0
    for case in cases:
        lines = [node.lineno for node in expectation_nodes(case.path.read_text(encoding="utf-8"))]
        windows += len(lines)
        for problem in check_windows(case, records, lines):
            click.echo(f"cases/{case.path.name}:{problem.line}: {problem.text}")
            count += 1
        if left := unexpected(case, records):
            click.echo(f"cases/{case.path.name}: {len(left)} records are in no window, e.g. {describe(left[0])}")
            count += 1
    click.echo(f"{windows} windows of {len(cases)} cases held against {words}: {count} problems")
    if count:
        click.echo(f"to see windows that say what was measured: {PROGRAM} cases propose")
        sys.exit(int(ExitStatus.NEEDS_A_PERSON))
