"""``admin follow-up``: one issue for each cause of a night, closed when it is green again."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from harness.commands.options import named_values
from harness.errors import UsageError
from harness.packages import WINDOW_AXES
from harness.program import example

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.followup.findings import Finding
    from harness.followup.investigate import Investigation
    from harness.followup.issues import Action
    from harness.judge.summary import Summary


def _clones(context: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    clones = named_values(context, parameter, values)
    if unknown := clones.keys() - set(WINDOW_AXES):
        message = f"no commits are looked for in {min(unknown)!r}; name {' or '.join(WINDOW_AXES)}"
        raise click.BadParameter(message)
    return clones


@click.command("follow-up", epilog=example("admin follow-up --dry-run"))
@click.argument("run_id", metavar="[RUN]", required=False)
@click.option("--dry-run", is_flag=True, help="Print what would be done; read no issues and write none.")
@click.option(
    "--confirm/--no-confirm", default=True, show_default=True,
    help="Measure the representative of each cause again; what passes then is flaky, and is not told.",
)  # fmt: skip
@click.option(
    "--budget", metavar="MINUTES", type=click.FloatRange(0), default=0.0, show_default=True,
    help="Wall time for all bisects and short scripts together; none with 0.",
)  # fmt: skip
@click.option("--clone", "clones", metavar="PACKAGE=PATH", multiple=True, callback=_clones, help="To find commits in.")
@click.option("--matrix", metavar="NAME", help="The matrix of the run, a name or a path (default: as the run says).")
@click.option(
    "--nights", type=click.Path(dir_okay=False, path_type=Path),
    help="A file of the last good night of each pair: what moved since is told, and it is written again.",
)  # fmt: skip
def follow_up(  # noqa: PLR0917 - click gives keywords
    run_id: str | None,
    dry_run: bool,  # noqa: FBT001
    confirm: bool,  # noqa: FBT001
    budget: float,
    clones: Mapping[str, str],
    matrix: str | None,
    nights: Path | None,
) -> None:
    """Open, update, reopen and close the issues of a run (the newest): one for each cause that needs a person.

    In a job of GitHub Actions the repository and the token are those of the job (GITHUB_REPOSITORY, GITHUB_TOKEN,
    GITHUB_API_URL); the issues carry the label prompt-bench, and nobody else's are touched.
    """
    from harness.flow import among_published
    from harness.followup.issues import decide
    from harness.followup.moved import good_nights, moves_of, read_nights, write_nights
    from harness.followup.text import causes_of
    from harness.followup.tracker import Tracker
    from harness.judge.summary import summarise
    from harness.matrix.cases import load_cases
    from harness.run.runs import find_run

    run = find_run(run_id)
    known = read_nights(nights) if nights else {}
    tracker = None if dry_run else Tracker(os.environ)
    # What is measured again below is not given the token.
    os.environ.pop("GITHUB_TOKEN", None)
    summary, locks = among_published(summarise(run, load_cases())), run.locks()
    if matrix:
        summary = replace(summary, matrix=matrix)
    looked = _look(summary, locks, clones, budget, confirm=confirm)
    told = causes_of(summary, looked.findings, moves_of(summary, locks, known))
    causes = [one for one in told if one.id not in looked.flaky]
    actions = decide(tracker.issues() if tracker else (), causes, summary.judged, run.id)
    click.echo(f"{len(causes)} causes need a person in run {run.id}, {len(actions)} issues to write")
    for action in actions:
        click.echo(tracker.do(action) if tracker else _shown(action))
    if nights and not dry_run:
        write_nights(nights, good_nights(summary, locks, known, time.strftime("%Y-%m-%d", time.gmtime())))


@dataclass(frozen=True, kw_only=True)
class _Looked:
    """What came of looking at the causes of a night: ids of flaky ones, and what was found out about the others."""

    flaky: frozenset[str]
    findings: Mapping[str, Finding]


def _look(
    summary: Summary, locks: Mapping[str, list[str]], clones: Mapping[str, str], budget: float, *, confirm: bool
) -> _Looked:
    """Measure each cause again and find out about it, the largest first, as far as it is wanted and time allows."""
    from harness.followup.issues import cause_id, place_of
    from harness.followup.text import groups_to_tell

    groups = groups_to_tell(summary)
    flaky: set[str] = set()
    findings: dict[str, Finding] = {}
    if not groups or not (confirm or budget):
        return _Looked(flaky=frozenset(), findings={})
    investigation = _investigation(summary.matrix, locks, clones, budget)
    for group in groups:
        first = group.representative
        if confirm and not investigation.is_confirmed(group, summary.run):
            flaky.add(cause_id(group))
            click.echo(f"flaky: {place_of(first)} in {first.cell} passes when it is measured again; not told", err=True)
        elif budget:
            findings[cause_id(group)] = investigation.finding(group)
    return _Looked(flaky=frozenset(flaky), findings=findings)


def _investigation(
    matrix: str, locks: Mapping[str, list[str]], clones: Mapping[str, str], budget: float
) -> Investigation:
    from harness.followup.investigate import Investigation
    from harness.matrix.cases import load_cases
    from harness.matrix.read import load_matrix

    try:
        loaded = load_matrix(matrix)
    except UsageError as error:
        message = f"{error}; give the file of the run's matrix with --matrix, or --no-confirm without --budget"
        raise UsageError(message) from None
    return Investigation(
        matrix=loaded, cases=load_cases(), locks=locks, clones=clones, budget_s=60 * budget,
        say=lambda words: click.echo(words, err=True),
    )  # fmt: skip


def _shown(action: Action) -> str:
    number = "" if action.number is None else f" #{action.number}"
    lines = [f"would {action.kind}{number} {action.title}".rstrip(), action.comment, action.body]
    return "\n".join(line for line in lines if line)
