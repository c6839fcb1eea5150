"""A judged run whose texts can be shown: what a report takes from records and plans, made printable in one place."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from harness.escape import printable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.contracts.record import VariantRecord
    from harness.judge.causes import Group
    from harness.judge.claims import AuditedClaim
    from harness.judge.summary import CellSummary, Summary
    from harness.judge.verdicts import Judged


@dataclass(frozen=True, kw_only=True)
class Shown:
    """A judged run and its causes, without a control character in whatever a record or a plan may have brought."""

    summary: Summary
    groups: tuple[Group, ...]


def shown(summary: Summary) -> Shown:
    """Return the summary and its causes with control characters as escapes.

    Cases and claims are ours; evidence is shown nowhere.
    """
    return Shown(summary=_summary(summary), groups=tuple(_group(one) for one in summary.groups))


def _summary(summary: Summary) -> Summary:
    machine = summary.machine
    return replace(
        summary,
        run=printable(summary.run),
        matrix=printable(summary.matrix),
        title=printable(summary.title),
        device=printable(summary.device),
        machine=replace(machine, cpu=printable(machine.cpu), gpu=_maybe(machine.gpu)),
        cells=tuple(_cell(cell) for cell in summary.cells),
        claims=tuple(_claim(claim) for claim in summary.claims),
    )


def _group(group: Group) -> Group:
    return replace(
        group,
        step=printable(group.step),
        mechanism=printable(group.mechanism),
        members=tuple(_judged(one) for one in group.members),
    )


def _cell(cell: CellSummary) -> CellSummary:
    facts = replace(
        cell.facts, id=printable(cell.facts.id), why=printable(cell.facts.why), pins=_mapping(cell.facts.pins)
    )
    judged = tuple(_judged(one) for one in cell.judged)
    return replace(cell, id=printable(cell.id), words=printable(cell.words), facts=facts, judged=judged)


def _judged(one: Judged) -> Judged:
    if _is_printable(one):
        return one
    return replace(
        one,
        cell=printable(one.cell),
        case=printable(one.case),
        variant=_mapping(one.variant),
        record=_record(one.record) if one.record else None,
    )


def _is_printable(one: Judged) -> bool:
    """Return whether nothing that is shown of a record needs an escape, as in nearly all of them."""
    texts = [one.cell, one.case, *one.variant.keys(), *one.variant.values()]
    if record := one.record:
        packages = record.cell.packages
        texts += [record.signature or "", record.message or "", *packages.keys(), *packages.values()]
    return "".join(texts).isprintable()


def _record(record: VariantRecord) -> VariantRecord:
    cell = replace(record.cell, packages=_mapping(record.cell.packages))
    return replace(record, signature=_maybe(record.signature), message=_maybe(record.message), cell=cell)


def _claim(claim: AuditedClaim) -> AuditedClaim:
    holding, contradicting = (tuple(map(printable, cells)) for cells in (claim.holding, claim.contradicting))
    return replace(claim, holding=holding, contradicting=contradicting, example=printable(claim.example))


def _mapping(texts: Mapping[str, str]) -> dict[str, str]:
    return {printable(name): printable(text) for name, text in texts.items()}


def _maybe(text: str | None) -> str | None:
    return None if text is None else printable(text)
