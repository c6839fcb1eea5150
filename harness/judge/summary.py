"""Put a run together for the report: everything asked for, judged."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

from packaging.version import InvalidVersion, Version

from harness.contracts.record import MEASURED, Machine, StateRecord, VariantRecord
from harness.contracts.records import place, read_places, variants_in
from harness.errors import ExitStatus, UsageError
from harness.interface import CellState
from harness.judge.causes import Group, groups_of
from harness.judge.claims import AuditedClaim, audit, told
from harness.judge.verdicts import Judged, Verdict, judge, judge_cell_state
from harness.latency.counts import CountStep, count_steps
from harness.matrix.cases import read_selector
from harness.matrix.expected import UNATTRIBUTED
from harness.matrix.plan import read_cells
from harness.matrix.source import is_source, slug
from harness.matrix.spec import is_newest
from harness.packages import REQUIRED_PACKAGES

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from harness.contracts.plan import AskedCell
    from harness.contracts.record import Record
    from harness.matrix.cases import Case
    from harness.run.runs import Run


@dataclass(frozen=True, kw_only=True)
class CellSummary:
    """One cell that was asked for: how far it came, and its variants judged."""

    id: str
    facts: AskedCell
    state: str
    words: str
    state_verdict: Verdict
    judged: tuple[Judged, ...]

    @property
    def is_skipped(self) -> bool:
        """Return whether its source could not be had here: said, but nobody's work."""
        return self.state == CellState.UNREACHABLE

    def of_case(self, case: str) -> tuple[Judged, ...]:
        """Return the judged variants of one case."""
        return self._by_case.get(case, ())

    @cached_property
    def _by_case(self) -> dict[str, tuple[Judged, ...]]:
        found: dict[str, list[Judged]] = {}
        for one in self.judged:
            found.setdefault(one.case, []).append(one)
        return {case: tuple(judged) for case, judged in found.items()}

    @cached_property
    def versions(self) -> dict[str, str]:
        """Return the versions that were measured, or the pins where nothing was."""
        measured: Mapping[str, str] = next((one.record.cell.packages for one in self.judged if one.record), {})
        pins = {name: slug(pin) if is_source(pin) else pin for name, pin in self.facts.pins.items()}
        return {**pins, **measured}


@dataclass(frozen=True, kw_only=True)
class Summary:
    """A run, judged."""

    run: str
    matrix: str
    title: str
    device: str
    cells: tuple[CellSummary, ...]
    claims: tuple[AuditedClaim, ...]
    cases: tuple[Case, ...]
    machine: Machine
    records: tuple[Record, ...] = ()
    """Those of the run, and of others where the step is looked for at which something begins to fail."""

    @cached_property
    def groups(self) -> list[Group]:
        """Group by cause what needs a person, the largest group first."""
        return groups_of(self.for_a_person(), self.cases, self.records)

    @cached_property
    def defects(self) -> dict[str, list[Judged]]:
        """Return the failing variants by the defect that accounts for them, the most frequent first."""
        found: dict[str, list[Judged]] = {}
        for one in self.judged:
            if one.defect:
                found.setdefault(one.defect, []).append(one)
        found.pop(UNATTRIBUTED, None)
        return dict(sorted(found.items(), key=lambda item: (-len(item[1]), item[0])))

    @cached_property
    def count_steps(self) -> list[CountStep]:
        """Return the steps between neighbouring releases of this run at which exact counts change."""
        return count_steps(one.record for one in self.judged if one.record is not None)

    @cached_property
    def judged(self) -> tuple[Judged, ...]:
        """Return every planned variant of every cell, judged."""
        return tuple(one for cell in self.cells for one in cell.judged)

    @cached_property
    def verdicts(self) -> Counter[str]:
        """Count verdicts over all variants."""
        return Counter(one.label for one in self.judged)

    def outcomes(self) -> Counter[str]:
        """Count outcomes over all variants."""
        return Counter(one.outcome for one in self.judged)

    def for_a_person(self) -> list[Judged]:
        """List the variants that somebody has to look at."""
        return list(self._for_a_person)

    @cached_property
    def _for_a_person(self) -> tuple[Judged, ...]:
        return tuple(one for one in self.judged if one.needs_a_person)

    def cells_for_a_person(self) -> list[CellSummary]:
        """List the cells whose state is not the expected one."""
        return [cell for cell in self.cells if cell.state_verdict is not Verdict.AS_EXPECTED and not cell.is_skipped]

    def skipped(self) -> list[CellSummary]:
        """List the cells whose source could not be had here: said, but nobody's work."""
        return [cell for cell in self.cells if cell.is_skipped]

    def exit_status(self, watched: Collection[str] = frozenset(Verdict)) -> ExitStatus:
        """Return 3 when nothing was measured, 1 when a watched verdict needs a person, else 0."""
        if not any(one.record and one.outcome in MEASURED for one in self.judged):
            return ExitStatus.NOTHING_MEASURED
        verdicts = {one.gravest for one in self.for_a_person()}
        verdicts |= {cell.state_verdict for cell in self.cells_for_a_person()}
        return ExitStatus.NEEDS_A_PERSON if verdicts & set(watched) else ExitStatus.AS_EXPECTED

    def part(self, case: str | None, cells: Sequence[str]) -> Summary:
        """Return the part of a summary that ``--case`` and ``--cell`` select.

        Raises :class:`UsageError` when that is nothing.
        """
        variant, cell_of = (
            read_selector(case, self.cases),
            read_cells(cells, [cell.id for cell in self.cells], place=f"run {self.run}"),
        )
        kept = [
            replace(cell, judged=tuple(one for one in cell.judged if variant(one.case, one.variant)))
            for cell in self.cells
            if cell_of(cell.id)
        ]
        if case:
            kept = [cell for cell in kept if cell.judged]
        if not kept:
            message = f"nothing in run {self.run} is {case or 'in a cell ' + ' or '.join(cells)}"
            raise UsageError(message)
        return replace(self, cells=tuple(kept))


def summarise(run: Run, cases: tuple[Case, ...]) -> Summary:
    """Judge a run. Raises :class:`harness.errors.UsageError` when there is no such run."""
    plan = run.plan()
    by_place = read_places(run.folder)
    records = tuple(by_place.values())
    by_case = {case.name: case for case in cases}
    installed = {one.cell.id: one.cell.packages for one in variants_in(records)}
    planned = sorted(plan.cells, key=lambda one: _by_version(one, installed.get(one.id, {})))
    cells = tuple(_cell(one, by_case, by_place) for one in planned)
    shown = tuple(case for case in cases if any(cell.of_case(case.name) for cell in cells))
    measured = list(variants_in(records))
    of_case: dict[str, list[VariantRecord]] = {case.name: [] for case in shown}
    for record in measured:
        of_case.setdefault(record.case, []).append(record)
    return Summary(
        run=run.id,
        matrix=plan.matrix,
        title=plan.title,
        device=plan.device,
        cells=cells,
        claims=told([claim for case in shown for claim in audit(case, of_case[case.name])]),
        cases=shown,
        machine=next((one.machine for one in measured), Machine()),
        records=records,
    )


def _by_version(facts: AskedCell, installed: Mapping[str, str]) -> tuple[Version, ...]:
    """Return what cells are ordered by: their pins, and for ``newest`` and the like what that turned out to be."""
    pins = (facts.pins.get(name, "0") for name in REQUIRED_PACKAGES)
    return tuple(
        _version(installed.get(name, pin) if is_newest(pin) else pin)
        for name, pin in zip(REQUIRED_PACKAGES, pins, strict=True)
    )


def _version(pin: str) -> Version:
    """Return the version of a pin; what is no version (a source, ``newest``) comes after all that are."""
    try:
        return Version(pin)
    except InvalidVersion:
        return Version("99999")


def _cell(
    facts: AskedCell,
    cases: dict[str, Case],
    by_place: dict[tuple[str, ...], Record],
) -> CellSummary:
    judged = []
    for asked in facts.asked:
        case = cases.get(asked.case)
        record = by_place.get(place(facts.id, asked.case, asked.variant))
        if case is not None:
            judged.append(judge(case, record if isinstance(record, VariantRecord) else None, facts.id, asked.variant))
        else:
            # Nobody can say any more what was expected; what was asked for is not dropped.
            judged.append(
                Judged(
                    cell=facts.id, case=asked.case, variant=asked.variant, record=None, expectation=None,
                    verdict=Verdict.UNKNOWN,
                )
            )  # fmt: skip
    state_record = by_place.get((facts.id,))
    measured = any(one.record for one in judged)
    expected = facts.state
    words = state_record.message if isinstance(state_record, StateRecord) else ""
    if measured:
        state = CellState.READY
    elif isinstance(state_record, StateRecord):
        state = state_record.state
    else:
        # Without any record a state other than ready was not seen, either.
        state = CellState.READY if expected == CellState.READY else CellState.NOT_RUN
    if state != CellState.READY and state in {expected, CellState.UNREACHABLE}:
        # A cell that is known not to exist has no variants to wait for.
        judged = []
    return CellSummary(
        id=facts.id,
        facts=facts,
        state=str(state),
        words=words,
        state_verdict=judge_cell_state(expected, state, facts.says, words),
        judged=tuple(judged),
    )
