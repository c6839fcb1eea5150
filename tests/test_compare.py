"""Two real cells side by side, and what a lost cache or a failed variant looks like; no verdict rests on a clock."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.contracts.job import Request
from harness.contracts.record import CellFacts, record_data
from harness.contracts.records import read_records
from harness.environments.build import Environment, build
from harness.environments.locks import lock_book
from harness.interface import Outcome
from harness.judge.cost_verdict import CostVerdict, judge_cost
from harness.matrix.cases import load_cases
from harness.matrix.read import load_matrix
from harness.paths import ROOT
from tests.jobs import copy_of_cases, make_task, start_client

CELL = "peft0.15.2-st4.1.0-tf4.51.3-torch2.13.0-py3.11@20250418"
"""A cell in which every variant of ``generate_with_cache`` passes."""

BROKEN = "peft0.13.0-st3.1.1-tf4.45.1-torch2.13.0-py3.11@20241008"
FAMILIES = ("llama", "gpt2", "bloom", "qwen2", "opt")

NEWEST = "peft0.21.2-tf5.23.0-torch2.13.0-py3.11@20261120"
MORE_FAMILIES = {
    "generate_families": (
        "mistral", "qwen3", "gemma2", "gemma3", "gpt_neox", "falcon", "gpt_bigcode", "qwen2_moe",
    ),
    "encoder_decoder_generate": ("t5", "bart"),
}  # fmt: skip
SOUND, LOST = "use_cache=use_cache", "use_cache=False"
ASKS = {
    "cases/generate_with_cache.py": f"{SOUND})\n    trial.evidence",
    "harness/kit/oracles.py": f"{SOUND}, **inputs",
}
"""Where the cases ask for the cache; the counters are told apart from it that it was asked for."""


@pytest.fixture(scope="module")
def environment() -> Environment:
    """Build (or find) the environment of the cell, as its matrix has it locked."""
    return built("documented", CELL)


def built(name: str, cell_id: str) -> Environment:
    """Build (or find) the environment of a cell."""
    matrix = load_matrix(name)
    (cell,) = (one for one in matrix.cells if one.id == cell_id)
    lock = lock_book(matrix).get(cell)
    assert lock is not None
    return build(lock, cell.python)


def work(
    environment: Environment,
    folder: Path,
    families: dict[str, tuple[str, ...]] | None = None,
    *,
    lose_the_cache: bool,
    timed: bool = True,
) -> list[dict[str, Any]]:
    """Measure every family once, twice for the first, with a worker on a copy of the cases."""
    root = copy_of_cases(folder)
    for name, asks in ASKS.items():
        path = root / name
        text = path.read_text(encoding="utf-8")
        assert text.count(asks) == 1
        if lose_the_cache:
            path.write_text(text.replace(asks, asks.replace(SOUND, LOST)), encoding="utf-8")
    asked = [
        (case, family) for case, some in (families or {"generate_with_cache": FAMILIES}).items() for family in some
    ]
    requests = tuple(
        Request(
            key=str(number),
            case=case,
            document=None,
            variant={"model": family, "method": "prompt_tuning", "aspect": "cached", "device": "cpu"},
        )
        for number, (case, family) in enumerate(asked)
    )
    task = make_task(folder, environment, root, requests, limit_s=120, timed=timed)
    client = start_client(task, environment, folder)
    try:
        for name, chosen in (("all", requests), ("again", requests[:1])):
            cell, benchmarks = CellFacts(id=name, python="3.11"), str(folder / f"{name}.json")
            client.measure(replace(task.entry, cell=cell, benchmarks=benchmarks, requests=chosen))
    finally:
        client.close()
    return [record_data(record) for record in read_records(folder / "out.jsonl")]


@pytest.fixture(scope="module")
def sound(environment: Environment, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """Measure the case as it is."""
    return work(environment, tmp_path_factory.mktemp("sound"), lose_the_cache=False)


def test_a_planted_loss_of_the_cache_is_found_in_every_family(
    environment: Environment, sound: list[dict[str, Any]], tmp_path: Path
) -> None:
    """The answers stay right, so no outcome tells; the counters do, in all five, and never without the loss."""
    lost = work(environment, tmp_path, lose_the_cache=True)
    for records, expected in ((sound, CostVerdict.AS_EXPECTED), (lost, CostVerdict.REGRESSED)):
        assert {one["variant"]["model"] for one in records} == set(FAMILIES)
        assert {one["outcome"] for one in records} == {Outcome.PASSED}
        assert {judge_cost(one["counters"]) for one in records} == {expected}


def test_a_planted_loss_is_found_in_the_other_families_too(tmp_path: Path) -> None:
    """Sliding windows, hybrid caches, one key head for all queries, experts, encoder-decoders: on new releases."""
    newest = built("families", NEWEST)
    for lose, expected in ((False, CostVerdict.AS_EXPECTED), (True, CostVerdict.REGRESSED)):
        records = work(newest, tmp_path / str(lose), MORE_FAMILIES, lose_the_cache=lose, timed=False)
        assert {one["variant"]["model"] for one in records} == set().union(*MORE_FAMILIES.values())
        assert {one["variant"]["model"]: judge_cost(one["counters"]) for one in records} == dict.fromkeys(
            set().union(*MORE_FAMILIES.values()), expected
        )
        assert {one["outcome"] for one in records} == {Outcome.PASSED}


def test_counters_are_the_same_in_two_processes(sound: list[dict[str, Any]]) -> None:
    """Forward calls, tokens, operators, FLOPs and bytes: exact, so equal to the last digit."""
    first, again = (next(one for one in sound if one["cell"]["id"] == name) for name in ("all", "again"))
    assert first["counters"] == again["counters"]
    assert first["counters"]["operators"] > 0
    assert first["counters"]["flops"] > 0
    assert first["counters"]["bytes_allocated"] > 0
    assert "not_counted" not in first["counters"]


def test_a_record_has_arms_in_pairs_with_their_parts(sound: list[dict[str, Any]]) -> None:
    """Eight pairs; prefill and decode add up to less than what the clock said; a line an arm in pytest-benchmark."""
    latency = sound[0]["latency"]
    for arm in ("cached", "uncached"):
        one = latency[arm]
        assert len(one["samples_s"]) == len(one["waited_s"]) == len(one["prefill"]["samples_s"]) == 8
        assert one["forward_calls"] == 8
        for whole, prefill, decode in zip(
            one["samples_s"], one["prefill"]["samples_s"], one["decode"]["samples_s"], strict=True
        ):
            assert 0 < prefill + decode <= whole * 1.001
    assert latency["cached"]["tokens_fed"] < latency["uncached"]["tokens_fed"]


def test_two_cells_are_compared_from_the_command_line(environment: Environment, tmp_path: Path) -> None:
    """What runs in both is timed in pairs, what fails in one is said so; pytest-benchmark reads the files."""
    case = "generate_with_cache:gpt2-prompt_tuning-cached,generate_with_cache:bloom-prompt_tuning-cached"
    command = [sys.executable, "-m", "harness", "compare", BROKEN, CELL, "--case", case, "--budget", "1", "--json"]
    environ = {**os.environ, "PROMPT_BENCH_REPORTS": str(tmp_path)}
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environ, check=False)
    assert done.returncode in {0, 1}, done.stderr
    answer = json.loads(done.stdout)
    gpt2, bloom = answer["variants"]
    assert (gpt2["variant"]["model"], gpt2["pairs"] > 0) == ("gpt2", True)
    assert gpt2["pairs"] % 2 == 0
    assert gpt2["counters"].get("tokens_fed") is None, "both feed the same tokens"
    assert "error in the first cell (RuntimeError: The expanded size" in bloom["sentence"]
    files = [str(tmp_path / "runs" / answer["run"] / "benchmarks" / f"{side}.json") for side in ("first", "second")]
    data = [json.loads(Path(path).read_text(encoding="utf-8")) for path in files]
    assert [len(one["benchmarks"][0]["stats"]["data"]) for one in data] == [gpt2["pairs"]] * 2
    tool = "import sys; sys.path[:0] = sys.argv.pop(1).split(':'); from pytest_benchmark.cli import main; main()"
    behind = ":".join(str(one) for one in environment.behind)
    compared = subprocess.run(
        [str(environment.python), "-c", tool, behind, "compare", *files],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )
    assert compared.returncode == 0, compared.stderr
    assert "gpt2-prompt_tuning-cached" in compared.stdout


def test_the_case_by_name_runs_only_where_it_is_named() -> None:
    """The long case is asked for by one cell of the documented matrix, and no pattern means it."""
    from harness.matrix.plan import Selection, plan_run

    planned = plan_run(load_matrix("documented"), load_cases(), Selection())
    with_it = [one.cell.id for one in planned if any(case.name == "generate_cost_growth" for case, _ in one.variants)]
    assert [one.partition("-")[0] for one in with_it] == ["peft0.21.2"]
    assert not any(
        case.name == "generate_cost_growth"
        for one in plan_run(load_matrix("nightly"), load_cases(), Selection())
        for case, _ in one.variants
    )
