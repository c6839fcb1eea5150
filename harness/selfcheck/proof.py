"""Hold two ways of measuring against each other: layered environments or plain ones, sorted variants or shuffled."""

from __future__ import annotations

import random
import time
from dataclasses import replace
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
    from harness.run.workers import Builder, WorkItem

T = TypeVar("T")

COMPARED = ("outcome", "signature", "message", "evidence", "counters")
"""What two ways of installing the same lock must agree on, to the last digit. Times are left out."""


def prove(
    matrix: Matrix, cases: tuple[Case, ...], selection: Selection, *, count: int, jobs: int, seed: int | None = None
) -> tuple[int, list[tuple[Record | None, Record | None]]]:
    """Measure ``count`` cells of a matrix both ways, spread evenly over it.

    The other way is plain environments; with a ``seed`` it is the same environments, the variants of each cell in
    another order and in two halves, of which each has processes of its own. Gives the number of places compared and
    the pairs (one way, the other) that differ; None stands for a record that only the other way has. Nothing goes into
    the store.
    """
    ready = locked(matrix, spread(plan_run(matrix, cases, selection), count))
    stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime())

    def measured(way: str, **options: Any) -> dict[tuple[str, ...], Record]:
        return measure_apart(matrix, ready, f"proof-{stamp}-{way}", device=selection.device, jobs=jobs, **options)

    one = measured("layered")
    other = measured("plain", builder=build_full) if seed is None else measured("shuffled", seed=seed)
    return compare(one, other)


def shuffled(items: list[WorkItem], seed: int) -> list[WorkItem]:
    """Put the variants of each cell into a random order, and into two parts where there are two at least."""
    chance = random.Random(seed)  # noqa: S311 - no secret
    result = []
    for item in items:
        requests = chance.sample(item.requests, len(item.requests))
        half = chance.randint(1, len(requests) - 1) if len(requests) > 1 else len(requests)
        parts = {".first": requests[:half], ".second": requests[half:]}
        result += [replace(item, requests=tuple(some), part=item.part + name) for name, some in parts.items() if some]
    return result


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
    seed: int | None = None,
) -> dict[tuple[str, ...], Record]:
    """Measure cells in a run of its own that nothing is taken from and that no store hears of.

    Gives the record of each place, untimed. With a ``seed`` variants are :func:`shuffled`.
    """
    cells = tuple(one for one, _ in ready)
    run = Run(id=run_id)
    run.add_plan(Plan(matrix=matrix.name, title=run_id, device=device, run=run.id), cells)
    items, _ = divide(cells, [lock for _, lock in ready], matrix, run, None)
    items = items if seed is None else shuffled(items, seed)
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
    one: dict[tuple[str, ...], Record], other: dict[tuple[str, ...], Record]
) -> tuple[int, list[tuple[Record | None, Record | None]]]:
    """Return the number of places in either, and the pairs that differ in what is compared."""
    places = one.keys() | other.keys()
    pairs = [(one.get(place), other.get(place)) for place in sorted(places)]
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
