"""Shards: every cell in one of them, of about equal cost, and joined again they say what one run says."""

from __future__ import annotations

import itertools
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from harness.cli import cli
from harness.contracts.plan import Plan
from harness.contracts.records import append_records, read_run, variants_in
from harness.judge.reference import measured_for, read_reference
from harness.judge.summary import summarise
from harness.matrix.cases import load_cases
from harness.matrix.plan import PlannedCell, Selection, plan_run
from harness.matrix.read import load_matrix
from harness.matrix.shards import SECONDS_A_BASE, Unit, load, shard_of, split, units_of
from harness.run.merge import merge_runs
from harness.run.runs import Run

if TYPE_CHECKING:
    from pathlib import Path

    from harness.contracts.record import VariantRecord

RUNNERS, CORES, LIMIT_S = 4, 2, 20 * 60
LONGEST_OVER_MEAN = 1.3

costs = st.lists(st.tuples(st.integers(0, 4), st.floats(0, 1000, allow_nan=False)), max_size=40).map(
    lambda drawn: [Unit(cell=f"c{n}", base=f"b{base}", seconds=s) for n, (base, s) in enumerate(drawn)]
)


@cache
def planned_of(matrix: str) -> tuple[PlannedCell, ...]:
    """Plan a matrix."""
    return plan_run(load_matrix(matrix), load_cases(), Selection())


def known_of(matrix: str) -> list[VariantRecord]:
    """Read the records that tell what a matrix costs."""
    return measured_for(matrix, {case.name for one in planned_of(matrix) for case, _ in one.variants})


@given(costs, st.integers(1, 20))
def test_every_unit_is_in_exactly_one_shard(units: list[Unit], count: int) -> None:
    """Nothing is lost, nothing is measured twice, and the same question has the same answer."""
    shards = split(units, count)
    assert len(shards) == count
    assert sorted(one.cell for shard in shards for one in shard) == sorted(one.cell for one in units)
    assert split(list(units), count) == shards


@given(costs, st.integers(1, 20))
def test_no_shard_waits_for_more_than_one_unit(units: list[Unit], count: int) -> None:
    """A shard is longer than the shortest by its last unit and base at the most."""
    shards = split(units, count)
    longest = max(shards, key=load)
    if longest:
        last = min(one.seconds for one in longest)
        assert load(longest) - min(map(load, shards)) <= last + SECONDS_A_BASE + 1e-6


def published_units(matrix: str) -> list[Unit]:
    """Return the cells of a matrix as they were published, and what they cost."""
    cost: dict[str, float] = {}
    for one in variants_in(read_reference(matrix)):
        cost[one.cell.id] = cost.get(one.cell.id, 0.0) + (one.duration_s or 0.0)
    bases = {one.cell.id: one.cell.base_id for one in planned_of(matrix)}
    return [Unit(cell=cell, base=bases[cell], seconds=seconds) for cell, seconds in cost.items()]


@pytest.mark.parametrize("matrix", ["nightly", "documented", "library", "grid"])
def test_four_shards_of_what_is_published_are_balanced(matrix: str) -> None:
    """By the measured costs the longest takes at most 1.3 times the mean; so it does of what is asked today."""
    for units in (published_units(matrix), units_of(planned_of(matrix), known_of(matrix))):
        loads = [load(shard) for shard in split(units, RUNNERS)]
        assert max(loads) <= LONGEST_OVER_MEAN * sum(loads) / len(loads), loads


def test_a_night_of_the_published_size_fits_twenty_minutes() -> None:
    """Four runners of two cores: a run gives work to each core, and splits a cell by cases where there is no other."""
    for shard in split(published_units("nightly"), RUNNERS):
        assert load(shard) / CORES <= LIMIT_S


def test_a_cell_that_nobody_measured_costs_what_its_cases_do() -> None:
    """The mean of each case stands in; a matrix without a reference asks all that is published."""
    one, *_ = planned_of("nightly")
    known = known_of("nightly")
    (unit,) = units_of([replace(one, cell=replace(one.cell, pins={**one.cell.pins, "peft": "99"}))], known)
    (there,) = units_of([one], known)
    assert 0.2 * there.seconds < unit.seconds < 5 * there.seconds
    assert {one.case for one in measured_for("no-such-matrix", {"padded_batch"})} == {"padded_batch"}


def published_run(name: str, cells: tuple[PlannedCell, ...]) -> Run:
    """Write a run of cells with their published records, as if it had measured them."""
    matrix, run = load_matrix("documented"), Run(id=name)
    run.add_plan(Plan(matrix=matrix.name, title=matrix.title, device="cpu", run=name), cells)
    there = {one.cell.id for one in cells}
    records = [replace(one, run=name) for one in read_reference("documented") if one.cell.id in there]
    if records:
        append_records(run.folder / "records" / "all.jsonl", records)
    return run


def verdicts_of(run: Run) -> dict[tuple[str, ...], str]:
    """Return the verdict of every place of a run."""
    return {
        (one.cell, one.case, *sorted(one.variant.items()).__repr__().split()): one.label
        for one in summarise(run, load_cases()).judged
    }


@pytest.mark.parametrize("count", [1, 4, 16])
def test_shards_merge_to_what_one_run_says(count: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the published records: as many verdicts, and the same ones, however many jobs measured them."""
    monkeypatch.setenv("PROMPT_BENCH_REPORTS", str(tmp_path))
    planned = planned_of("documented")
    whole = published_run("whole", planned)
    shards = [
        published_run(f"shard-{index}", shard_of(planned, known_of("documented"), (index, count)))
        for index in range(1, count + 1)
    ]
    joined = merge_runs(shards, Run(id="joined"))
    assert verdicts_of(joined) == verdicts_of(whole)


@pytest.fixture
def three(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Run]:
    """Write three shards of two published cells each."""
    monkeypatch.setenv("PROMPT_BENCH_REPORTS", str(tmp_path))
    planned = planned_of("documented")
    return [published_run(f"s{number}", planned[number * 2 : number * 2 + 2]) for number in range(3)]


def files_of(run: Run) -> dict[str, bytes]:
    """Return the files of a run by name."""
    return {str(path.relative_to(run.folder)): path.read_bytes() for path in run.folder.rglob("*") if path.is_file()}


def test_the_order_of_merging_does_not_matter_nor_how_often(three: list[Run]) -> None:
    """Any order, a shard named twice, the same merge a second time: byte for byte the same run."""
    first = files_of(merge_runs(three, Run(id="joined")))
    assert first
    for order in itertools.permutations(three):
        assert files_of(merge_runs([*order], Run(id="joined"))) == first
        assert files_of(merge_runs([*order, order[0]], Run(id="joined"))) == first


def test_merging_what_was_merged_adds_nothing(three: list[Run]) -> None:
    """Joining the first two and then the third says what joining all three at once does."""
    at_once = merge_runs(three, Run(id="joined"))
    part = merge_runs(three[:2], Run(id="part"))
    steps = merge_runs([part, three[2], three[0]], Run(id="steps"))
    assert verdicts_of(steps) == verdicts_of(at_once)
    assert {one.key for one in variants_in(read_run(steps.folder))} == {
        one.key for one in variants_in(read_run(at_once.folder))
    }


def test_the_command_plans_a_shard_and_an_empty_one() -> None:
    """All shards together have every cell once; with more shards than cells some have none, which is no mistake."""
    seen = []
    for index in (1, 2, 3, 4, 16):
        count = 16 if index == 16 else 4
        told = CliRunner().invoke(cli, ["plan", "nightly", "--shard", f"{index}/{count}", "--json"])
        assert told.exit_code == 0, told.output
        cells = [line for line in told.output.splitlines() if '"id"' in line]
        seen += cells if count == 4 else []
        assert cells or count == 16
    assert len(seen) == len(set(seen)) == len(load_matrix("nightly").cells)
