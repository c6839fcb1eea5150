"""Answers that other releases gave: each variant has its files, and none could be passed by another one's answer."""

from __future__ import annotations

import json
import struct
from typing import TYPE_CHECKING

import pytest

from harness.matrix.cases import load_cases
from harness.matrix.plan import Selection, plan_run
from harness.matrix.read import load_matrix
from harness.paths import ROOT
from harness.selfcheck.frozen import BASE, IDS, Kept, cells, kept, run_in

if TYPE_CHECKING:
    from collections.abc import Sequence

CONVERTED = (
    ("bloom-prefix-written-before-4-44", "0.9.0", "bloom", ("prefix_tuning", "prefix_tuning_projection")),
    ("gemma-prefix-written-with-layers-for-halves", "0.18.1", "gemma2", ("prefix_tuning", "prefix_tuning_projection")),
    ("gemma2-prompt-no-longer-scaled", "0.18.1", "gemma2", ("prompt_tuning", "p_tuning")),
    ("gpt-bigcode-prefix-of-all-heads-refused", "0.13.2", "gpt_bigcode", ("prefix_tuning", "prefix_tuning_projection")),
    ("gpt-bigcode-prefix-of-all-heads-refused", "0.9.0", "gpt_bigcode", ("prefix_tuning", "prefix_tuning_projection")),
)
"""Defects with lines that convert a file, its writer and family, and the methods."""

CONVERT = """
import json, sys, tempfile
from pathlib import Path
import peft, torch
from safetensors.torch import load_file, save_file
from cases.frozen_answers import base_of
from harness.kit import apart, batch_of, by_forward
from harness.kit.trial import Trial

for code, folder, family, methods in json.loads({asked!r}):
    there = load_file(Path(folder) / "answers.safetensors")
    for method in methods:
        old, new = Path(folder) / method, Path(tempfile.mkdtemp())
        tensors = load_file(old / "adapter_model.safetensors")
        facts = json.loads((old / "adapter_config.json").read_text())
        given = dict(tensors=tensors, facts=facts, torch=torch, hidden_size=64, layers=2, tokens=4)
        exec(code, given)
        save_file({{name: one.contiguous() for name, one in tensors.items()}}, new / "adapter_model.safetensors")
        (new / "adapter_config.json").write_text(json.dumps(facts))
        model = peft.PeftModel.from_pretrained(base_of(family), str(new)).eval()
        found = by_forward(model, family, batch_of([there["ids"]]))
        trial = Trial(variant={{"model": family, "method": method}}, scratch=new)
        print("tolerances:", apart(trial, found, [there[method]]))
"""

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


def lines_of(defect: str) -> str:
    """Read the lines of code of a defect's file: those that are indented by four."""
    text = (ROOT / "cases" / "defects" / f"{defect}.md").read_text(encoding="utf-8")
    return "\n".join(line.removeprefix("    ") for line in text.splitlines() if line.startswith("    "))


@pytest.mark.slow
def test_the_lines_that_convert_an_old_file_do() -> None:
    """In a new pair the converted file gives what the old one gave where it was written: the way round of a defect."""
    asked = [
        (lines_of(defect), str(ROOT / "cases" / "adapters" / writer / family), family, methods)
        for defect, writer, family, methods in CONVERTED
    ]
    text = CONVERT.format(asked=json.dumps(asked))
    _, status, said = run_in(load_matrix("library"), load_cases(), "peft0.21.2-tf5.23.0-*", text)
    found = [float(line.split()[-1]) for line in said.splitlines() if line.startswith("tolerances:")]
    assert status == 0, said
    assert len(found) == 2 * len(CONVERTED)
    assert max(found) < 1.0
