"""Split a plan into shards of about equal cost, by what its cells cost when the references were measured.

Every job of a workflow computes the split by itself, and all must come to the same one: costs come from the published
references of the checkout alone, and ties are broken by the order of the plan.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.contracts.records import place

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from harness.contracts.record import VariantRecord
    from harness.matrix.plan import PlannedCell

SECONDS_A_BASE = 25.0
"""Of one core: building a base, and importing torch and transformers in a worker; each shard that has it pays."""


@dataclass(frozen=True, kw_only=True)
class Unit:
    """What goes into one shard as a whole: a cell, by its id, the base that it stands on, and its cost in seconds."""

    cell: str
    base: str
    seconds: float


def split(units: Sequence[Unit], count: int) -> tuple[tuple[Unit, ...], ...]:
    """Split units into ``count`` shards, the costliest unit first, each to where the load is then the smallest.

    A shard that has no cell of a unit's base yet pays for the base as well. Shards may be empty.
    """
    shards: list[list[Unit]] = [[] for _ in range(count)]
    # The sort is stable: equals stay in the order of the plan.
    for unit in sorted(units, key=lambda one: -one.seconds):
        min(shards, key=lambda shard: load([*shard, unit])).append(unit)
    return tuple(map(tuple, shards))


def load(units: Sequence[Unit]) -> float:
    """Return what a shard costs, in seconds of one core: its cells, and each of their bases once."""
    return sum(one.seconds for one in units) + SECONDS_A_BASE * len({one.base for one in units})


def units_of(planned: Iterable[PlannedCell], known: Iterable[VariantRecord]) -> list[Unit]:
    """Return the planned cells with their costs by measured records.

    A variant costs in a cell what it cost there; where it was not measured, what its case costs on average, and where
    that is not known either, what all variants do.
    """
    there: dict[tuple[str, ...], float] = {}
    of_case: dict[str, list[float]] = defaultdict(list)
    for record in known:
        if record.duration_s is not None:
            there[place(record.cell.id, record.case, record.variant)] = record.duration_s
            of_case[record.case].append(record.duration_s)
    means = {case: _mean(some) for case, some in of_case.items()}
    usual = _mean([seconds for some in of_case.values() for seconds in some])
    return [
        Unit(
            cell=one.cell.id,
            base=one.cell.base_id,
            seconds=sum(
                there.get(place(one.cell.id, case.name, variant), means.get(case.name, usual))
                for case, variant in one.variants
            ),
        )
        for one in planned
    ]


def shard_of(
    planned: Sequence[PlannedCell], known: Iterable[VariantRecord], shard: tuple[int, int]
) -> tuple[PlannedCell, ...]:
    """Return the cells of the ``index``-th of ``count`` shards, ``index`` from 1, in the order of the plan.

    ``known`` are published records, which say what variants cost.
    """
    index, count = shard
    chosen = {unit.cell for unit in split(units_of(planned, known), count)[index - 1]}
    return tuple(one for one in planned if one.cell.id in chosen)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 1.0
