"""Where the records come from that a command asks: the reference of a matrix, a run, or both."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness.contracts.records import place_of, read_run, variants_in
from harness.errors import UsageError
from harness.judge.reference import published, read_reference
from harness.program import PROGRAM
from harness.run.runs import find_run

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from harness.contracts.record import Record
    from harness.matrix.cases import Case

_DEFAULTS: tuple[str, ...] = ("documented", "grid")


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
    newest: dict[tuple[Any, ...], Record] = {}
    for records in parts:
        for record in records:
            # Matrices name equal cells alike; each keeps its own record.
            where = (record.cell.matrix, *place_of(record))
            if where not in newest or record.time >= newest[where].time:
                newest[where] = record
    words = [f"the reference of {', '.join(matrices)}"] if matrices else []
    words += [f"run {name}" for name in runs]
    return Origin(words=" and ".join(words), records=list(newest.values()))


def published_with(run_id: str | None) -> Origin:
    """Read all published references, and the records of a run beside them."""
    return origin_of(published(), [run_id] if run_id else [])


def published_defaults() -> tuple[str, ...]:
    """Return the matrices that are asked when nobody names one. Raises :class:`UsageError` when none is published."""
    there = tuple(name for name in _DEFAULTS if name in published())
    if not there:
        message = f"no reference records here; measure with: {PROGRAM} run documented, and add --run RUN"
        raise UsageError(message)
    return there


def matrix_with(case: str) -> tuple[str, ...]:
    """Return the first of the default matrices whose reference has a case, or the first of all."""
    there = published_defaults()
    holding = (name for name in there if any(record.case == case for record in variants_in(read_reference(name))))
    return (next(holding, there[0]),)


def axes_of_variants(cases: Iterable[Case]) -> set[str]:
    """List the axes that variants have, those of the harness among them."""
    return {"device", "dtype", *(axis for case in cases for variant in case.variants for axis in variant)}
