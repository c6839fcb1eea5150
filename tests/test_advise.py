"""Advice: from measured cells only, silent faults first, and the nearest that works."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from harness.cli import cli
from harness.contracts.records import variants_in
from harness.explain.advice import Advice, advise, pip_command
from harness.explain.filters import Where
from harness.run.runs import Run
from tests.planted import LLAMA, PEFT, TRANSFORMERS, cell_facts, grid, record, write_run

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from harness.contracts.record import Record

PREFIX = {**LLAMA, "method": "prefix_tuning"}
BLOOM = {**LLAMA, "model": "bloom"}


def truth(packages: Mapping[str, str], _: Mapping[str, str]) -> str:
    """Work with peft 0.14 alone, or with transformers 4.40; be silently wrong once, raise otherwise."""
    if packages["peft"] == "0.14.0" or packages["transformers"] == "4.40.2":
        return "passed"
    return "wrong" if packages["peft"] == "0.13.0" and packages["transformers"] == "4.43.4" else "error"


def ask(records: Iterable[Record], where: Where) -> Advice:
    """Ask for everything that the filter lets through."""
    advice = advise(records, where, lambda _: True, {"peft": (*PEFT, "0.13.1"), "transformers": TRANSFORMERS})
    assert advice is not None
    return advice


def test_what_works_stands_newest_first() -> None:
    """Only cells within the bounds, with all of what was asked for passed."""
    advice = ask(grid(truth), Where(versions={"transformers": "<4.42"}))
    assert [cell.facts.id for cell in advice.together.working][:3] == [
        "peft0.14.0-transformers4.41.2-py3.11",
        "peft0.14.0-transformers4.40.2-py3.11",
        "peft0.13.0-transformers4.40.2-py3.11",
    ]
    assert len(advice.rests_on) == 12
    assert advice.together.nearest is None


def test_silently_wrong_comes_before_all_others() -> None:
    """One wrong cell stands before the many that raise."""
    advice = ask(grid(truth), Where(versions={"peft": "<0.14"}))
    assert [(one.outcome, len(one.cells)) for one in advice.together.failures] == [("wrong", 1), ("error", 19)]
    assert advice.together.failures[0].words == "it is wrong, in words"


def test_the_nearest_changes_the_fewest_packages_then_the_fewest_releases() -> None:
    """One package several releases away is nearer than two packages; within one, known releases are counted."""
    both = ask(grid(truth), Where(versions={"peft": "==0.13.0", "transformers": "==5.0.0"}))
    assert not both.works
    assert both.together.nearest is not None
    assert (both.together.nearest.changed, both.together.nearest.steps) == (("peft",), 2)
    assert both.together.nearest.cell.facts.id == "peft0.14.0-transformers5.0.0-py3.11"
    older = ask(grid(truth), Where(versions={"peft": "==0.9.0", "transformers": "==4.41.2"}))
    assert older.together.nearest is not None
    assert (older.together.nearest.changed, older.together.nearest.steps) == (("transformers",), 1)
    nowhere = ask(grid(lambda *_: "error"), Where())
    assert nowhere.together.nearest is None


@given(st.sampled_from(PEFT), st.sampled_from(TRANSFORMERS), st.randoms(use_true_random=False))
def test_nothing_is_nearer_than_the_nearest(peft: str, transformers: str, random: Any) -> None:
    """Against brute force over all cells that work."""
    records = grid(lambda *_: random.choice(["passed", "error", "error"]))
    advice = ask(records, Where(versions={"peft": f"=={peft}", "transformers": f"=={transformers}"}))
    ladders = {"peft": [*PEFT[:5], "0.13.1", PEFT[5]], "transformers": list(TRANSFORMERS)}
    bounds = {"peft": peft, "transformers": transformers}
    ranks = []
    for one in variants_in(records):
        there = one.cell.packages
        steps = [abs(ladders[name].index(there[name]) - ladders[name].index(bounds[name])) for name in bounds]
        if one.outcome == "passed":
            ranks.append((sum(step > 0 for step in steps), sum(steps)))
    nearest = advice.together.nearest
    if advice.works or not ranks:
        assert nearest is None
    else:
        assert nearest is not None
        assert (len(nearest.changed), nearest.steps) == min(ranks)


def test_a_cell_with_less_measured_is_no_proof_for_all() -> None:
    """It passed what was tried there, which is said, and never counted as working for all of it."""
    records = grid(lambda *_: "passed", [LLAMA, BLOOM])
    measured = [one for one in variants_in(records) if one.variant == LLAMA or one.cell.packages["peft"] == "0.9.0"]
    advice = ask(measured, Where(versions={"peft": ">=0.10"}))
    assert not advice.works
    assert len(advice.together.promising) == 25
    assert advice.together.nearest is not None
    assert advice.together.nearest.cell.releases["peft"] == "0.9.0"
    assert ask(measured, Where(versions={"peft": ">=0.10"}, axes={"model": ("llama",)})).works


def test_what_cannot_exist_is_a_failure_only_where_nothing_can() -> None:
    """One of two ways that cannot exist does not spoil the other."""
    packages = {"peft": "0.9.0", "transformers": "4.40.2"}
    records = [record(packages, "passed"), record(packages, "unsupported", variant=PREFIX)]
    assert ask(records, Where()).works
    advice = ask(records, Where(axes={"method": ("prefix_tuning",)}))
    assert not advice.works
    assert [one.outcome for one in advice.together.failures] == ["unsupported"]


def test_a_cell_that_never_was_ready_fails_for_everything() -> None:
    """Its state and words are among the failures."""
    records = grid(lambda packages, _: "import-failed" if packages["peft"] == "0.9.0" else "passed")
    advice = ask(records, Where(versions={"peft": "<0.10"}))
    assert [(one.outcome, len(one.cells)) for one in advice.together.failures] == [("import-failed", 5)]
    assert advice.together.nearest is not None
    assert advice.together.nearest.steps == 1


def test_the_command_pins_what_was_measured() -> None:
    """Exact releases, without the build of torch, which indexes name differently."""
    assert pip_command(cell_facts({"peft": "0.9.0", "numpy": "2.0.0"})) == (
        "pip install peft==0.9.0 torch==2.13.0 numpy==2.0.0"
    )


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Write a planted run."""
    monkeypatch.setenv("PROMPT_BENCH_REPORTS", str(tmp_path))
    monkeypatch.setenv("PROMPT_BENCH_CACHE", str(tmp_path / "cache"))
    this = Run(id="planted")
    write_run(this, grid(truth, [LLAMA, PREFIX]))
    return this


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["--method", "p_tuning"], 0, "All of it works in 10 of 30 cells"),
        (["--peft", "0.13.0", "--transformers", ">=5"], 1, "The nearest that works changes peft to 0.14.0"),
        (["--peft", ">=1"], 3, "nothing was measured of this in run planted"),
        (["--method", "lora"], 3, "nothing was measured"),
        (["--case", "prompt_tuning_guide"], 3, "nothing was measured"),
        (["--method", "p_tunning"], 2, "did you mean p_tuning"),
        (["--peft", "new"], 2, "is not a specifier"),
        (["--case", "nonsense"], 2, "no case 'nonsense'; "),
    ],
)
def test_the_command_answers_and_says_so_in_its_status(run: Run, arguments: list[str], status: int, words: str) -> None:
    """0: works, 1: nothing within the bounds does, 2: not understood, 3: not measured; never wider than 100."""
    done = CliRunner().invoke(cli, ["advise", "--run", run.id, "--offline", *arguments])
    assert words in " ".join(done.output.split())
    assert done.exit_code == status
    assert status == 2 or max(map(len, done.output.splitlines())) <= 100


def test_the_command_names_the_cells_that_it_rests_on(run: Run) -> None:
    """In JSON all of them."""
    done = CliRunner().invoke(cli, ["advise", "--run", run.id, "--offline", "--peft", "0.9.0", "--json"])
    data = json.loads(done.output)
    assert len(data["rests_on"]) == 5
    assert [one["cell"] for one in data["together"]["working"]] == ["peft0.9.0-transformers4.40.2-py3.11"]
    assert data["together"]["failures"][0]["outcome"] == "error"
