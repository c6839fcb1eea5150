"""Locks: pins without what differs from index to index, and their identity."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.environments.locks import LockBook
from harness.environments.resolve import Lock, parse_lock, reason_first
from harness.matrix.spec import Cell

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
    """What was kept comes back whole; when a cell's date changes, its lock is stale."""
    cell = Cell(python="3.11", pins={"peft": "0.13.2", "torch": "2.13.0"})
    other = Cell(python="3.11", pins={"peft": "0.13.1", "torch": "2.13.0"})
    path = tmp_path / "locks" / "m.json"
    LockBook(path).keep({cell: parse_lock(COMPILED)})
    LockBook(path).keep({other: parse_lock(COMPILED.replace("0.13.2", "0.13.1"))})
    book = LockBook(path)
    assert book.get(cell) == parse_lock(COMPILED)
    assert book.get(other) == parse_lock(COMPILED.replace("0.13.2", "0.13.1"))
    assert path.read_text(encoding="utf-8").count("numpy") == 1, "a base is written once"
    path.write_text(path.read_text(encoding="utf-8").replace("as of today", "as of yesterday"), encoding="utf-8")
    assert LockBook(path).get(cell) is None


@pytest.mark.parametrize(
    "words",
    [
        (
            "error: No solution found when resolving dependencies cause: Because there is no version of "
            "peft==0.99.1 and you require peft==0.99.1, we can conclude that your requirements are unsatisfiable."
        ),
        (
            "x No solution found when resolving dependencies: `-> Because there is no version of peft==0.99.1 and you "
            "require peft==0.99.1, we can conclude that your requirements are unsatisfiable."
        ),
    ],
)
def test_the_reason_of_a_resolver_stands_first(words: str) -> None:
    """Who reads the beginning alone knows what to change; nothing of the answer is lost."""
    told = reason_first(words)
    assert told.startswith("Because there is no version of peft==0.99.1 and you require peft==0.99.1")
    assert "No solution found when resolving dependencies" in told
    assert reason_first("something else") == "something else"


def test_the_kept_lock_of_a_commit_comes_back_whole(tmp_path: Path) -> None:
    """The pin of a source has blanks in it, in a base and in an overlay alike; a commit does not float."""
    sources = {name: f"git+https://github.com/huggingface/{name}@{40 * 'a'}" for name in ("peft", "transformers")}
    cell = Cell(python="3.11", pins={**sources, "torch": "2.13.0"})
    pins = ["numpy==2.1.2", "torch==2.13.0", *(f"{name} @ {source}" for name, source in sources.items())]
    lock = Lock(pins=tuple(sorted(pins)))
    LockBook(tmp_path / "book.json").keep({cell: lock})
    assert LockBook(tmp_path / "book.json").get(cell) == lock
