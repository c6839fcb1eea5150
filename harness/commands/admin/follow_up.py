"""``admin follow-up``: one issue for each cause of a night, closed when it is green again."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from harness.program import example

if TYPE_CHECKING:
    from harness.followup.issues import Action, Cause
    from harness.judge.summary import Summary


@click.command("follow-up", epilog=example("admin follow-up --dry-run"))
@click.argument("run_id", metavar="[RUN]", required=False)
@click.option("--dry-run", is_flag=True, help="Print what would be done; read no issues and write none.")
@click.option(
    "--confirm/--no-confirm", default=True, show_default=True,
    help="Measure the representative of each cause again; what passes then is flaky, and is not told.",
)  # fmt: skip
def follow_up(run_id: str | None, dry_run: bool, confirm: bool) -> None:  # noqa: FBT001
    """Open, update, reopen and close the issues of a run (the newest): one for each cause that needs a person.

    In a job of GitHub Actions the repository and the token are those of the job (GITHUB_REPOSITORY, GITHUB_TOKEN,
    GITHUB_API_URL); the issues carry the label prompt-bench, and nobody else's are touched.
    """
    from harness.flow import among_published
    from harness.followup.issues import decide
    from harness.followup.text import causes_of
    from harness.followup.tracker import Tracker
    from harness.judge.summary import summarise
    from harness.matrix.cases import load_cases
    from harness.run.runs import find_run

    run = find_run(run_id)
    tracker = None if dry_run else Tracker(os.environ)
    # What is measured again below is not given the token.
    os.environ.pop("GITHUB_TOKEN", None)
    summary = among_published(summarise(run, load_cases()))
    causes = causes_of(summary)
    if confirm and causes:
        causes = _confirmed(causes, summary)
    actions = decide(tracker.issues() if tracker else (), causes, summary.judged, run.id)
    click.echo(f"{len(causes)} causes need a person in run {run.id}, {len(actions)} issues to write")
    for action in actions:
        click.echo(tracker.do(action) if tracker else _shown(action))


def _confirmed(causes: list[Cause], summary: Summary) -> list[Cause]:
    """Measure the first place of each cause again, in the cell in which it failed; leave out what passes now."""
    from harness.contracts.record import FAILED
    from harness.contracts.records import read_run, variants_in
    from harness.followup.issues import place_of
    from harness.followup.text import groups_to_tell
    from harness.interface import variant_id
    from harness.judge.windows import declared
    from harness.matrix.cases import load_cases
    from harness.matrix.plan import Selection
    from harness.matrix.read import load_matrix
    from harness.run.pipeline import How, run_matrix
    from harness.run.runs import new_run

    matrix, cases = load_matrix(summary.matrix), load_cases()
    kept = []
    for cause, group in zip(causes, groups_to_tell(summary), strict=True):
        first = group.representative
        if first.record is None:
            kept.append(cause)
            continue
        again = new_run(f"again-{summary.run}")
        case = f"{first.case}:{variant_id(declared(first.variant))}"
        selection = Selection(case=case, cells=(first.cell,), device=first.variant["device"])
        run_matrix(matrix, cases, selection, again, How(fresh=True, jobs=1))
        outcomes = {one.outcome for one in variants_in(read_run(again.folder)) if one.variant == dict(first.variant)}
        if outcomes and not outcomes & FAILED:
            click.echo(f"flaky: {place_of(first)} in {first.cell} passes when it is measured again; not told", err=True)
        else:
            kept.append(cause)
    return kept


def _shown(action: Action) -> str:
    number = "" if action.number is None else f" #{action.number}"
    lines = [f"would {action.kind}{number} {action.title}".rstrip(), action.comment, action.body]
    return "\n".join(line for line in lines if line)
