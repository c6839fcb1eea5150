"""Planted grids of records: small truths that a learner has to find again."""

from __future__ import annotations

import itertools
import json
from typing import TYPE_CHECKING, Any

from hypothesis import strategies as st

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from harness.explain.boxes import Box
    from harness.run.runs import Run

PEFT = ("0.9.0", "0.10.0", "0.11.1", "0.12.0", "0.13.0", "0.14.0")
TRANSFORMERS = ("4.40.2", "4.41.2", "4.42.4", "4.43.4", "5.0.0")
LLAMA = {"model": "llama", "method": "p_tuning", "aspect": "cached", "device": "cpu", "dtype": "float32"}


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
) -> dict[str, Any]:
    """Make a record of a variant, or of a cell's state when the outcome is one."""
    name = "-".join(f"{package}{version}" for package, version in packages.items())
    cell: dict[str, Any] = {
        "id": f"{name}-py3.11{day}",
        "matrix": matrix,
        "lock": None,
        "python": "3.11",
        "packages": {"torch": "2.13.0+cpu", **packages},
    }
    head = {"schema": 1, "run": "r", "time": "2026-11-21T00:00:00Z", "machine": {}}
    if outcome.endswith("-failed"):
        return {**head, "cell": {**cell, "state": outcome}, "message": "ImportError: cannot import name 'X'"}
    failed = outcome != "passed"
    return {
        **head,
        "cell": cell,
        "key": f"{name}-{'-'.join(variant.values())}",
        "case": case,
        "document": None,
        "variant": dict(variant),
        "outcome": outcome,
        "signature": "ValueError: of <n> @ peft.peft_model:f" if outcome == "error" else None,
        "message": f"it is {outcome}, in words" if failed else None,
        "evidence": {},
        "counters": {},
        "latency": {},
        "duration_s": 0.1,
    }


def grid(
    truth: Callable[[Mapping[str, str], Mapping[str, str]], str | None],
    variants: Sequence[Mapping[str, str]] = (LLAMA,),
    peft: Sequence[str] = PEFT,
    transformers: Sequence[str] = TRANSFORMERS,
) -> list[dict[str, Any]]:
    """Measure a truth ``(packages, variant) -> outcome`` on a full grid; None was not measured."""
    records = []
    for one, other in itertools.product(peft, transformers):
        packages = {"peft": one, "transformers": other}
        for variant in variants:
            outcome = truth(packages, variant)
            if outcome is not None:
                records.append(record(packages, outcome, variant=variant))
                if outcome.endswith("-failed"):
                    break
    return records


def write_run(run: Run, records: Sequence[Mapping[str, Any]], matrix: str = "grid") -> None:
    """Write records as a run that was asked for exactly them, under ``PROMPT_BENCH_REPORTS``."""
    (run.folder / "records").mkdir(parents=True)
    (run.folder / "records" / "planted.jsonl").write_text(
        "".join(json.dumps(one) + "\n" for one in records), encoding="utf-8"
    )
    asked: dict[str, list[dict[str, Any]]] = {}
    for one in records:
        variants = asked.setdefault(one["cell"]["id"], [])
        if "key" in one:
            variants.append({"case": one["case"], "variant": one["variant"]})
    cells = [{"id": name, "asked": variants} for name, variants in asked.items()]
    plan = {"matrix": matrix, "title": matrix, "device": "cpu", "run": run.id, "cells": cells}
    run.plan_path.write_text(json.dumps(plan), encoding="utf-8")
