"""Work is shared out whole: nothing is lost, nothing is measured twice, no case goes into two shares."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.contracts.job import Request
from harness.contracts.record import CellFacts, VariantRecord
from harness.contracts.records import append_records
from harness.environments.resolve import Lock
from harness.interface import Outcome
from harness.matrix.cases import load_cases
from harness.matrix.plan import Selection, plan_run
from harness.matrix.read import parse_matrix
from harness.run.pipeline import WORTH_A_WORKER, divide, share_out
from harness.run.runs import Run
from harness.run.store import Store
from harness.run.workers import WorkItem

if TYPE_CHECKING:
    from pathlib import Path


def request(cell: str, case: int, number: int) -> Request:
    """Make a variant that is known by the number of its cell, its case and its own."""
    return Request(key=f"{cell}.{case}.{number}", case=str(case), document=None, variant={})


@st.composite
def groups(draw: st.DrawFn) -> list[list[WorkItem]]:
    """Draw groups of cells, each with the variants of some cases."""
    shape = draw(st.lists(st.lists(st.lists(st.integers(1, 90), max_size=6), min_size=1, max_size=4), max_size=3))
    return [
        [
            WorkItem(
                cell=cast("Any", f"{i}.{j}"),
                matrix="planted",
                lock=cast("Any", None),
                requests=tuple(request(f"{i}.{j}", case, k) for case, n in enumerate(cell) for k in range(n)),
            )
            for j, cell in enumerate(group)
        ]
        for i, group in enumerate(shape)
    ]


@given(given_groups=groups(), workers=st.integers(1, 6))
def test_shares_are_the_groups(given_groups: list[list[WorkItem]], workers: int) -> None:
    """The variants of all shares together are those that there were."""
    shares = share_out(given_groups, workers)
    before, after = (
        Counter(one.key for group in some for item in group for one in item.requests) for some in (given_groups, shares)
    )
    assert before == after
    assert len(shares) <= max(workers, len(given_groups))
    places = defaultdict(set)
    for number, share in enumerate(shares):
        for item in share:
            for one in item.requests:
                places[item.cell, one.case].add(number)
    assert all(len(numbers) == 1 for numbers in places.values())
    # Shares of one cell write files of their own.
    named = [(item.cell, item.part) for share in shares for item in share]
    assert len(named) == len(set(named))


@given(given_groups=groups(), workers=st.integers(1, 6))
def test_a_share_is_worth_its_worker(given_groups: list[list[WorkItem]], workers: int) -> None:
    """Whatever was split off has enough to do; the largest share comes first."""
    shares = share_out(given_groups, workers)
    loads = [sum(len(item.requests) for item in share) for share in shares]
    assert loads == sorted(loads, reverse=True)
    if len(shares) > len(given_groups):
        whole = [[(item.cell, item.part) for item in group] for group in given_groups]
        split = [
            load
            for share, load in zip(shares, loads, strict=True)
            if [(item.cell, item.part) for item in share] not in whole
        ]
        assert min(split) >= WORTH_A_WORKER


def test_one_large_cell_is_split_for_two_workers() -> None:
    """And stays whole for one."""
    variants = tuple(request("cell", case, k) for case in range(10) for k in range(40))
    item = WorkItem(cell=cast("Any", "cell"), matrix="planted", lock=cast("Any", None), requests=variants)
    assert share_out([[item]], 1) == [[item]]
    one, other = share_out([[item]], 2)
    assert (len(one[0].requests), len(other[0].requests)) == (200, 200)
    assert (one[0].part, other[0].part) == (".1", ".2")


MATRIX = """
[matrix]
title = "One cell"
torch = "2.13.0"
limit-seconds = LIMIT
cases = ["generate_with_cache:llama"]

[[cell]]
why = "any"
peft = "0.14.0"
transformers = "4.45.1"
"""


@pytest.mark.parametrize(
    ("limit", "left"), [(5, 0), (10, 0), (10.5, 2), (60, 2)], ids=["shorter", "the same", "a bit more", "longer"]
)
def test_a_longer_limit_measures_again_what_a_shorter_one_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: float, left: int
) -> None:
    """Of a run that goes on; what ended, ended so under any limit, and no later run reuses a timeout at all."""
    monkeypatch.setenv("PROMPT_BENCH_REPORTS", str(tmp_path))
    matrix = parse_matrix(MATRIX.replace("LIMIT", str(limit)), tmp_path / "one.toml")
    planned = plan_run(matrix, load_cases(), Selection())
    lock, run = Lock(pins=("peft==0.14.0", "torch==2.13.0", "transformers==4.45.1")), Run(id="r")
    ((whole,), known) = divide(planned, [lock], matrix, run, None)
    assert known == 0
    outcomes = [Outcome.TIMEOUT, Outcome.TIMEOUT, Outcome.PASSED, Outcome.ERROR, Outcome.CRASHED]
    cell = CellFacts(id=whole.cell.id, python="3.11")
    records = [
        VariantRecord(
            run="r", time="2026-01-01T00:00:00Z", cell=cell, key=request.key, case=request.case,
            variant=request.variant, outcome=outcome, duration_s=10 if outcome == Outcome.TIMEOUT else 9,
        )
        for request, outcome in zip(whole.requests, outcomes, strict=False)
    ]  # fmt: skip
    append_records(run.folder / "records" / "a.jsonl", records)
    items, known = divide(planned, [lock], matrix, run, None)
    again = {request.key for item in items for request in item.requests}
    assert again & {record.key for record in records} == {record.key for record in records[:left]}
    assert known == len(records) - left
    store = Store(tmp_path / "store.sqlite")
    store.add(records)
    ((other,), known) = divide(planned, [lock], matrix, Run(id="later"), store)
    assert {record.key for record in records if record.outcome == Outcome.TIMEOUT} <= {
        one.key for one in other.requests
    }
    assert known == 2
