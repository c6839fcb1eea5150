"""Locks: pins without what differs from index to index, and their identity."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from harness.resolve import Lock, known_lock, parse_lock, requirements
from harness.spec import Cell

if TYPE_CHECKING:
    from pathlib import Path

COMPILED = """
numpy==2.1.2
nvidia-cublas-cu12==12.4.5.8
peft==0.13.2
PyYAML==6.0.2
torch==2.13.0+cpu
triton==3.1.0 ; platform_machine == 'x86_64'
"""


def test_a_lock_leaves_out_what_the_platform_adds() -> None:
    """The CPU and the CUDA build of torch have the same lock."""
    assert parse_lock(COMPILED).pins == ("numpy==2.1.2", "peft==0.13.2", "pyyaml==6.0.2", "torch==2.13.0")


def test_the_overlay_is_parted_from_the_base() -> None:
    """Cells that differ in peft alone have one base."""
    first, second = parse_lock(COMPILED), parse_lock(COMPILED.replace("0.13.2", "0.13.1"))
    assert first.base_pins == second.base_pins
    assert first.overlay_pins == ("peft==0.13.2",)
    assert first.layer_pins == ("torch==2.13.0",)
    assert sorted((*first.base_pins, *first.overlay_pins, *first.layer_pins)) == list(first.pins)
    assert first.digest != second.digest


@given(st.permutations(COMPILED.split("\n")))
def test_the_order_of_lines_does_not_matter(lines: list[str]) -> None:
    """The identity is what is pinned."""
    assert parse_lock("\n".join(lines)).digest == parse_lock(COMPILED).digest


def test_a_kept_lock_serves_its_own_question_only(tmp_path: Path) -> None:
    """When a cell's pins change, a lock of the same name is stale."""
    cell = Cell(python="3.11", pins={"peft": "0.13.2", "torch": "2.13.0"})
    question = f"# python 3.11, as of today: {' '.join(requirements(cell))}"
    path = tmp_path / f"{cell.id}.txt"
    path.write_text(f"{question}\npeft==0.13.2\n", encoding="utf-8")
    assert known_lock(cell, tmp_path) == Lock(pins=("peft==0.13.2",))
    path.write_text(f"{question} more\npeft==0.13.2\n", encoding="utf-8")
    assert known_lock(cell, tmp_path) is None
