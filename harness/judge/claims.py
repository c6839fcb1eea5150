"""Where the claims of the documents hold (pure).

A claim is about the cells in which its defect can be asked: a record that fails of another defect, or of a cause that
nobody has named, decides nothing, and neither does a variant that cannot exist in its versions. They are set aside and
counted. A cell with such a failure does not bear out a claim about every variant, and does not contradict one about
some variant: what that variant would have said is not known.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from packaging.version import InvalidVersion, Version

from harness.contracts.record import FAILED
from harness.contracts.records import measured_of
from harness.interface import Outcome, variant_id
from harness.judge.verdicts import covers, defect_of, signature_matches
from harness.judge.windows import VersionTable, version_of
from harness.matrix.expected import UNATTRIBUTED
from harness.packages import TOLD_PACKAGES

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from harness.contracts.record import Record, VariantRecord
    from harness.judge.windows import Where
    from harness.matrix.cases import Case
    from harness.matrix.claims import Claim

_MOST_WINDOWS = 3
"""More windows than that say less than a count of cells."""


class Audit(StrEnum):
    """Where a claim holds."""

    HOLDS = "holds"
    HOLDS_FROM = "holds from"
    HOLDS_UNTIL = "holds until"
    HOLDS_IN = "holds in"
    DOES_NOT_HOLD = "does not hold"
    UNTESTED = "untested"


@dataclass(frozen=True, kw_only=True)
class AuditedClaim:
    """A claim, where it holds, and the cells that decide: those that bear it out and those that contradict it.

    ``windows`` says from, until or in which versions; ``aside`` counts the records set aside by what they fail of, a
    defect or an outcome. ``example`` is a deciding record in words.
    """

    claim: Claim
    audit: Audit
    windows: str
    holding: tuple[str, ...]
    contradicting: tuple[str, ...]
    aside: tuple[tuple[str, int], ...]
    example: str

    @property
    def decided(self) -> bool:
        """Return whether a cell decides."""
        return self.audit is not Audit.UNTESTED

    @property
    def words(self) -> str:
        """Return the answer with its windows: ``holds from peft 0.14.0``."""
        return f"{self.audit} {self.windows}".rstrip()


def audit(case: Case, records: Iterable[Record]) -> list[AuditedClaim]:
    """Hold each claim about a case against the measured records that it speaks of."""
    mine = measured_of(case.name, records)
    return [_audit_one(case, claim, mine) for claim in case.claims]


def told(claims: Sequence[AuditedClaim]) -> tuple[AuditedClaim, ...]:
    """Return the claims of those documents of which a cell decides at least one."""
    documents = {one.claim.document for one in claims if one.decided}
    return tuple(one for one in claims if one.claim.document in documents)


def _audit_one(case: Case, claim: Claim, records: Sequence[VariantRecord]) -> AuditedClaim:
    agreeing: dict[str, list[VariantRecord]] = defaultdict(list)
    disagreeing: dict[str, list[VariantRecord]] = defaultdict(list)
    aside: Counter[str] = Counter()
    hindered: set[str] = set()
    for record in records:
        if not _is_meant(claim, record):
            continue
        if elsewhere := _another_cause(case, claim, record):
            aside[elsewhere] += 1
            if record.outcome in FAILED:
                hindered.add(record.cell.id)
        else:
            (agreeing if _agrees(claim, record) else disagreeing)[record.cell.id].append(record)
    if claim.quantifier == "any":
        holding = dict(agreeing)
        contradicting = {cell: found for cell, found in disagreeing.items() if cell not in {*agreeing, *hindered}}
    else:
        holding = {cell: found for cell, found in agreeing.items() if cell not in {*disagreeing, *hindered}}
        contradicting = dict(disagreeing)
    result, windows = _where_it_holds(holding, contradicting)
    deciding = contradicting if result is Audit.DOES_NOT_HOLD else holding
    return AuditedClaim(
        claim=claim,
        audit=result,
        windows=windows,
        holding=tuple(holding),
        contradicting=tuple(contradicting),
        aside=tuple(aside.most_common()),
        example=_example(next(iter(deciding.values()))[0]) if deciding else "",
    )


def _is_meant(claim: Claim, record: VariantRecord) -> bool:
    numbers = (_number(record, path) for path in (*claim.minimum, *claim.maximum))
    return covers(claim.where, claim.only, record.cell.versions, record.variant) and None not in numbers


def _another_cause(case: Case, claim: Claim, record: VariantRecord) -> str:
    """Return what keeps a record from deciding a claim: another defect or no named one; "" where it decides."""
    if record.outcome == Outcome.UNSUPPORTED:
        return str(record.outcome)
    if record.outcome not in FAILED:
        return ""
    defect = defect_of(case, record)
    return "" if defect == (claim.defect or UNATTRIBUTED) else defect


def _agrees(claim: Claim, record: VariantRecord) -> bool:
    enough = all(_number(record, path) >= least for path, least in claim.minimum.items())
    within = all(_number(record, path) <= most for path, most in claim.maximum.items())
    return enough and within and record.outcome in claim.outcome and signature_matches(claim.signature, record)


def _where_it_holds(
    holding: dict[str, list[VariantRecord]], contradicting: dict[str, list[VariantRecord]]
) -> tuple[Audit, str]:
    """Return where a claim holds and in words the windows, by the cells that bear it out and those that do not."""
    if not holding and not contradicting:
        return Audit.UNTESTED, ""
    if not contradicting:
        return Audit.HOLDS, ""
    if not holding:
        return Audit.DOES_NOT_HOLD, ""
    good, bad = ([found[0] for found in cells.values()] for cells in (holding, contradicting))
    axes = [name for name in TOLD_PACKAGES if all(_released(one, name) for one in (*good, *bad))]
    ends: dict[Audit, list[str]] = {Audit.HOLDS_FROM: [], Audit.HOLDS_UNTIL: []}
    for axis in axes:
        inside, outside = ([version_of(one, axis) for one in some] for some in (good, bad))
        if min(inside) > max(outside):
            ends[Audit.HOLDS_FROM].append(f"{axis} {min(inside)}")
        if max(inside) < min(outside):
            ends[Audit.HOLDS_UNTIL].append(f"{axis} {max(inside)}")
    for result, versions in ends.items():
        if versions:
            # Packages that moved together: the records do not tell which one it was.
            return result, " or ".join(versions)
    return Audit.HOLDS_IN, _windows(good, bad, axes)


def _windows(good: Sequence[VariantRecord], bad: Sequence[VariantRecord], axes: Sequence[str]) -> str:
    """Write the fewest windows of versions that hold the good cells and no bad one, or a count where they are many."""
    for used in range(1, len(axes) + 1):
        table = VersionTable(axes[:used], [*good, *bad])
        inside, outside = ({table.point(one) for one in some} for some in (good, bad))
        if not inside & outside:
            windows = table.windows(sorted(inside), sorted(outside))
            if len(windows) <= _MOST_WINDOWS:
                return "; or ".join(_in_words(where) for where in windows)
    return f"{len(good)} of {len(good) + len(bad)} cells"


def _in_words(where: Where) -> str:
    return ", ".join(f"{package} {specifier}" for package, specifier in where)


def _released(record: VariantRecord, package: str) -> bool:
    try:
        Version(record.cell.versions.get(package, "").partition("+")[0])
    except InvalidVersion:
        return False
    return True


def _number(record: VariantRecord, path: str) -> Any:
    first, *rest = path.split(".")
    value: Any = getattr(record, first, None)
    for name in rest:
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _example(record: VariantRecord) -> str:
    return f"{record.cell.id} {variant_id(record.variant)}: {record.outcome}, {record.message or record.outcome}"
