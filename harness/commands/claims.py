"""``claims``: what the documents say, and where it holds."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from harness.errors import ExitStatus
from harness.program import example

if TYPE_CHECKING:
    from harness.judge.claims import AuditedClaim

_WIDTH = 96


@click.command(epilog=example("claims --document 003"))
@click.option("--run", "runs", metavar="RUN", multiple=True, help="Audit against this run instead; repeatable.")
@click.option("--document", metavar="NNN", help="Only the claims of one document.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def claims(runs: tuple[str, ...], document: str | None, as_json: bool) -> None:  # noqa: FBT001
    """Print what the documents claim, where it holds, and the cells that decide.

    The records are all published ones and this machine's own, or those of the runs named. Cells that fail of another
    defect than the claim's decide nothing; they are counted.
    """
    from harness.errors import UsageError
    from harness.judge.claims import Audit, audit, told
    from harness.judge.origin import asked_origin
    from harness.matrix.cases import load_cases
    from harness.report.files import claim_data

    cases = [case for case in load_cases() if case.claims]
    origin = asked_origin((), runs, {case.name for case in cases})
    audited = [one for case in cases for one in audit(case, origin.records)]
    if runs:
        audited = list(told(audited))
    if document is not None:
        known = ", ".join(sorted({claim.document for case in cases for claim in case.claims}))
        if document not in known.split(", "):
            message = f"no claims of document {document!r}; there are {known}"
            raise UsageError(message)
        audited = [one for one in audited if one.claim.document == document]
    if as_json:
        click.echo(json.dumps([claim_data(one) for one in audited], ensure_ascii=False, indent=1))
    else:
        for one in audited:
            _print(one)
        tally = {word: sum(one.audit is word for one in audited) for word in Audit}
        counts = ", ".join(f"{count} {word}" for word, count in tally.items() if count)
        click.echo(f"{len(audited)} claims: {counts or 'none that these records decide'}")
        click.echo(f"from {origin.words or 'nothing: no reference is published'}")
    if not origin.records:
        raise SystemExit(int(ExitStatus.NOTHING_MEASURED))


def _print(one: AuditedClaim) -> None:
    import textwrap

    from harness.report.terminal import CLAIM_STYLES

    colour = CLAIM_STYLES[one.audit]
    click.echo(click.style(f"{one.claim.id}: {one.words}", fg=None if colour == "dim" else colour))
    words = [one.claim.english, f"「{one.claim.quote}」", one.claim.answer]
    if one.decided or one.aside:
        words.append(_decided(one))
    for text in words:
        click.echo(textwrap.fill(text, _WIDTH, initial_indent="    ", subsequent_indent="    ", max_lines=3))


def _decided(one: AuditedClaim) -> str:
    """Say what the claim asks for, and what was found: one record that shows it is enough, or one that does not."""
    total = len(one.holding) + len(one.contradicting)
    parts = []
    if one.claim.quantifier == "any":
        parts.append(f"said of some variant: {len(one.holding)} of {total} cells show it")
    else:
        parts.append(f"said of every variant: {len(one.contradicting)} of {total} cells contradict it")
    if one.example:
        parts.append(one.example)
    if one.aside:
        first, _ = one.aside[0]
        parts.append(f"set aside: {sum(count for _, count in one.aside)} records that fail of something else ({first})")
    return "; ".join(parts)
