"""The flow of the main job, top to bottom and in one process.

    plan -> resolve -> install -> run -> record (:mod:`harness.run.pipeline`) -> judge -> report

Each step takes what the one before it gave, and nothing later. The store stands beside the flow: it is asked which
records are known already, and is given those that are new.
"""

from __future__ import annotations

import gc
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import click

from harness.against.last_time import lines_of, since_last_time
from harness.errors import CaseError, ExitStatus, UsageError
from harness.escape import printable
from harness.explain.propose import proposed_diff
from harness.judge.origin import with_published
from harness.judge.summary import summarise
from harness.judge.verdicts import Verdict
from harness.paths import reports_folder
from harness.report.files import write_reports
from harness.report.shown import shown
from harness.report.since import Since, since_run
from harness.report.terminal import closing, console, print_summary
from harness.run.pipeline import How, run_matrix
from harness.run.store import Store

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from harness.judge.summary import Summary
    from harness.matrix.cases import Case
    from harness.matrix.plan import Selection
    from harness.matrix.spec import Matrix
    from harness.run.runs import Run

WATCHED = frozenset(Verdict) - {Verdict.AS_EXPECTED}
"""Verdicts that fail a run unless somebody says which ones do."""

_MOST_PROPOSED = 2000
"""More results than a person reviews in one diff, and windows of so many are slow to learn."""

_WORDS = {
    ExitStatus.AS_EXPECTED: "all as expected",
    ExitStatus.NEEDS_A_PERSON: "a verdict needs a person",
    ExitStatus.NOTHING_MEASURED: "nothing was measured",
}


def main_job(matrix: Matrix, cases: tuple[Case, ...], selection: Selection, run: Run, how: How) -> ExitStatus:
    """Measure a matrix, judge the run and write its reports; return what the verdicts say."""
    run_matrix(matrix, cases, selection, run, how)
    return judge_and_report(run, cases)


@contextmanager
def _without_collector() -> Iterator[None]:
    """Records and verdicts live as long as this: the collector would walk through all of them again and again."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


@_without_collector()
def judge_and_report(
    run: Run,
    cases: tuple[Case, ...],
    *,
    case: str | None = None,
    cells: Sequence[str] = (),
    watched: Collection[Verdict] = WATCHED,
    since: str | None = None,
) -> ExitStatus:
    """Judge a run: print the part that ``case`` and ``cells`` select, write the reports of the whole, say the verdict.

    ``since`` names the run that it is compared with (default: the last time of each place).
    Without any verdict that is ``watched`` the run is drawn alone, and is as expected. Raises :class:`UsageError` when
    nothing is selected.
    """
    summary = summarise(run, cases)
    found = _difference(summary, since)
    summary = among_published(summary)
    part = summary.part(case, cells) if case or cells else summary
    clean = shown(part)
    print_summary(clean, console())
    for line in lines_of(found.difference, found.label) if found else ():
        click.echo(printable(line))
    written = write_reports(summary, _proposal(summary), found, clean if part is summary else None)
    click.echo(f"wrote {', '.join(path.name for path in written)}")
    if not watched:
        return ExitStatus.AS_EXPECTED
    status = part.exit_status(watched)
    page = next(path for path in written if path.suffix == ".html")
    click.echo(closing(part, f"{_verdict_words(part, status, watched)} (exit {int(status)})", str(page)))
    return status


def among_published(summary: Summary) -> Summary:
    """Add the published records of the cases that need a person.

    Where something began to fail is told by the cells beside it, which other runs measured.
    """
    names = {one.case for one in summary.for_a_person()}
    return replace(summary, records=tuple(with_published(summary.records, names))) if names else summary


def _difference(summary: Summary, since: str | None) -> Since | None:
    """Say what changed since a run, or since the matrix was measured before; None where there was no time before."""
    if since:
        return since_run(summary.records, since)
    path = reports_folder() / "store.sqlite"
    if not path.is_file():
        return None
    earlier = Store(path).of_matrix(summary.matrix, without=summary.run)
    return Since(label="since last time", difference=since_last_time(summary.run, summary.records, earlier))


def watched_verdicts(names: Sequence[str], never: str) -> frozenset[Verdict]:
    """Return the verdicts that a person names, all of them without a name, none for ``never``.

    Raises :class:`UsageError` when ``never`` stands beside others.
    """
    if never in names:
        if len(names) > 1:
            message = f"--fail-on {never} stands alone; leave it out, or the other verdicts"
            raise UsageError(message)
        return frozenset()
    return frozenset(map(Verdict, names)) or WATCHED


def _verdict_words(summary: Summary, status: ExitStatus, watched: Collection[Verdict]) -> str:
    left = len(summary.for_a_person()) + len(summary.cells_for_a_person())
    if status is ExitStatus.AS_EXPECTED and left:
        return f"{left} verdicts need a person, but none is {' or '.join(sorted(watched))}"
    return _WORDS[status]


def _proposal(summary: Summary) -> str:
    """Return the diff of those cases that need a person; empty where none does, or when no windows can say it."""
    attention = summary.for_a_person()
    if len(attention) > _MOST_PROPOSED:
        words = f"{len(attention)} results need a person; name a case: cases propose CASE --run {summary.run}"
        click.echo(f"no edit of the windows is proposed: {words}", err=True)
        return ""
    names = {one.case for one in attention}
    cases = tuple(case for case in summary.cases if case.name in names)
    try:
        return proposed_diff(cases, summary.records) if cases else ""
    except CaseError as error:
        click.echo(f"no edit of the windows is proposed: {error}", err=True)
        return ""
