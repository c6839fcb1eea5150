"""Judge (pure): an outcome against an expectation, and a failure by the defect that accounts for it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from functools import cache, cached_property
from typing import TYPE_CHECKING

from packaging.specifiers import SpecifierSet

from harness.contracts.record import FAILED, MEASURED
from harness.interface import CellState, Outcome
from harness.judge.cost_verdict import CostVerdict, judge_cost, why_costly
from harness.matrix.expected import UNATTRIBUTED

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from harness.contracts.record import VariantRecord
    from harness.matrix.cases import Case
    from harness.matrix.expected import Expectation


class Verdict(StrEnum):
    """An outcome against its expectation."""

    AS_EXPECTED = "as-expected"
    REGRESSED = "regressed"
    FIXED = "fixed"
    CHANGED = "changed"
    UNKNOWN = "unknown"


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

    @cached_property
    def label(self) -> str:
        """Return the verdict in a word; ``regressed: cost`` where the outcome is as expected and its price is not."""
        return str(self.verdict) if self.gravest is self.verdict else f"{self.gravest}: cost"

    @cached_property
    def gravest(self) -> Verdict:
        """Return the verdict that decides: that on the outcome, or regressed where only the cost is."""
        lost = self.verdict is Verdict.AS_EXPECTED and self.cost is CostVerdict.REGRESSED
        return Verdict.REGRESSED if lost else self.verdict

    @property
    def words(self) -> str:
        """Say what there is to look at, alike for equal faults: signature, message, or the cost."""
        if self.record and self.label != str(self.verdict):
            return why_costly(self.record.counters)
        said = self.record.words if self.record else ""
        return f"{self.outcome}: {said or 'nothing was measured'}"

    @cached_property
    def outcome(self) -> str:
        """Return the outcome, ``not-run`` where nothing was recorded."""
        return str(self.record.outcome) if self.record else str(Outcome.NOT_RUN)

    @cached_property
    def defect(self) -> str:
        """Return the defect that accounts for a failure: ``unattributed`` where none does, "" where nothing fails."""
        if self.record is None or self.record.outcome not in FAILED:
            return ""
        known = self.expectation is not None and self.verdict is Verdict.AS_EXPECTED
        return self.expectation.defect if known and self.expectation else UNATTRIBUTED

    @cached_property
    def needs_a_person(self) -> bool:
        """Return whether somebody has to look: all but the expected, and what this machine has no device for."""
        return self.gravest is not Verdict.AS_EXPECTED and self.outcome != Outcome.NO_DEVICE


def covers(
    where: Mapping[str, str],
    only: Mapping[str, Collection[str]],
    packages: Mapping[str, str],
    variant: Mapping[str, str],
) -> bool:
    """Return whether a window of versions and variants covers a measurement.

    ``where`` maps packages (and ``python``) to specifiers, ``only`` axes to values. A package
    that the cell does not have is covered by no specifier.
    """
    for axis, values in only.items():
        if variant.get(axis) not in values:
            return False
    for package, specifier in where.items():
        version = packages.get(package)
        if version is None or not _is_within(version, specifier):
            return False
    return True


@cache
def _is_within(version: str, specifier: str) -> bool:
    return SpecifierSet(specifier).contains(version.partition("+")[0], prereleases=True)


def expectation_for(case: Case, packages: Mapping[str, str], variant: Mapping[str, str]) -> Expectation | None:
    """Return the first expectation of a case that covers a measurement; None means ``passed``."""
    return next((one for one in case.entries_of(variant) if covers(one.where, {}, packages, variant)), None)


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
        # The price of a right answer: what a wrong one costs belongs to whatever makes it wrong.
        cost=judge_cost(record.counters) if record.outcome == Outcome.PASSED else CostVerdict.UNKNOWN,
    )


def matches(expectation: Expectation | None, record: VariantRecord) -> bool:
    """Return whether a record is what was expected: the outcome, the signature's pattern, and where an error raises."""
    if expectation is None:
        return bool(record.outcome == Outcome.PASSED)
    if record.outcome != expectation.outcome or not signature_matches(expectation.signature, record):
        return False
    return not expectation.raises or raised(record) in expectation.raises


def raised(record: VariantRecord) -> str:
    """Return the type of a record's error and the function that raises it, "" where it has no signature.

    The module is left out, because functions are moved between files; so is the function of an error that no package
    under test raises.
    """
    said, _, frame = (record.signature or "").partition(" @ ")
    kind = said.partition(":")[0]
    return f"{kind} in {frame.rpartition(':')[2]}" if frame else kind


def defect_of(case: Case, record: VariantRecord) -> str:
    """Return the defect that accounts for a failing record, through the entry that expects it.

    ``unattributed`` where no entry does; "" for a record that does not fail.
    """
    if record.outcome not in FAILED:
        return ""
    entry = expectation_for(case, record.cell.versions, record.variant)
    return entry.defect if entry is not None and matches(entry, record) else UNATTRIBUTED


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
