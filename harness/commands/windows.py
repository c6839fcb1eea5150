"""``check`` and ``propose``: expectation windows against what was measured."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from harness.errors import ExitStatus

if TYPE_CHECKING:
    from harness.contracts.records import Record

_run_option = click.option("--run", "run_id", metavar="RUN", help="Hold the windows against this run, too.")


@click.command(epilog="Example: python -m harness check")
@_run_option
def check(run_id: str | None) -> None:
    """Hold every expectation window against the published reference records.

    Told with file and line: windows that overlap, that no measured cell is in, that reach past the
    measured versions, whose signature matches nothing; and failures that no window covers.
    """
    from harness.explain.propose import unexpected
    from harness.judge.expectations import check_windows, describe, expectation_nodes
    from harness.matrix.cases import load_cases

    cases, records, words = load_cases(), *_records(run_id)
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
        click.echo("to see windows that say what was measured: python -m harness propose")
        sys.exit(int(ExitStatus.NEEDS_A_PERSON))


@click.command(epilog="Example: python -m harness propose --run nightly-20261121-031700 | git apply")
@_run_option
@click.option("--write", is_flag=True, help="Change the case files instead of printing a diff.")
def propose(run_id: str | None, write: bool) -> None:  # noqa: FBT001
    """Print a diff of the case files after which every record is as expected.

    The records are the published references, and those of --run. A window that is right is left
    alone; the others are drawn anew over the records that they account for. Read it before you
    apply it: a window says what is, and whether that is right is for a person.
    """
    from harness.explain.propose import diff_of, proposed, proposed_diff
    from harness.matrix.cases import load_cases

    records, words = _records(run_id)
    cases = load_cases()
    diff = proposed_diff(cases, records)
    if write:
        for case in cases:
            after = proposed(case, case.path.read_text(encoding="utf-8"), records)
            if diff_of(case, after):
                case.path.write_text(after, encoding="utf-8")
                click.echo(f"wrote {case.path}", err=True)
    else:
        click.echo(diff, nl=False)
    click.echo(f"held against {words}" if diff else f"{words}: no window has to change", err=True)


def _records(run_id: str | None) -> tuple[list[Record], str]:
    from harness.commands.origin import origin_of
    from harness.judge.reference import published

    origin = origin_of(published(), [run_id] if run_id else [])
    return origin.records, origin.words or "no records"
