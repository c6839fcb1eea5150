"""Judge (pure): an outcome against an expectation, and outcomes against claims."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from packaging.specifiers import SpecifierSet

from harness.contracts.records import MEASURED, measured_of
from harness.interface import CellState, Outcome
from harness.judge.cost_verdict import LOST, CostVerdict, judge_cost

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from harness.contracts.record import Record, VariantRecord
    from harness.interface import Claim, Expectation
    from harness.matrix.cases import Case


class Verdict(StrEnum):
    """An outcome against its expectation."""

    AS_EXPECTED = "as-expected"
    REGRESSED = "regressed"
    FIXED = "fixed"
    CHANGED = "changed"
    UNKNOWN = "unknown"


class Audit(StrEnum):
    """A claim against the outcomes that it speaks of."""

    CONFIRMED = "confirmed"
    REFUTED = "refuted"
    UNTESTED = "untested here"


@dataclass(frozen=True, kw_only=True)
class Judged:
    """One planned variant of one cell, its record if there is one, the verdict, and the one on its cost."""

    cell: str
    case: str
    variant: Mapping[str, str]
    record: VariantRecord | None
    expectation: Expectation | None
    verdict: Verdict
    cost: CostVerdict = CostVerdict.UNKNOWN

    @property
    def label(self) -> str:
        """Give the verdict in a word; ``regressed: cost`` where the outcome is as expected and its price is not."""
        lost = self.verdict is Verdict.AS_EXPECTED and self.cost is CostVerdict.REGRESSED
        return f"{Verdict.REGRESSED}: cost" if lost else str(self.verdict)

    @property
    def gravest(self) -> Verdict:
        """Give the verdict that decides: that on the outcome, or regressed where only the cost is."""
        return Verdict(self.label.partition(":")[0])

    @property
    def words(self) -> str:
        """Say what there is to look at, alike for equal faults: signature, message, or the cost."""
        if self.label != str(self.verdict):
            return LOST
        said = self.record.words if self.record else ""
        return f"{self.outcome}: {said or 'nothing was measured'}"

    @property
    def outcome(self) -> str:
        """Give the outcome, ``not-run`` where nothing was recorded."""
        return str(self.record.outcome) if self.record else str(Outcome.NOT_RUN)

    @property
    def needs_a_person(self) -> bool:
        """Tell whether somebody has to look: all but the expected, and what this machine has no device for."""
        return self.gravest is not Verdict.AS_EXPECTED and self.outcome != Outcome.NO_DEVICE


@dataclass(frozen=True, kw_only=True)
class AuditedClaim:
    """A claim, what became of it, and the ids of the cells that decided it."""

    claim: Claim
    case: str
    document: str | None
    audit: Audit
    agreeing: tuple[str, ...]
    disagreeing: tuple[str, ...]
    example: str


def covers(
    where: Mapping[str, str], only: Mapping[str, Iterable[str]], packages: Mapping[str, str], variant: Mapping[str, str]
) -> bool:
    """Tell whether a window of versions and variants covers a measurement.

    ``where`` maps packages (and ``python``) to specifiers, ``only`` axes to values. A package
    that the cell does not have is covered by no specifier.
    """
    if any(variant.get(axis) not in tuple(values) for axis, values in only.items()):
        return False
    for package, specifier in where.items():
        version = packages.get(package)
        if version is None or not SpecifierSet(specifier).contains(version.partition("+")[0], prereleases=True):
            return False
    return True


def expectation_for(case: Case, packages: Mapping[str, str], variant: Mapping[str, str]) -> Expectation | None:
    """Give the first expectation of a case that covers a measurement; None means ``passed``."""
    return next((one for one in case.expectations if covers(one.where, one.only, packages, variant)), None)


def judge(case: Case, record: VariantRecord | None, cell: str, variant: Mapping[str, str]) -> Judged:
    """Judge one planned variant by its record, or by the absence of one."""
    if record is None or record.outcome not in MEASURED:
        return Judged(
            cell=cell, case=case.name, variant=variant, record=record, expectation=None, verdict=Verdict.UNKNOWN
        )
    expectation = expectation_for(case, record.cell.versions, variant)
    expected = expectation.outcome if expectation else str(Outcome.PASSED)
    if matches(expectation, record):
        verdict = Verdict.AS_EXPECTED
    elif record.outcome == Outcome.PASSED:
        verdict = Verdict.FIXED
    elif expected == Outcome.PASSED:
        verdict = Verdict.REGRESSED
    else:
        verdict = Verdict.CHANGED
    return Judged(
        cell=cell,
        case=case.name,
        variant=variant,
        record=record,
        expectation=expectation,
        verdict=verdict,
        cost=judge_cost(record.counters),
    )


def matches(expectation: Expectation | None, record: VariantRecord) -> bool:
    """Tell whether a record is what was expected: the outcome, and the signature where there is a pattern."""
    if expectation is None:
        return bool(record.outcome == Outcome.PASSED)
    return bool(record.outcome == expectation.outcome) and signature_matches(expectation.signature, record)


def signature_matches(pattern: str, record: VariantRecord) -> bool:
    """Search a pattern in a record's signature and message; the empty pattern is found anywhere."""
    text = f"{record.signature or ''}\n{record.message or ''}"
    return re.search(pattern, text) is not None


def judge_cell_state(expected: str, state: str, says: str = "", words: str = "") -> Verdict:
    """Judge how far a cell came: it is as expected, or a person has to look.

    ``says`` is a pattern for the ``words`` that come with a state. A source that could not be had
    says nothing about the cell: that is unknown.
    """
    if state in {CellState.UNREACHABLE, CellState.NOT_RUN}:
        return Verdict.UNKNOWN
    if state == expected:
        return Verdict.AS_EXPECTED if re.search(says, words) else Verdict.CHANGED
    if expected == CellState.READY:
        return Verdict.REGRESSED
    return Verdict.FIXED if state == CellState.READY else Verdict.CHANGED


def audit(case: Case, records: Iterable[Record]) -> list[AuditedClaim]:
    """Hold each claim of a case against the measured records that it speaks of."""
    mine = measured_of(case.name, records)
    return [_audit_one(case, claim, mine) for claim in case.claims]


def _audit_one(case: Case, claim: Claim, records: list[VariantRecord]) -> AuditedClaim:
    agreeing: list[VariantRecord] = []
    disagreeing: list[VariantRecord] = []
    for record in records:
        numbers = {path: _number(record, path) for path in claim.minimum}
        if None not in numbers.values() and covers(claim.where, claim.only, record.cell.versions, record.variant):
            enough = all(numbers[path] >= least for path, least in claim.minimum.items())
            agrees = enough and record.outcome in claim.outcome and signature_matches(claim.signature, record)
            (agreeing if agrees else disagreeing).append(record)
    if not agreeing and not disagreeing:
        result = Audit.UNTESTED
    elif claim.quantifier == "any":
        result = Audit.CONFIRMED if agreeing else Audit.REFUTED
    else:
        result = Audit.REFUTED if disagreeing else Audit.CONFIRMED
    deciding = agreeing if result is Audit.CONFIRMED else disagreeing
    return AuditedClaim(
        claim=claim,
        case=case.name,
        document=case.document,
        audit=result,
        agreeing=_places(agreeing),
        disagreeing=_places(disagreeing),
        example=_example(deciding[0]) if deciding else "",
    )


def _number(record: VariantRecord, path: str) -> Any:
    first, *rest = path.split(".")
    value: Any = getattr(record, first, None)
    for name in rest:
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _places(records: list[VariantRecord]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(record.cell.id for record in records))


def _example(record: VariantRecord) -> str:
    words = record.message or record.outcome
    return f"{record.cell.id} {'-'.join(record.variant.values())}: {record.outcome}, {words}"
