"""Answers that other releases gave: each variant has its files, and none could be passed by another one's answer."""

from __future__ import annotations

import json
import struct
from typing import TYPE_CHECKING

import pytest

from harness.matrix.cases import load_cases
from harness.matrix.plan import Selection, plan_run
from harness.matrix.read import load_matrix
from harness.selfcheck.frozen import BASE, IDS, Kept, cells, kept

if TYPE_CHECKING:
    from collections.abc import Sequence

(CASE,) = (one for one in load_cases() if one.name == "frozen_answers")


def numbers(one: Kept, name: str) -> Sequence[float]:
    """Read a float32 tensor's numbers out of a safetensors file."""
    data = one.path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    first, last = json.loads(data[8 : 8 + length])[name]["data_offsets"]
    part = data[8 + length + first : 8 + length + last]
    return struct.unpack(f"<{len(part) // 4}f", part)


def test_every_variant_has_an_adapter_and_an_answer_and_nothing_else_is_kept() -> None:
    """What is asked and what lies there are the same, and each answer is of the writer whose folder it lies in."""
    asked = {(one["writer"], one["model"], one["method"]) for one in CASE.variants}
    assert asked == {(one.made["peft"], one.family, method) for one in kept() for method in one.methods}
    for one in kept():
        assert one.path.parts[-3] == one.made["peft"]
        names = {f"{method}/adapter_{part}" for method in one.methods for part in ("config.json", "model.safetensors")}
        files = {str(path.relative_to(one.path.parent)) for path in one.path.parent.rglob("*") if path.is_file()}
        assert files == names | {one.path.name}


def test_the_cells_that_write_are_those_of_the_writers() -> None:
    """Each is one cell of the library, beside the transformers that its files name."""
    planned = plan_run(load_matrix("library"), load_cases(), Selection(cells=cells()))
    pins = {(one.cell.pins["peft"], one.cell.pins["transformers"], one.cell.pins["torch"]) for one in planned}
    assert len(pins) == len(cells())
    assert pins == {tuple(one.made[name] for name in ("peft", "transformers", "torch")) for one in kept()}


@pytest.mark.parametrize("one", kept(), ids=lambda one: f"{one.made['peft']}-{one.family}")
def test_no_two_answers_are_alike(one: Kept) -> None:
    """Of a text's logits as float32, no two methods give the same, and none gives the base model's."""
    dtype, (rows, length) = one.shapes[IDS]
    assert (dtype, rows) == ("I64", 1)
    answers = {name: numbers(one, name) for name in (*one.methods, BASE)}
    for name, answer in answers.items():
        assert one.shapes[name][0] == "F32"
        assert len(one.shapes[name][1]) == 2
        assert one.family in {"t5", "bart"} or one.shapes[name][1][0] == length
        for other in answers.keys() - {name}:
            assert max(abs(a - b) for a, b in zip(answer, answers[other], strict=True)) > 0.1, (name, other)


def test_one_text_and_one_base_model_for_all_writers() -> None:
    """Where a family has several writers their base models agree to rounding: what differs is the adapter's doing."""
    by_family: dict[str, list[Kept]] = {}
    for one in kept():
        by_family.setdefault(one.family, []).append(one)
    for family, several in by_family.items():
        first, *rest = (numbers(one, BASE) for one in several)
        for other in rest:
            apart = max(abs(a - b) for a, b in zip(first, other, strict=True))
            assert apart < 1e-4 * max(1.0, *map(abs, first)), family
