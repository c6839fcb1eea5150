"""Where the records come from that a command asks: every published reference and the store, or what a person names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness.contracts.record import StateRecord
from harness.contracts.records import place_of, read_run
from harness.errors import UsageError
from harness.judge.reference import published, read_reference
from harness.paths import reports_folder
from harness.program import PROGRAM
from harness.run.runs import find_run
from harness.run.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from harness.contracts.record import Record
    from harness.matrix.cases import Case


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Records, and in words where they are from."""

    words: str
    records: list[Record]


def origin_of(matrices: Sequence[str], runs: Sequence[str]) -> Origin:
    """Read what is asked for; the newest record of a place counts, wherever it is from.

    Raises :class:`UsageError` when there is no such run or reference.
    """
    parts = [read_reference(name) for name in matrices] + [read_run(find_run(name).folder) for name in runs]
    newest = _newest_of_places(record for records in parts for record in records)
    words = [f"the reference of {', '.join(matrices)}"] if matrices else []
    words += [f"run {name}" for name in runs]
    return Origin(words=" and ".join(words), records=newest)


def with_published(records: Iterable[Record], cases: Collection[str]) -> list[Record]:
    """Return records and the published ones of some cases; the newest of a place counts."""
    parts = [read_reference(name, lambda case, _: case in cases) for name in published()]
    return _newest_of_places(record for some in (*parts, records) for record in some)


def _newest_of_places(records: Iterable[Record]) -> list[Record]:
    newest: dict[tuple[Any, ...], Record] = {}
    for record in records:
        # Matrices name equal cells alike; each keeps its own record.
        where = (record.cell.matrix, *place_of(record))
        if where not in newest or record.time >= newest[where].time:
            newest[where] = record
    return list(newest.values())


def published_with(run_id: str | None) -> Origin:
    """Read all published references, and the records of a run beside them."""
    return origin_of(published(), [run_id] if run_id else [])


def asked_origin(
    matrices: Sequence[str],
    runs: Sequence[str],
    cases: Collection[str],
    wanted: Callable[[str, Mapping[str, str]], bool] | None = None,
) -> Origin:
    """Read the records of some cases, and all states of cells, from what a person names, or else from everything.

    Everything is all published references and the local store. The newest record counts of those with equal versions,
    whatever matrix they are of. ``wanted`` takes some variants of those cases (all of them by default); the others are
    not decoded. Raises :class:`UsageError` when there is no such run or reference, or none at all.
    """
    store = None if matrices or runs else _store()
    named = tuple(matrices) if matrices or runs else tuple(published())
    if not (named or runs or store):
        message = f"no reference records here; measure with: {PROGRAM} run documented, and ask again"
        raise UsageError(message)

    def takes(case: str, variant: Mapping[str, str]) -> bool:
        return case in cases and (wanted is None or wanted(case, variant))

    parts: list[Iterable[Record]] = [read_reference(name, takes) for name in named]
    if store:
        parts.append(one for one in store.of_cases(cases) if takes(one.case, one.variant))
    parts += [
        (one for one in read_run(find_run(name).folder) if isinstance(one, StateRecord) or takes(one.case, one.variant))
        for name in runs
    ]
    words = [f"the reference of {', '.join(matrices)}"] if matrices else []
    words += [f"run {name}" for name in runs]
    if not words:
        words = ["all published records", *(["the store of this machine"] if store else [])]
    return Origin(words=" and ".join(words), records=newest_of_versions(one for part in parts for one in part))


def newest_of_versions(records: Iterable[Record]) -> list[Record]:
    """Keep the newest of the records that have the same versions and variant, and every state of a cell."""
    newest: dict[tuple[Any, ...], Record] = {}
    for record in records:
        where: tuple[Any, ...] = (record.cell.matrix, record.cell.id)
        if not isinstance(record, StateRecord):
            versions, sources = record.cell.versions.items(), record.cell.sources.items()
            where = (*sorted(versions), *sorted(sources), *place_of(record)[1:])
        if where not in newest or record.time >= newest[where].time:
            newest[where] = record
    return list(newest.values())


def _store() -> Store | None:
    path = reports_folder() / "store.sqlite"
    return Store(path) if path.is_file() else None


def axes_of_variants(cases: Iterable[Case]) -> set[str]:
    """List the axes that variants have, those of the harness among them."""
    return {"device", "dtype", *(axis for case in cases for variant in case.variants for axis in variant)}
