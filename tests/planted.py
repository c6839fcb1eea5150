"""Planted grids of records: small truths that a learner has to find again."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from hypothesis import strategies as st

from harness.contracts.plan import AskedCell, AskedVariant, Plan, plan_text
from harness.contracts.record import CellFacts, StateRecord, VariantRecord
from harness.contracts.records import append_records
from harness.interface import CellState, Outcome

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from harness.contracts.record import Record
    from harness.judge.boxes import Box
    from harness.run.runs import Run

PEFT = ("0.9.0", "0.10.0", "0.11.1", "0.12.0", "0.13.0", "0.14.0")
TRANSFORMERS = ("4.40.2", "4.41.2", "4.42.4", "4.43.4", "5.0.0")
LLAMA = {"model": "llama", "method": "p_tuning", "aspect": "cached", "device": "cpu", "dtype": "float32"}
TIME = "2026-11-21T00:00:00Z"


@st.composite
def shapes(draw: st.DrawFn, axes: int = 3, size: int = 4) -> tuple[int, ...]:
    """Draw the shape of a small grid."""
    return tuple(draw(st.lists(st.integers(1, size), min_size=1, max_size=axes)))


@st.composite
def boxes(draw: st.DrawFn, shape: Sequence[int]) -> Box:
    """Draw a box within a shape."""
    box = []
    for size in shape:
        one, other = draw(st.integers(0, size - 1)), draw(st.integers(0, size - 1))
        box.append((min(one, other), max(one, other)))
    return tuple(box)


def record(
    packages: Mapping[str, str],
    outcome: str,
    *,
    variant: Mapping[str, str] = LLAMA,
    case: str = "generate_with_cache",
    matrix: str = "grid",
    day: str = "",
) -> VariantRecord:
    """Make a record of a variant."""
    name = _cell_name(packages)
    failed = outcome != "passed"
    return VariantRecord(
        run="r",
        time=TIME,
        cell=cell_facts(packages, matrix=matrix, day=day),
        key=f"{name}-{'-'.join(variant.values())}",
        case=case,
        variant=dict(variant),
        outcome=Outcome(outcome),
        signature="ValueError: of <n> @ peft.peft_model:f" if outcome == "error" else None,
        message=f"it is {outcome}, in words" if failed else None,
        duration_s=0.1,
    )


def state_record(
    packages: Mapping[str, str], state: str = "import-failed", *, matrix: str = "grid", day: str = ""
) -> StateRecord:
    """Make a record of a cell that never became ready."""
    cell = cell_facts(packages, matrix=matrix, day=day)
    words = "ImportError: cannot import name 'X'"
    return StateRecord(run="r", time=TIME, cell=cell, state=CellState(state), message=words)


def cell_facts(packages: Mapping[str, str], *, matrix: str = "grid", day: str = "") -> CellFacts:
    """Make the facts of a cell with these versions, as of a day where one is given (``@20240101``)."""
    return CellFacts(
        id=f"{_cell_name(packages)}-py3.11{day}",
        python="3.11",
        packages={"torch": "2.13.0+cpu", **packages},
        matrix=matrix,
    )


def _cell_name(packages: Mapping[str, str]) -> str:
    return "-".join(f"{package}{version}" for package, version in packages.items())


def grid(
    truth: Callable[[Mapping[str, str], Mapping[str, str]], str | None],
    variants: Sequence[Mapping[str, str]] = (LLAMA,),
    peft: Sequence[str] = PEFT,
    transformers: Sequence[str] = TRANSFORMERS,
) -> list[Record]:
    """Measure a truth ``(packages, variant) -> outcome or cell state`` on a full grid; None was not measured."""
    records: list[Record] = []
    for one, other in itertools.product(peft, transformers):
        packages = {"peft": one, "transformers": other}
        for variant in variants:
            outcome = truth(packages, variant)
            if outcome in set(CellState):
                records.append(state_record(packages, outcome))
                break
            if outcome is not None:
                records.append(record(packages, outcome, variant=variant))
    return records


def write_run(run: Run, records: Sequence[Record], matrix: str = "grid") -> None:
    """Write records as a run that was asked for exactly them, under ``PROMPT_BENCH_REPORTS``."""
    append_records(run.folder / "records" / "planted.jsonl", records)
    asked: dict[str, list[AskedVariant]] = {}
    for one in records:
        variants = asked.setdefault(one.cell.id, [])
        if isinstance(one, VariantRecord):
            variants.append(AskedVariant(case=one.case, variant=dict(one.variant)))
    cells = tuple(
        AskedCell(id=name, base="b", python="3.11", pins={}, asked=tuple(variants)) for name, variants in asked.items()
    )
    plan = Plan(matrix=matrix, title=matrix, device="cpu", run=run.id, cells=cells)
    run.plan_path.write_text(plan_text(plan), encoding="utf-8")
