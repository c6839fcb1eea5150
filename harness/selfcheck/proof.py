"""Hold layered environments against plain ones: both must give the same records."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, TypeVar

from harness.contracts.plan import Plan
from harness.contracts.record import StateRecord
from harness.contracts.records import place_of, read_run
from harness.environments.build import build, build_full
from harness.environments.locks import lock_book
from harness.environments.resolve import Lock
from harness.matrix.plan import plan_run
from harness.progress import Progress
from harness.run.pipeline import divide, group_by_base, measure_groups, resolve_all, share_out
from harness.run.runs import Run
from harness.run.workers import Measurement, settings_for

if TYPE_CHECKING:
    from harness.contracts.record import Record
    from harness.matrix.cases import Case
    from harness.matrix.plan import PlannedCell, Selection
    from harness.matrix.spec import Matrix
    from harness.run.workers import Builder

T = TypeVar("T")

COMPARED = ("outcome", "signature", "message", "evidence", "counters")
"""What two ways of installing the same lock must agree on, to the last digit. Times are left out."""


def prove(
    matrix: Matrix, cases: tuple[Case, ...], selection: Selection, *, count: int, jobs: int
) -> tuple[int, list[tuple[Record | None, Record | None]]]:
    """Measure ``count`` cells of a matrix both ways, spread evenly over it.

    Gives the number of places compared and the pairs (layered, plain) that differ; None stands
    for a record that only the other way has. Nothing goes into the store.
    """
    ready = locked(matrix, spread(plan_run(matrix, cases, selection), count))
    stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime())
    ways = {"layered": build, "plain": build_full}
    results = [
        measure_apart(matrix, ready, f"proof-{stamp}-{way}", device=selection.device, jobs=jobs, builder=builder)
        for way, builder in ways.items()
    ]
    return compare(*results)


def locked(matrix: Matrix, planned: tuple[PlannedCell, ...]) -> list[tuple[PlannedCell, Lock]]:
    """Return the cells that can be resolved, each with its lock: every way of measuring them gets the same one."""
    locks = resolve_all([one.cell for one in planned], lock_book(matrix), relock=False)
    return [(one, lock) for one, lock in zip(planned, locks, strict=True) if isinstance(lock, Lock)]


def measure_apart(
    matrix: Matrix,
    ready: list[tuple[PlannedCell, Lock]],
    run_id: str,
    *,
    device: str = "cpu",
    jobs: int,
    builder: Builder = build,
) -> dict[tuple[str, ...], Record]:
    """Measure cells in a run of its own that nothing is taken from and that no store hears of.

    Gives the record of each place, untimed.
    """
    cells = tuple(one for one, _ in ready)
    run = Run(id=run_id)
    run.add_plan(Plan(matrix=matrix.name, title=run_id, device=device, run=run.id), cells)
    items, _ = divide(cells, [lock for _, lock in ready], matrix, run, None)
    progress = Progress(sum(len(item.requests) for item in items))
    progress.start()
    measurement = Measurement(
        run,
        progress,
        settings_for(run, limit_s=matrix.limit_s, timed=False, examples=matrix.examples, device=device),
        builder=builder,
    )
    groups = group_by_base(items) if builder is build else [[item] for item in items]
    measure_groups(measurement, share_out(groups, jobs), jobs)
    measurement.raise_failures()
    return {place_of(record): record for record in read_run(run.folder)}


def spread(planned: tuple[T, ...], count: int) -> tuple[T, ...]:
    """Pick ``count`` cells at even distances, the first among them; all when there are fewer."""
    if count >= len(planned):
        return planned
    return tuple(planned[index * len(planned) // count] for index in range(count))


def compare(
    layered: dict[tuple[str, ...], Record], plain: dict[tuple[str, ...], Record]
) -> tuple[int, list[tuple[Record | None, Record | None]]]:
    """Return the number of places in either, and the pairs that differ in what is compared."""
    places = layered.keys() | plain.keys()
    pairs = [(layered.get(place), plain.get(place)) for place in sorted(places)]
    return len(pairs), [pair for pair in pairs if essence(pair[0]) != essence(pair[1])]


def essence(record: Record | None) -> Any:
    """Return what has to be equal to the last digit when the same is measured twice."""
    if record is None:
        return None
    if isinstance(record, StateRecord):
        # Words of a cell that is not ready quote paths.
        return record.state
    # The tail of a traceback names files, whose folder is the one thing that has to differ.
    evidence = {key: value for key, value in record.evidence.items() if key != "traceback"}
    return {**{key: getattr(record, key) for key in COMPARED}, "evidence": evidence}
