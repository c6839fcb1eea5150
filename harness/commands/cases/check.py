"""``cases check``: what is expected, claimed and known of causes, held against what was measured."""

from __future__ import annotations

import sys

import click

from harness.errors import ExitStatus
from harness.program import PROGRAM, example


@click.command(epilog=example("cases check --run guide"))
@click.option("--run", "run_id", metavar="RUN", help="Hold what is expected against this run, too.")
def check(run_id: str | None) -> None:
    """Hold expectations and defects against the published records.

    Told with file and line: entries that overlap, that no measured cell is in, that reach past the measured versions,
    whose signature matches nothing, or that name no known defect; failures that no entry covers; defects that nothing
    names, or whose files do not say what was measured.
    """
    from harness.explain.propose import unexpected
    from harness.judge.defects import load_defects, observe, problems_of, with_seen
    from harness.judge.expectations import check_windows, describe
    from harness.judge.origin import published_with
    from harness.matrix.cases import load_cases
    from harness.report.pages.defects import PAGE, defects_page

    cases, defects, origin = load_cases(), load_defects(), published_with(run_id)
    records, words = origin.records, origin.words or "no records"
    problems = [
        f"cases/expected/{case.name}.toml:{one.line}: {one.text}"
        for case in cases
        for one in check_windows(case, records)
    ]
    for case in cases:
        if left := unexpected(case, records):
            name = f"cases/expected/{case.name}.toml"
            problems.append(f"{name}: {len(left)} records are in no entry, e.g. {describe(left[0])}")
    proposed = len(problems)
    for path, line, text in problems_of(cases, defects):
        name = f"cases/{path.parent.name}/{path.name}"
        problems.append(f"{name}:{line}: {text}" if line else f"{name}: {text}")
    published = records if run_id is None else published_with(None).records
    seen = observe(cases, defects, published)
    stale = [
        one for one in defects.values() if with_seen(one.path, seen[one.id]) != one.path.read_text(encoding="utf-8")
    ]
    problems += [f"cases/defects/{one.path.name}: [seen] does not say what the records say" for one in stale]
    if not PAGE.is_file() or PAGE.read_text(encoding="utf-8") != defects_page(defects, seen):
        stale.extend(defects.values())
        problems.append("docs/defects.md does not say what the defects and records say")
    for problem in problems:
        click.echo(problem)
    entries = sum(len(case.expectations) for case in cases)
    counts = f"{entries} entries of {len(cases)} cases and {len(defects)} defects"
    click.echo(f"{counts} held against {words}: {len(problems)} problems")
    if proposed:
        click.echo(f"to see entries that say what was measured: {PROGRAM} cases propose")
    if stale:
        click.echo(f"to write what was seen anew: {PROGRAM} cases defects --write")
    if problems:
        sys.exit(int(ExitStatus.NEEDS_A_PERSON))
