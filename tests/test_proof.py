"""The comparison of layered and plain environments can fail, and sees only what matters."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.contracts.job import Request
from harness.contracts.records import place_of
from harness.environments.resolve import Lock
from harness.interface import Outcome
from harness.matrix.spec import Cell
from harness.run.workers import WorkItem
from harness.selfcheck.proof import compare, shuffled, spread
from tests.strategies import records

if TYPE_CHECKING:
    from harness.contracts.record import Record, VariantRecord


@given(data=st.lists(records(), max_size=4))
def test_equal_runs_do_not_differ(data: list[VariantRecord]) -> None:
    """Times, keys and folders are not compared."""
    one: dict[tuple[str, ...], Record] = {place_of(record): record for record in data}
    other: dict[tuple[str, ...], Record] = {
        place_of(record): replace(record, time="later", duration_s=9.0, key="k") for record in data
    }
    assert compare(one, other) == (len(one), [])


@pytest.mark.parametrize(
    "change", [{"outcome": Outcome.TIMEOUT}, {"signature": "x"}, {"counters": {"n": 1}}, {"evidence": {"margin": 0.5}}]
)
@given(record=records())
def test_one_changed_field_differs(record: VariantRecord, change: dict[str, Any]) -> None:
    """A planted difference in anything compared is found."""
    record = replace(record, outcome=Outcome.PASSED, signature=None)
    place = place_of(record)
    compared, differing = compare({place: record}, {place: replace(record, **change)})
    assert (compared, len(differing)) == (1, 1)


@given(record=records())
def test_a_record_that_one_way_lacks_differs(record: VariantRecord) -> None:
    """A cell that comes up in one way only is a difference."""
    assert compare({place_of(record): record}, {}) == (1, [(record, None)])


@given(total=st.integers(1, 800), count=st.integers(1, 30))
def test_the_sample_is_spread_evenly(total: int, count: int) -> None:
    """As many as asked for, none twice, the first among them."""
    cells: Any = tuple(range(total))
    chosen: Any = spread(cells, count)
    assert len(chosen) == len(set(chosen)) == min(count, total)
    assert chosen[0] == 0


@given(st.lists(st.integers(0, 20), min_size=1, max_size=6), st.integers())
def test_shuffling_loses_nothing(counts: list[int], seed: int) -> None:
    """Every variant of a cell is in one of at most two parts, and the same seed gives the same order."""
    lock = Lock(pins=("torch==2.13.0",))
    items = [
        WorkItem(
            cell=Cell(python="3.11", pins={"peft": f"0.{number}.0"}),
            matrix="m",
            lock=lock,
            requests=tuple(Request(key=str(one), case="c", document=None, variant={}) for one in range(count)),
        )
        for number, count in enumerate(counts)
        if count
    ]
    mixed = shuffled(items, seed)
    assert mixed == shuffled(items, seed)
    assert len({(one.cell.id, one.part) for one in mixed}) == len(mixed) <= 2 * len(items)
    for item in items:
        parts = [one.requests for one in mixed if one.cell is item.cell]
        assert sorted(one.key for part in parts for one in part) == sorted(one.key for one in item.requests)
