"""plan -> resolve -> reuse -> install -> run: the flow of a run, top to bottom."""

from __future__ import annotations

from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from harness.contracts.job import Request
from harness.contracts.plan import Plan
from harness.contracts.record import KNOWN
from harness.contracts.records import append_records, read_run, variants_in
from harness.environments.disk import keep_within_budget
from harness.environments.interpreters import ensure_pythons
from harness.environments.locks import lock_book
from harness.environments.resolve import Lock, Unresolved, resolve
from harness.environments.uv import stop_uv
from harness.errors import InputError
from harness.interface import Outcome
from harness.machine import machine_facts
from harness.matrix.plan import Selection, plan_run
from harness.paths import reports_folder
from harness.progress import Progress
from harness.run.cost import MemoryWatch, free_memory_jobs
from harness.run.keys import key_of
from harness.run.runs import Run, unfinished_runs
from harness.run.store import Store, warn
from harness.run.workers import Measurement, WorkItem, settings_for

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.contracts.record import VariantRecord
    from harness.environments.locks import LockBook
    from harness.matrix.cases import Case
    from harness.matrix.plan import PlannedCell
    from harness.matrix.spec import Cell, Matrix

_RESOLVERS = 4
"""Resolver processes at a time; each mostly waits for the index."""

_REASON = 200
"""Characters of a resolver's reason in a line of progress."""

WORTH_A_WORKER = 100
"""Variants in a share, at the least: a worker's own imports take as long as 50 to 100 variants."""


@dataclass(frozen=True, kw_only=True)
class How:
    """How a matrix is measured: ``fresh`` measures what is known, ``relock`` resolves what is locked.

    ``jobs`` are workers at a time (None: as cores and memory allow); without ``fork`` each cell gets a fresh process.
    ``locks`` are those of cells that somebody has resolved just now; the resolver is not asked for them.
    """

    fresh: bool = False
    relock: bool = False
    jobs: int | None = None
    fork: bool = True
    locks: Mapping[Cell, Lock | Unresolved] = field(default_factory=dict)


def run_matrix(matrix: Matrix, cases: tuple[Case, ...], selection: Selection, run: Run, how: How | None = None) -> None:
    """Measure what is selected and not known yet, into the folder of ``run``.

    A record of an earlier run serves again when everything that could change it is the same,
    unless it is asked for afresh. Raises ``KeyboardInterrupt`` after the workers have ended; what they
    wrote stays, and running with the same ``run`` goes on from there. Raises :class:`UsageError` when another process
    measures the same under this run's id, and :class:`harness.environments.interpreters.MissingPython` before anything
    is prepared.
    """
    planned = plan_run(matrix, cases, selection)
    ensure_pythons(one.cell.python for one in planned)
    run.add_plan(Plan(matrix=matrix.name, title=matrix.title, device=selection.device, run=run.id), planned)
    with run.hold(one.cell.base_id for one in planned):
        whole = plan_run(matrix, cases, replace(selection, bases=())) if selection.bases else ()
        _measure(matrix, planned, selection, run, how or How(), whole=whole)


def _measure(
    matrix: Matrix,
    planned: tuple[PlannedCell, ...],
    selection: Selection,
    run: Run,
    how: How,
    *,
    whole: tuple[PlannedCell, ...],
) -> None:
    """Measure what is planned; ``whole`` is what the run measures altogether, where other sessions do the rest."""
    store = Store(reports_folder() / "store.sqlite")
    take_in_unfinished(store)
    asked = [one.cell for one in planned if one.cell not in how.locks]
    resolved = {**how.locks, **dict(zip(asked, resolve_all(asked, lock_book(matrix), relock=how.relock), strict=True))}
    locks = [resolved[one.cell] for one in planned]
    items, reused = divide(planned, locks, matrix, run, None if how.fresh else store)
    total = sum(len(item.requests) for item in items)
    progress = Progress(
        total,
        reused=reused,
        elsewhere=(lambda: _recorded(run)) if whole else None,
        whole=sum(len(one.variants) for one in whole),
    )
    progress.start()
    measurement = Measurement(
        run,
        progress,
        settings_for(
            run,
            limit_s=matrix.limit_s,
            timed=matrix.timed,
            examples=matrix.examples,
            device=selection.device,
            weights=selection.weights.job() if selection.weights else {},
            fork=how.fork,
        ),
    )
    for cell, answer in zip((one.cell for one in planned), locks, strict=True):
        if isinstance(answer, Unresolved):
            progress.step(cell.id, f"{answer.state}: {answer.words[:_REASON]}")
            measurement.write_state(cell, matrix.name, answer.state, answer.words)
    run.keep_locks(
        _part(planned),
        {one.cell.id: lock.pins for one, lock in zip(planned, locks, strict=True) if isinstance(lock, Lock)},
    )
    run.mark_unfinished()
    try:
        with MemoryWatch() as watch:
            workers = how.jobs or free_memory_jobs()
            # Two processes on one GPU would measure each other.
            groups = share_out(group_by_base(items), workers if selection.device == "cpu" else 1)
            measure_groups(measurement, groups, workers)
    finally:
        store.add(variants_in(read_run(run.folder)))
        run.mark_finished()
    if items:
        watch.cost.write(run.folder / f"cost.{_part(planned)}.json")
        progress.end(seconds=watch.cost.seconds, peak=watch.cost.peak)
        keep_within_budget(progress)
    measurement.raise_failures()


def _recorded(run: Run) -> int:
    """Count the records that every session of a run has written so far."""
    return sum(path.read_bytes().count(b"\n") for path in (run.folder / "records").glob("*.jsonl"))


def take_in_unfinished(store: Store) -> None:
    """Keep what runs measured that were killed. Records that cannot be read are said, once, and left where they are."""
    for unfinished in unfinished_runs():
        try:
            store.add(variants_in(read_run(unfinished.folder)))
        except InputError as error:
            warn(f"run {unfinished.id} was killed, and what it measured cannot be taken in: {error}")
            unfinished.mark_unreadable()


def unmeasured_bases(matrix: Matrix, cases: tuple[Case, ...]) -> tuple[str, ...]:
    """List the bases of a matrix that have something left to measure on CPU.

    Touches nothing and asks no resolver: a cell without a kept lock counts as unmeasured.
    """
    path = reports_folder() / "store.sqlite"
    store = Store(path) if path.is_file() else None
    book = lock_book(matrix)
    left = []
    for one in plan_run(matrix, cases, Selection()):
        lock = book.get(one.cell)
        keys = {request.key for request in _requests(one, lock, matrix)} if lock else set()
        if lock is None or store is None or keys - store.find(keys).keys():
            left.append(one.cell.base_id)
    return tuple(dict.fromkeys(left))


def resolve_all(cells: list[Cell], book: LockBook, *, relock: bool) -> list[Lock | Unresolved]:
    """Return the lock of each cell: kept ones at once, the others resolved side by side and kept."""
    kept = {} if relock else {cell: lock for cell in cells if (lock := book.get(cell))}
    missing = [cell for cell in cells if cell not in kept]
    progress = Progress(len(missing), unit="cells to resolve")
    if missing:
        progress.start()

    def ask(cell: Cell) -> Lock | Unresolved:
        answer = resolve(cell)
        progress.advance()
        if isinstance(answer, Lock):
            progress.milestone(cell.id, "resolved")
        return answer

    with ThreadPoolExecutor(_RESOLVERS) as pool:
        try:
            answers = dict(zip(missing, pool.map(ask, missing), strict=True))
        except BaseException:
            stop_uv()
            raise
    book.keep({cell: answer for cell, answer in answers.items() if isinstance(answer, Lock)})
    return [kept.get(cell) or answers[cell] for cell in cells]


def divide(
    planned: tuple[PlannedCell, ...], locks: list[Lock | Unresolved], matrix: Matrix, run: Run, store: Store | None
) -> tuple[list[WorkItem], int]:
    """Split what is planned into work, and records that are known already.

    Known are the records of this very run (it is being resumed) and those in ``store``; the
    latter are copied into the run. Returns the work and the number of known variants.
    """
    records = variants_in(read_run(run.folder))
    here = {(one.cell.id, one.key) for one in records if is_known(one, limit_s=matrix.limit_s)}
    items: list[WorkItem] = []
    copied: list[VariantRecord] = []
    known = 0
    for one, lock in zip(planned, locks, strict=True):
        if isinstance(lock, Unresolved):
            continue
        wanted = {request.key: request for request in _requests(one, lock, matrix)}
        missing = {key for key in wanted if (one.cell.id, key) not in here}
        found = store.find(missing) if store else {}
        copied += [_in_cell(record, one.cell.id, matrix.name) for record in found.values()]
        known += len(wanted) - len(missing) + len(found)
        work = tuple(request for key, request in wanted.items() if key in missing - found.keys())
        if work:
            items.append(WorkItem(cell=one.cell, matrix=matrix.name, lock=lock, requests=work))
    if copied:
        append_records(run.folder / "records" / f"known.{_part(planned)}.jsonl", copied)
    return items, known


def is_known(record: VariantRecord, *, limit_s: float) -> bool:
    """Return whether a record of the run that goes on need not be measured again under a limit in seconds.

    The limit is not in the key of a measurement: what ended, ended so under any limit. What a shorter limit stopped
    may end under this one.
    """
    if record.outcome == Outcome.TIMEOUT and record.duration_s is not None:
        return record.duration_s >= limit_s
    return record.outcome in KNOWN


def _in_cell(record: VariantRecord, cell: str, matrix: str) -> VariantRecord:
    """Let a record stand for a cell with the same lock under another name."""
    return replace(record, cell=replace(record.cell, id=cell, matrix=matrix))


def group_by_base(items: list[WorkItem]) -> list[list[WorkItem]]:
    """Group cells whose locks are the same apart from overlays, the largest group first."""
    groups: dict[tuple[str, ...], list[WorkItem]] = defaultdict(list)
    for item in items:
        groups[item.cell.python, *item.lock.base_pins, *item.lock.layer_pins].append(item)
    return sorted(groups.values(), key=lambda group: -_load(group))


def share_out(groups: list[list[WorkItem]], workers: int) -> list[list[WorkItem]]:
    """Split the largest groups until every worker has one, as long as a share is worth a worker's imports.

    A group of several cells is split by cells, a single cell by its cases: no case goes into two shares.
    """
    shares = list(groups)
    while 0 < len(shares) < workers:
        largest = max(shares, key=_load)
        halves = _halves(largest)
        if min(map(_load, halves)) < WORTH_A_WORKER:
            break
        shares.remove(largest)
        shares += halves
    return sorted(shares, key=lambda group: -_load(group))


def _halves(group: list[WorkItem]) -> tuple[list[WorkItem], list[WorkItem]]:
    if len(group) > 1:
        return group[::2], group[1::2]
    (item,) = group
    by_case: dict[str, list[Request]] = defaultdict(list)
    for request in item.requests:
        by_case[request.case].append(request)
    one: list[Request] = []
    other: list[Request] = []
    for requests in sorted(by_case.values(), key=len, reverse=True):
        (one if len(one) <= len(other) else other).extend(requests)
    return (
        [replace(item, requests=tuple(one), part=f"{item.part}.1")],
        [replace(item, requests=tuple(other), part=f"{item.part}.2")],
    )


def _load(group: list[WorkItem]) -> int:
    return sum(len(item.requests) for item in group)


def measure_groups(measurement: Measurement, groups: list[list[WorkItem]], jobs: int) -> None:
    """Measure groups of cells, ``jobs`` at a time; when one fails or is interrupted all are stopped."""
    with ThreadPoolExecutor(jobs) as pool:
        futures = [pool.submit(measurement.measure_base, group) for group in groups]
        try:
            for future in as_completed(futures):
                future.result()
        except BaseException:
            measurement.stop()
            pool.shutdown(cancel_futures=True)
            raise


def _requests(one: PlannedCell, lock: Lock, matrix: Matrix) -> list[Request]:
    machine = machine_facts()
    return [
        Request(
            key=key_of(
                lock=lock.digest,
                python=one.cell.python,
                case=case,
                variant=variant,
                machine=machine,
                timed=matrix.timed,
                examples=matrix.examples,
            ),
            case=case.name,
            document=case.document,
            variant=variant,
        )
        for case, variant in one.variants
    ]


def _part(planned: tuple[PlannedCell, ...]) -> str:
    return planned[0].cell.base_id if planned else "none"
