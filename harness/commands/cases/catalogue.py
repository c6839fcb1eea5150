"""``cases catalogue``: what every case has to have, and the page that lists them."""

from __future__ import annotations

import sys

import click

from harness.errors import ExitStatus
from harness.paths import ROOT
from harness.program import PROGRAM, example

PAGE = ROOT / "docs" / "catalogue.md"


@click.command(epilog=example("cases catalogue --write"))
@click.option("--write", is_flag=True, help="Write docs/catalogue.md anew.")
def catalogue(write: bool) -> None:  # noqa: FBT001
    """Check that every case is whole, and that docs/catalogue.md is fresh.

    Told with file and line: a missing docstring, upstream link or claims, oracle, variants or check. The
    exit status is 1 when something is missing, or the page is stale.
    """
    from harness.contracts.records import variants_in
    from harness.judge.completeness import missing_from_case
    from harness.judge.origin import published_with
    from harness.matrix.cases import load_cases
    from harness.report.pages.cases import catalogue_page

    cases = load_cases()
    problems = [
        f"cases/{case.path.name}:{one.line}: {one.text}" for case in cases for one in missing_from_case(case.path)
    ]
    for problem in problems:
        click.echo(problem)
    origin = published_with(None)
    page = catalogue_page(cases, list(variants_in(origin.records)), origin.words or "no reference yet")
    if write:
        PAGE.write_text(page, encoding="utf-8")
        click.echo(f"wrote {PAGE.relative_to(ROOT)}", err=True)
    elif not PAGE.is_file() or PAGE.read_text(encoding="utf-8") != page:
        problems.append("stale")
        click.echo("docs/catalogue.md does not say what the case files and references say; run:")
        click.echo(f"{PROGRAM} cases catalogue --write")
    click.echo(f"{len(cases)} cases: {len(problems)} problems")
    if problems:
        sys.exit(int(ExitStatus.NEEDS_A_PERSON))
