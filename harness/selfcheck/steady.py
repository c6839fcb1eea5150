"""Measure the same cells several times over: a variant whose outcome changes from run to run says nothing."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from packaging.version import InvalidVersion, Version

from harness.contracts.record import StateRecord, VariantRecord
from harness.errors import UsageError
from harness.matrix.plan import plan_run
from harness.packages import WINDOW_AXES
from harness.selfcheck.proof import COMPARED, essence, locked, measure_apart

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from harness.contracts.record import Record
    from harness.matrix.cases import Case
    from harness.matrix.plan import PlannedCell, Selection
    from harness.matrix.spec import Matrix

Place = tuple[str, ...]

DECISIVE = COMPARED[:2]
"""What has to be equal in every run: the outcome, and the signature of an error."""


@dataclass(frozen=True)
class Steadiness:
    """What several runs of the same cells said.

    ``unsteady`` are the places whose outcome or signature was not the same in each run (a run that lacks the record
    among them), ``restless`` those with equal outcomes and other words, evidence or counters. ``seconds`` has, for each
    cell, the sum of its variants' durations in each run: imports and installation are not in it.
    """

    compared: int
    unsteady: tuple[tuple[Record | None, ...], ...]
    restless: tuple[tuple[Record | None, ...], ...]
    seconds: Mapping[str, tuple[float, ...]]


def measure_again(
    matrix: Matrix, cases: tuple[Case, ...], selection: Selection, *, times: int, jobs: int
) -> Steadiness:
    """Measure the selected cells ``times`` times, one run after the other: the oldest and the newest unless named.

    Nothing goes into the store, and nothing known is taken for measured. Raises :class:`UsageError` when no cell is
    named and none has two releases for pins.
    """
    planned = plan_run(matrix, cases, selection)
    if not selection.cells:
        planned = ends(planned)
    ready = locked(matrix, planned)
    stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime())
    name = matrix.name.replace("/", "-")
    return hold(
        [measure_apart(matrix, ready, f"steady-{stamp}-{name}-{turn}", jobs=jobs) for turn in range(1, times + 1)]
    )


def ends(planned: Sequence[PlannedCell]) -> tuple[PlannedCell, ...]:
    """Pick the oldest and the newest cell, by peft and then by transformers, of those that pin releases."""
    ordered = sorted((one for one in planned if _age(one)), key=lambda one: _age(one) or ())
    if not ordered:
        message = "no cell here pins a release of peft and one of transformers; name cells with --cell"
        raise UsageError(message)
    return (ordered[0], ordered[-1]) if len(ordered) > 1 else tuple(ordered)


def hold(runs: Sequence[Mapping[Place, Record]]) -> Steadiness:
    """Hold the records of several runs against each other, place by place."""
    places = sorted(set().union(*runs))
    unsteady, restless = [], []
    for place in places:
        records = tuple(run.get(place) for run in runs)
        if not _equal([_decisive(one) for one in records]):
            unsteady.append(records)
        elif not _equal([essence(one) for one in records]):
            restless.append(records)
    cells = sorted({place[0] for place in places})
    seconds = {
        cell: tuple(
            sum(one.duration_s or 0.0 for at, one in run.items() if at[0] == cell and isinstance(one, VariantRecord))
            for run in runs
        )
        for cell in cells
    }
    return Steadiness(len(places), tuple(unsteady), tuple(restless), seconds)


def _age(one: PlannedCell) -> tuple[Version, ...] | None:
    try:
        return tuple(Version(one.cell.pins.get(name, "")) for name in WINDOW_AXES)
    except InvalidVersion:
        return None


def _equal(values: Sequence[Any]) -> bool:
    return all(value == values[0] for value in values)


def _decisive(record: Record | None) -> Any:
    if isinstance(record, StateRecord):
        return record.state
    return record and [getattr(record, key) for key in DECISIVE]
