"""``claims``: what the documents say, held against what was measured."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from harness.errors import ExitStatus
from harness.program import example

if TYPE_CHECKING:
    from harness.judge.verdicts import AuditedClaim

_WIDTH = 96


@click.command(epilog=example("claims --document 003"))
@click.option("--run", "runs", metavar="RUN", multiple=True, help="Audit against this run instead; repeatable.")
@click.option("--document", metavar="NNN", help="Only the claims of one document.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def claims(runs: tuple[str, ...], document: str | None, as_json: bool) -> None:  # noqa: FBT001
    """Print what the documents claim: confirmed, refuted or untested, and what decides.

    The records are the published references, or those of the runs named.
    """
    from harness.errors import UsageError
    from harness.judge.origin import origin_of
    from harness.judge.reference import published
    from harness.judge.verdicts import audit
    from harness.matrix.cases import load_cases

    origin = origin_of([] if runs else published(), runs)
    audited = [one for case in load_cases() for one in audit(case, origin.records)]
    if document is not None:
        known = ", ".join(sorted({one.document or "" for one in audited}))
        audited = [one for one in audited if one.document == document]
        if not audited:
            message = f"no claims of document {document!r}; there are {known}"
            raise UsageError(message)
    if as_json:
        click.echo(json.dumps([as_dict(one) for one in audited], ensure_ascii=False, indent=1))
    else:
        for one in audited:
            _print(one)
        tally = {word: sum(one.audit == word for one in audited) for word in ("confirmed", "refuted", "untested here")}
        click.echo(f"{len(audited)} claims: " + ", ".join(f"{count} {word}" for word, count in tally.items()))
        click.echo(f"from {origin.words or 'nothing: no reference is published'}")
    if not origin.records:
        raise SystemExit(int(ExitStatus.NOTHING_MEASURED))


def as_dict(one: AuditedClaim) -> dict[str, object]:
    """Give an audited claim for other programs."""
    return {
        "id": one.claim.id,
        "document": one.document,
        "case": one.case,
        "quote": one.claim.quote,
        "english": one.claim.english,
        "audit": one.audit,
        "agreeing": one.agreeing,
        "disagreeing": one.disagreeing,
        "decided_by": one.example,
    }


def _print(one: AuditedClaim) -> None:
    import textwrap

    colour = {"confirmed": "green", "refuted": "red"}.get(str(one.audit))
    click.echo(f"{click.style(f'{one.audit:<13}', fg=colour)} {one.claim.id}")
    words = [one.claim.english, f"「{one.claim.quote}」"]
    if one.example:
        words.append(f"{_decided(one)}; {one.example}")
    for text in words:
        click.echo(textwrap.fill(text, _WIDTH, initial_indent="    ", subsequent_indent="    ", max_lines=3))


def _decided(one: AuditedClaim) -> str:
    """Say what the claim asks for, and what was found: one cell that shows it is enough, or one that does not."""
    shows, total = len(one.agreeing), len({*one.agreeing, *one.disagreeing})
    if one.claim.quantifier == "any":
        return f"said of some cells: {shows} of {total} show it"
    return f"said of every cell: {len(one.disagreeing)} of {total} contradict it"
