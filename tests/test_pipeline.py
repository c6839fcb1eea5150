"""Work is shared out whole: nothing is lost, nothing is measured twice, no case goes into two shares."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Any, cast

from hypothesis import given
from hypothesis import strategies as st

from harness.contracts.job import Request
from harness.run.pipeline import WORTH_A_WORKER, share_out
from harness.run.workers import WorkItem


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
