"""``history``: forty real commits of PEFT, each against its parent."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import click

from harness.errors import ExitStatus, UsageError
from harness.selfcheck.history import PEFT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.against.told import Told
    from harness.bisect.repository import Repository
    from harness.selfcheck.history import Change


@click.command(epilog="Example: python -m harness.selfcheck history --only 2189")
@click.option("--repo", metavar="PATH_OR_URL", default=PEFT, show_default=True)
@click.option("--only", "pulls", metavar="PULL", type=int, multiple=True, help="Only this pull request; repeatable.")
@click.option("--all-variants", is_flag=True, help="Not the quick ring alone for those that touched it (hours).")
@click.option("--fresh", is_flag=True, help="Measure what was measured before.")
@click.option("--write", is_flag=True, help="Write docs/history.md from what is measured.")
@click.option("-j", "--jobs", type=click.IntRange(1), help="Workers at a time (default: cores, as memory allows).")
def history(*, repo: str, pulls: Sequence[int], all_variants: bool, fresh: bool, write: bool, jobs: int | None) -> None:
    """Hold commits that touched prompt learning, and twenty that did not, against their parents.

    Each is written to reports/reference/history as soon as it is measured, so that an interrupted session goes on
    where it was. The exit
    status is 1 when one that did not touch it is told to change something, 3 when one could not be compared.
    """
    from dataclasses import asdict

    from harness.against.render import answer_of, terminal
    from harness.bisect.repository import Repository
    from harness.paths import ROOT, write_whole
    from harness.selfcheck.history import HISTORY, for_others, history_folder, page, read_history

    chosen = [one for one in HISTORY if not pulls or one.pull in pulls]
    if unknown := set(pulls) - {one.pull for one in chosen}:
        message = f"no pull request {min(unknown)} in the history; leave out --only, or name one of docs/history.md"
        raise UsageError(message)
    repository = None
    failures = []
    for one in chosen:
        path = history_folder() / f"{one.commit}.json"
        if path.is_file() and not fresh:
            continue
        repository = repository or Repository(repo)
        told = _measure(one, repository, quick=not (all_variants and one.touched), jobs=jobs)
        answer = answer_of(told)
        click.echo(f"#{one.pull}, {one.about}\n{terminal(answer)}")
        data = {**asdict(for_others(answer)), "transformers": _transformers(told)}
        if not told.difference.count:
            failures.append(f"#{one.pull} could not be compared: {'; '.join(told.difference.missing)}")
            continue
        write_whole(path, json.dumps(data, ensure_ascii=False, indent=1))
    measured = read_history()
    if write:
        target = ROOT / "docs" / "history.md"
        write_whole(target, page(measured))
        click.echo(f"wrote {target}")
    if failures:
        click.echo(f"{'; '.join(failures)}; mend that, and run the same again")
        sys.exit(int(ExitStatus.NOTHING_MEASURED))
    alarms = [one.pull for one in chosen if not one.touched and measured[one.commit]["causes"]]
    for pull in alarms:
        click.echo(f"#{pull} did not touch prompt learning, and is told to change something")
    sys.exit(int(ExitStatus.NEEDS_A_PERSON if alarms else ExitStatus.AS_EXPECTED))


def _measure(one: Change, repository: Repository, *, quick: bool, jobs: int | None) -> Told:
    from harness.against.flow import Against
    from harness.against.question import Question
    from harness.matrix.cases import load_cases
    from harness.matrix.plan import Selection
    from harness.matrix.spec import NEWEST
    from harness.run.runs import new_run

    commit = repository.resolve(one.commit)
    question = Question(
        package="peft",
        before=repository.source(repository.resolve(f"{commit}^")),
        after=repository.source(commit),
        companions=({"transformers": NEWEST},),
        as_of=one.day,
    )
    comparison = Against(question, load_cases(), Selection(), new_run(f"history-{one.pull}"), jobs=jobs)
    return comparison.measure(quick=quick, whole=one.whole)


def _transformers(told: Told) -> str:
    """Return the transformers that stood beside both sides."""
    return next((after.cell.packages["transformers"] for _, _, after in told.difference.compared), "")
