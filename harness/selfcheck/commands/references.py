"""``references``: which pairs have a reference by hand, and how small a change of a prompt it sees."""

from __future__ import annotations

import sys

import click


@click.command(epilog="Example: python -m harness.selfcheck references --write")
@click.option("--write", is_flag=True, help="Write docs/references.md; otherwise say whether it is up to date.")
def references(*, write: bool) -> None:
    """Draw docs/references.md from the cases and the published records of the matrix `references`.

    Exit status 1 says that a pair does not see a change of a thousandth, or that the page is not up to date.
    """
    from harness.errors import ExitStatus
    from harness.judge.reference import read_reference
    from harness.matrix.cases import load_cases
    from harness.selfcheck.frozen import kept
    from harness.selfcheck.references import CHANGE, DOCUMENT, page, smallest_seen

    records = read_reference("references")
    text = page(load_cases(), records, kept())
    seen = smallest_seen(records)
    large = sorted(pair for pair, share in seen.items() if share > CHANGE)
    for model, method in large:
        click.echo(f"{model} {method}: a change of {seen[model, method]:.2%} is the smallest that is seen")
    if write:
        DOCUMENT.write_text(text, encoding="utf-8")
        click.echo(f"written: {DOCUMENT}")
    elif not DOCUMENT.is_file() or DOCUMENT.read_text(encoding="utf-8") != text:
        click.echo(
            f"{DOCUMENT.name} is not up to date; write it: python -m harness.selfcheck references --write", err=True
        )
        sys.exit(int(ExitStatus.NEEDS_A_PERSON))
    if not seen:
        sys.exit(int(ExitStatus.NOTHING_MEASURED))
    sys.exit(int(ExitStatus.NEEDS_A_PERSON) if large else 0)
