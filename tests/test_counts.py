"""Exact counts between neighbouring releases: what was planted is told with where, and nothing else."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from harness.latency.counts import LEAST, count_steps
from tests.planted import PEFT, TRANSFORMERS, record

if TYPE_CHECKING:
    from harness.contracts.record import VariantRecord

CELLS = [{"peft": peft, "transformers": other} for peft in PEFT for other in TRANSFORMERS]


def grid(*, since: int, factor: float, axis: str = "peft") -> list[VariantRecord]:
    """Make the records of a grid in which a count is larger from one release of one package on."""
    order = PEFT if axis == "peft" else TRANSFORMERS
    return [
        replace(
            record(cell, "passed"),
            counters={"operators": round(1000 * (factor if order.index(cell[axis]) >= since else 1))},
        )
        for cell in CELLS
    ]


@given(st.integers(1, 4), st.floats(0.1, 10), st.sampled_from(["peft", "transformers"]), st.randoms())
def test_a_planted_change_is_told_at_its_release(since: int, factor: float, axis: str, dice: object) -> None:
    """Beside every other release, once; a change that is too small, nowhere. The order of records says nothing."""
    records = grid(since=since, factor=factor, axis=axis)
    dice.shuffle(records)  # type: ignore[attr-defined]  # a random.Random
    steps = count_steps(records)
    old, new = sorted((1000, round(1000 * factor)))
    if new / old - 1 <= LEAST:
        assert steps == []
        return
    (step,) = steps
    order = PEFT if axis == "peft" else TRANSFORMERS
    assert (step.package, step.before, step.after) == (axis, order[since - 1], order[since])
    assert len(step.changes) == len(TRANSFORMERS if axis == "peft" else PEFT)
    assert f"operators 1000 -> {round(1000 * factor)}" in step.words


def test_what_fails_or_is_alone_is_compared_with_nothing() -> None:
    """A failure ends early; a cell that differs from every other one in two packages has no neighbour."""
    one = replace(record({"peft": "0.9.0", "transformers": "4.40.2"}, "passed"), counters={"operators": 1})
    failed = replace(record({"peft": "0.10.0", "transformers": "4.40.2"}, "wrong"), counters={"operators": 9})
    apart = replace(record({"peft": "0.10.0", "transformers": "5.0.0"}, "passed"), counters={"operators": 9})
    assert count_steps([one, failed, apart]) == []
