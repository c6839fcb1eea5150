"""``cases propose``: the edit of the case files that would make every record expected."""

from __future__ import annotations

import click

from harness.program import example


@click.command(epilog=example("cases propose --run guide"))
@click.option("--run", "run_id", metavar="RUN", help="Hold the windows against this run, too.")
@click.option("--write", is_flag=True, help="Change the case files instead of printing a diff.")
def propose(run_id: str | None, write: bool) -> None:  # noqa: FBT001
    """Print the diff of the case files after which every record is as expected.

    The records are the published references, and those of --run. A window that is right is left
    alone; the others are drawn anew over the records that they account for. Read it before you
    apply it: a window says what is, and whether that is right is for a person.
    """
    from harness.explain.propose import diff_of, proposed, proposed_diff
    from harness.judge.origin import published_with
    from harness.matrix.cases import load_cases

    origin = published_with(run_id)
    records, words = origin.records, origin.words or "no records"
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
