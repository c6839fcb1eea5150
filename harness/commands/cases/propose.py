"""``cases propose``: the edit of what is expected that would make every record expected."""

from __future__ import annotations

import click

from harness.program import example


@click.command(epilog=example("cases propose --run guide"))
@click.option("--run", "run_id", metavar="RUN", help="Hold what is expected against this run, too.")
@click.option("--write", is_flag=True, help="Change the files instead of printing a diff.")
def propose(run_id: str | None, write: bool) -> None:  # noqa: FBT001
    """Print the diff of cases/expected/ after which every record is as expected.

    The records are the published references, and those of --run. An entry that is right is left alone; the others are
    drawn anew over the records that they account for. What no entry accounts for gets entries of the defect
    "unattributed": a person names the cause, in a file of cases/defects/.
    """
    from harness.explain.propose import diff_of, proposed, proposed_diff, write_expected
    from harness.judge.origin import published_with
    from harness.matrix.cases import load_cases
    from harness.matrix.expected import expected_path

    origin = published_with(run_id)
    records, words = origin.records, origin.words or "no records"
    cases = load_cases()
    diff = proposed_diff(cases, records)
    if write:
        for case in cases:
            after = proposed(case, records)
            if diff_of(case, after):
                write_expected(case, after)
                click.echo(f"wrote {expected_path(case.path)}", err=True)
    else:
        click.echo(diff, nl=False)
    click.echo(f"held against {words}" if diff else f"{words}: no entry has to change", err=True)
