"""History: a step in a series is a suspicion, noise and other machines are none."""

from __future__ import annotations

import random
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from harness.commands.admin.watch import cell_of
from harness.contracts.record import CellFacts, Machine, VariantRecord
from harness.interface import Outcome
from harness.latency.history import pettitt, slower_since, suspects

MACHINE = Machine(cpu="c", cores=2, platform="linux-x86_64")


def night(number: int, seconds: float, *, cpu: str = "c", peft: str = "0.21.2") -> VariantRecord:
    """Make a record of one night."""
    packages = {"peft": peft, "torch": "2.13.0+cpu", "numpy": "2"}
    return VariantRecord(
        run="r", time=f"2026-11-{number + 1:02d}T01:00:00Z", machine=replace(MACHINE, cpu=cpu), key="k", case="c",
        cell=CellFacts(id="peftnewest", matrix="nightly", python="3.11.7", packages=packages),
        variant={"model": "llama", "device": "cpu"}, outcome=Outcome.PASSED,
        latency={"cached": {"samples_s": [seconds] * 8}},
    )  # fmt: skip


@given(st.lists(st.floats(0.1, 10), min_size=2, max_size=30), st.floats(0.01, 100))
@settings(max_examples=30, deadline=None)
def test_a_change_point_does_not_depend_on_the_unit(values: list[float], scale: float) -> None:
    """Ranks alone count, and the p-value is one."""
    change, p = pettitt(values)
    assert 1 <= change < len(values)
    assert 0 <= p <= 1
    if len(set(values)) == len({scale * one for one in values}):
        assert pettitt([scale * one for one in values]) == (change, p)


def test_a_step_is_found_where_it_is() -> None:
    """Ten nights, then ten that are a fifth slower."""
    dice = random.Random(0)  # noqa: S311 - noise, no secret
    values = [0.01 * dice.lognormvariate(0, 0.02) * (1.2 if index >= 10 else 1) for index in range(20)]
    assert slower_since(values) == 10


def test_the_newest_night_alone_is_looked_at() -> None:
    """Above all that was before by more than the floor; a little above is nothing."""
    assert slower_since([1.0, 1.01, 0.99, 1.0, 1.2]) == 4
    assert slower_since([1.0, 1.01, 0.99, 1.0, 1.03]) is None
    assert slower_since([1.0, 2.0]) is None


@given(st.integers(0, 1000))
@settings(max_examples=30, deadline=None)
def test_a_faster_series_is_no_suspect(seed: int) -> None:
    """A step down is good news."""
    dice = random.Random(seed)  # noqa: S311 - noise, no secret
    values = [dice.uniform(1.0, 1.02) * (0.8 if index >= 10 else 1) for index in range(20)]
    assert slower_since(values) is None


def test_suspects_come_from_one_kind_of_machine() -> None:
    """A slower machine is another series; the cell before the step is the one to hold against, as of its day."""
    calm = [night(index, 0.01) for index in range(8)]
    assert suspects([*calm, night(9, 0.02, cpu="slow")]) == []
    (found,) = suspects([*calm, night(9, 0.012, peft="0.22.0")])
    assert (found.before.time[:10], found.now.time[:10]) == ("2026-11-08", "2026-11-10")
    before, now = cell_of(found.before), cell_of(found.now)
    assert (before.pins["peft"], now.pins["peft"], now.pins["torch"]) == ("0.21.2", "0.22.0", "2.13.0")
    assert (before.python, str(before.as_of)) == ("3.11", "2026-11-08")
