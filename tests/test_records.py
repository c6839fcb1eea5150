"""Records survive a kill; a key names all that can change a measurement."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.contracts.record import Machine
from harness.contracts.records import append_records, mend, read_records
from harness.matrix.cases import load_cases
from harness.paths import ROOT
from harness.run.keys import key_of, project_code
from harness.run.store import Store
from tests.planted import record
from tests.strategies import records

if TYPE_CHECKING:
    from pathlib import Path

    from harness.contracts.record import VariantRecord

CASES = {case.name: case for case in load_cases()}
MACHINE = Machine(cpu="c", platform="p")


@given(data=st.lists(records(), max_size=5), cut=st.integers(0, 400))
def test_a_kill_costs_at_most_the_last_line(
    tmp_path_factory: pytest.TempPathFactory, data: list[VariantRecord], cut: int
) -> None:
    """Whatever byte a file was cut at, whole lines are read and appending goes on cleanly."""
    path = tmp_path_factory.mktemp("run") / "r.jsonl"
    append_records(path, data)
    whole = path.read_bytes()
    path.write_bytes(whole[: max(0, len(whole) - cut)])
    kept = list(read_records(path))
    assert kept == data[: len(kept)]
    append_records(path, data[len(kept) :])
    assert list(read_records(path)) == data


def test_mending_leaves_a_whole_file_alone(tmp_path: Path) -> None:
    """A file that ends in a newline is as it was."""
    path = tmp_path / "r.jsonl"
    path.write_text('{"a": 1}\n', encoding="utf-8")
    mend(path)
    assert path.read_text(encoding="utf-8") == '{"a": 1}\n'


@pytest.mark.parametrize(
    "change",
    [
        {"lock": "other"},
        {"python": "3.12"},
        {"variant": {"model": "gpt2"}},
        {"machine": replace(MACHINE, cpu="d")},
        {"case": CASES["padded_batch"]},
        {"timed": False},
    ],
    ids=lambda change: next(iter(change)),
)
def test_the_key_changes_with_each_part(change: dict[str, Any]) -> None:
    """A record is reused only where nothing that matters differs."""
    about: dict[str, Any] = {
        "lock": "l", "python": "3.11", "case": CASES["generate_with_cache"], "variant": {"model": "llama"},
        "machine": MACHINE, "timed": True, "examples": None,
    }  # fmt: skip
    assert key_of(**about) == key_of(**about)
    assert key_of(**about) != key_of(**{**about, **change})


@pytest.mark.parametrize(
    ("case", "counts"),
    [("generate_with_cache", {"timed"}), ("prompt_learning_properties", {"examples"}), ("padded_batch", set())],
)
def test_how_it_is_asked_counts_for_a_case_that_asks(case: str, counts: set[str]) -> None:
    """Whether it is timed and how many examples a property tries: equal measurements have equal keys everywhere."""
    about: dict[str, Any] = {
        "lock": "l", "python": "3.11", "case": CASES[case], "variant": {"model": "llama"}, "machine": MACHINE,
        "timed": True, "examples": None,
    }  # fmt: skip
    changed = {"timed": False, "examples": 10}
    assert {name for name, value in changed.items() if key_of(**about) != key_of(**{**about, name: value})} == counts


def test_weights_count_for_the_families_that_a_variant_may_load() -> None:
    """The variant's own family, and those that the code names; adapters for the case that reads them."""
    code = project_code()

    def files(case: str, model: str) -> set[str]:
        paths = code.data_files(CASES[case], {"model": model, "method": "lora"})
        return {path.name for path in paths if path.parent.name == "checkpoints"} | {
            path.relative_to(ROOT / "cases").parts[0] for path in paths if path.parent.name != "checkpoints"
        }

    assert files("padded_batch", "bloom") == {"bloom.safetensors"}
    assert files("padded_batch", "mistral") == set()
    assert files("written_by_another_release", "llama") >= {"llama.safetensors", "adapters"}


def test_the_store_gives_the_newest_and_forgets_what_says_nothing(tmp_path: Path) -> None:
    """What was not run is kept out: it must not hide a later measurement."""
    store = Store(tmp_path / "s.sqlite")
    old = replace(record({"peft": "0.13.0"}, "wrong"), key="k", run="1", time="2026-01-01")
    new = replace(record({"peft": "0.13.0"}, "passed"), key="k", run="2", time="2026-01-02")
    empty = replace(record({"peft": "0.13.0"}, "not-run"), key="n", run="2", time="2026-01-02")
    store.add([new, old, empty])
    assert store.find(["k", "n", "missing"]) == {"k": new}
