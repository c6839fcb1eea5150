"""Advice: ranges of measured versions that work, how the others fail, and the nearest that works."""

from __future__ import annotations

import itertools
import json
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from packaging.version import Version

from harness.cli import cli
from harness.contracts.record import VariantRecord
from harness.contracts.records import variants_in
from harness.explain.advice import Advice, Evidence, Question, Subject, pip_command, table_of
from harness.explain.uses import DEFAULT, USES, typed
from harness.report.advice import MOST_LINES, WIDTH, Wording
from harness.run.runs import Run
from tests.planted import LLAMA, PEFT, TRANSFORMERS, cell_facts, grid, record, write_run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from harness.contracts.record import Record

PREFIX = {**LLAMA, "method": "prefix_tuning"}
BLOOM = {**LLAMA, "model": "bloom"}
QWEN = {**LLAMA, "model": "qwen2"}


def truth(packages: Mapping[str, str], _: Mapping[str, str]) -> str:
    """Work with peft 0.14 alone, or with transformers 4.40; be silently wrong once, raise otherwise."""
    if packages["peft"] == "0.14.0" or packages["transformers"] == "4.40.2":
        return "passed"
    return "wrong" if packages["peft"] == "0.13.0" and packages["transformers"] == "4.43.4" else "error"


def ask(records: Iterable[Record], place: str = "", **versions: str) -> Advice:
    """Ask about p-tuning, on one family or on the common ones, within bounds."""
    chosen: Callable[[Subject], bool] = lambda one: place in {"", one.place}  # noqa: E731
    question = Question(use=USES[DEFAULT], versions=versions, method="p_tuning", place=place, chosen=chosen)
    table = table_of(records, USES[DEFAULT], lambda one: isinstance(one, VariantRecord), lambda _: "", versions)
    return Advice(table, question)


def ends(advice: Advice) -> list[tuple[str, ...]]:
    """List the ends of the ranges as text, peft before transformers."""
    return [tuple(f"{low} to {high}" for low, high in one.ends) for one in advice.ranges]


def point(peft: str, transformers: str) -> tuple[Version, ...]:
    """Return a pair."""
    return Version(peft), Version(transformers)


def test_the_newest_range_stands_first() -> None:
    """It holds the newest pair that works; another range covers what is left."""
    advice = ask(grid(truth))
    assert ends(advice) == [("0.14.0 to 0.14.0", "4.40.2 to 5.0.0"), ("0.9.0 to 0.14.0", "4.40.2 to 4.40.2")]
    assert [str(one) for one in advice.ranges[0].newest] == ["0.14.0", "5.0.0"]
    assert ends(ask(grid(truth), transformers="<4.42"))[0] == ("0.14.0 to 0.14.0", "4.40.2 to 4.41.2")


outcomes = st.dictionaries(
    st.tuples(st.sampled_from(PEFT), st.sampled_from(TRANSFORMERS)),
    st.sampled_from(["passed", "passed", "passed", "wrong", "error", "import-failed"]),
    min_size=1,
)


@given(outcomes, outcomes)
def test_no_range_holds_a_pair_that_fails_or_that_nothing_speaks_for(
    mine: dict[tuple[str, str], str], theirs: dict[tuple[str, str], str]
) -> None:
    """Each pair of a range passed on the family itself, or was measured on Llama alone and passed."""
    ready = {pair: outcome for pair, outcome in mine.items() if outcome != "import-failed"}
    records = grid(lambda one, _: ready.get((one["peft"], one["transformers"])), [QWEN])
    records += grid(lambda one, _: theirs.get((one["peft"], one["transformers"])))
    broken = {pair for pair, outcome in theirs.items() if outcome == "import-failed"} - ready.keys()
    advice = ask(records, "qwen2")
    good = {pair for pair, outcome in ready.items() if outcome == "passed"}
    assert bool(advice.ranges) == bool(good or (not ready and "passed" in theirs.values()))
    for one in advice.ranges:
        (low, high), (old, new) = one.ends
        inside = [
            pair
            for pair in itertools.product(*map(set, zip(*(ready | theirs), strict=True)))
            if low <= Version(pair[0]) <= high and old <= Version(pair[1]) <= new
        ]
        assert all(ready.get(pair, theirs.get(pair)) == "passed" for pair in inside)
        assert not broken & {*inside}
        assert one.own == len(good & {*inside})
    for pair in good:
        held = any(one.holds(point(*pair)) for one in advice.ranges)
        assert held or len(advice.ranges) == 6


def test_a_patch_that_was_not_measured_is_not_claimed_past_one_that_fails() -> None:
    """With peft 0.13.2 4.45.0 and 4.45.2 pass, with peft 0.13.1 4.45.1 fails: that is no single range."""
    pairs = {("0.13.2", "4.45.0"): "passed", ("0.13.2", "4.45.2"): "passed", ("0.13.1", "4.45.1"): "wrong"}
    records = [record({"peft": peft, "transformers": other}, outcome) for (peft, other), outcome in pairs.items()]
    advice = ask(records, peft="==0.13.2")
    assert ends(advice) == [("0.13.2 to 0.13.2", "4.45.2 to 4.45.2"), ("0.13.2 to 0.13.2", "4.45.0 to 4.45.0")]


def test_what_was_measured_on_another_family_speaks_only_where_nothing_else_does() -> None:
    """Qwen2 in one pair fails: that Llama passes there changes nothing; elsewhere Llama is what is known."""
    measured = record({"peft": "0.13.0", "transformers": "5.0.0"}, "wrong", variant=QWEN)
    advice = ask([*grid(lambda *_: "passed"), measured], "qwen2", peft="==0.13.0")
    assert advice.ranges == ()
    assert advice.evidence(point("0.13.0", "5.0.0")) is Evidence.FAILS
    assert advice.evidence(point("0.14.0", "5.0.0")) is Evidence.WORKS_NEARBY
    elsewhere = ask([*grid(lambda *_: "passed"), measured], "qwen2", peft="==0.14.0")
    assert elsewhere.own == ()
    assert (elsewhere.ranges[0].own, elsewhere.ranges[0].nearby) == (0, 5)


def test_the_families_that_work_are_told_from_those_that_do_not() -> None:
    """Bloom passes and Llama fails: neither "works" nor "does not"."""
    records = grid(lambda _, variant: "passed" if variant["model"] == "bloom" else "wrong", [LLAMA, BLOOM])
    advice = ask(records)
    assert advice.ranges == ()
    assert [[one.place for one in side] for side in advice.split] == [["bloom"], ["llama"]]
    assert "works on Bloom, not on Llama." in Wording(advice, {}, "records").headline()


def test_what_cannot_exist_is_no_failure() -> None:
    """One of two families that cannot exist does not spoil the other."""
    packages = {"peft": "0.9.0", "transformers": "4.40.2"}
    advice = ask([record(packages, "passed"), record(packages, "unsupported", variant=BLOOM)])
    assert ends(advice) == [("0.9.0 to 0.9.0", "4.40.2 to 4.40.2")]


def test_a_cell_that_never_was_ready_fails_for_everything() -> None:
    """Its state is among the failures, and no range reaches over it."""
    advice = ask(grid(lambda packages, _: "import-failed" if packages["peft"] == "0.12.0" else "passed"))
    assert ends(advice)[0] == ("0.13.0 to 0.14.0", "4.40.2 to 5.0.0")
    assert [(one.fault.outcome, len(one.points)) for one in advice.failing] == [("import-failed", 5)]


@given(st.sampled_from(PEFT), st.sampled_from(TRANSFORMERS), st.randoms(use_true_random=False))
def test_nothing_is_nearer_than_the_nearest(peft: str, transformers: str, random: Any) -> None:
    """Against brute force over all pairs that work: the fewest packages changed, then the fewest releases."""
    records = grid(lambda *_: random.choice(["passed", "error", "error"]))
    advice = ask(records, peft=f"=={peft}", transformers=f"=={transformers}")
    works = [one.cell.packages for one in variants_in(records) if one.outcome == "passed"]

    def distance(there: Mapping[str, str]) -> tuple[int, int]:
        steps = [
            abs(PEFT.index(there["peft"]) - PEFT.index(peft)),
            abs(TRANSFORMERS.index(there["transformers"]) - TRANSFORMERS.index(transformers)),
        ]
        return sum(step > 0 for step in steps), sum(steps)

    if not works:
        assert advice.nearest is None
    else:
        assert advice.nearest is not None
        found = dict(zip(("peft", "transformers"), map(str, advice.nearest), strict=True))
        assert distance(found) == min(map(distance, works))


@given(outcomes, st.sampled_from(["", ">=0.12", "==0.13.0"]), st.sampled_from(["", "qwen2", "llama"]))
def test_an_answer_fits_a_screen(mine: dict[tuple[str, str], str], peft: str, place: str) -> None:
    """At most 12 lines of at most 100 columns, whatever was measured."""
    records = grid(lambda one, _: mine.get((one["peft"], one["transformers"])), [LLAMA, PREFIX, BLOOM])
    lines = Wording(ask(records, place, **({"peft": peft} if peft else {})), {}, "all published records").lines()
    assert 1 <= len(lines) <= MOST_LINES
    assert max(map(len, lines)) <= WIDTH


def test_the_command_pins_what_was_measured() -> None:
    """Exact releases, without the build of torch, which indexes name differently."""
    assert pip_command(cell_facts({"peft": "0.9.0", "numpy": "2.0.0"})) == (
        "pip install peft==0.9.0 torch==2.13.0 numpy==2.0.0"
    )


def test_names_are_taken_as_people_write_them() -> None:
    """Spaces, hyphens and capitals do not matter."""
    assert typed("Prefix tuning") == typed("prefix-tuning") == "prefix_tuning"
    assert (typed("GPT-2"), typed("Qwen2"), typed("P-Tuning")) == ("gpt2", "qwen2", "p_tuning")


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
        (["--method", "p_tuning"], 0, "Use peft 0.14.0 with transformers 4.40.2 to 5.0.0."),
        (
            ["--method", "p-tuning", "--peft", "0.14", "--transformers", "5.0.0"],
            0,
            "Yes: p-tuning works with peft 0.14",
        ),
        (
            ["--peft", "0.13.0", "--transformers", ">=5"],
            1,
            "The nearest that works: peft 0.14.0 and transformers 5.0.0",
        ),
        (
            ["--peft", "0.13.0", "--transformers", "4.43"],
            1,
            "No: prompt learning with peft 0.13.0 and transformers 4.43",
        ),
        (["--peft", "newest"], 0, "Use transformers 4.40.2 to 5.0.0 with peft 0.14.0."),
        (["--peft", ">=1"], 3, "Nothing was measured of prompt learning with peft >=1"),
        (["--method", "lora"], 3, "Nothing was measured of LoRA"),
        (["--case", "prompt_tuning_guide"], 3, "Nothing was measured"),
        (["--method", "p_tunning"], 2, "did you mean p_tuning"),
        (["--model", "qwen"], 2, "did you mean qwen"),
        (["--peft", "new"], 2, "is not a specifier"),
        (["--case", "nonsense"], 2, "no case 'nonsense'; "),
    ],
)
def test_the_command_answers_and_says_so_in_its_status(run: Run, arguments: list[str], status: int, words: str) -> None:
    """0: works, 1: nothing within the bounds does, 2: not understood, 3: not measured; never wider than 100."""
    done = CliRunner().invoke(cli, ["advise", "--run", run.id, *arguments])
    assert words in " ".join(done.output.split())
    assert done.exit_code == status
    assert status == 2 or max(map(len, done.output.splitlines())) <= 100


def test_the_command_gives_all_that_it_rests_on_in_json(run: Run) -> None:
    """Ranges with the pins of their newest pair, and how it fails with the pairs."""
    done = CliRunner().invoke(cli, ["advise", "--run", run.id, "--peft", "0.9.0", "--json"])
    data = json.loads(done.output)
    assert data["ranges"][0]["newest"] == {"peft": "0.9.0", "transformers": "4.40.2"}
    assert data["ranges"][0]["pip"].startswith("pip install peft==0.9.0 transformers==4.40.2")
    assert data["failing"][0]["outcome"] == "error"
    assert len(data["failing"][0]["pairs"]) == 4


@pytest.mark.slow
def test_the_asked_cell_is_measured_and_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What no record of the run named speaks of is measured in a real environment, and the answer rests on it."""
    monkeypatch.setenv("PROMPT_BENCH_REPORTS", str(tmp_path))
    write_run(Run(id="planted"), [record({"peft": "0.21.2", "transformers": "5.23.0"}, "error", variant=PREFIX)])
    words = [
        "--run",
        "planted",
        "--method",
        "p_tuning",
        "--model",
        "llama",
        "--peft",
        "0.21",
        "--transformers",
        "5.23.0",
    ]
    before = CliRunner().invoke(cli, ["advise", *words])
    assert "Nothing was measured of p-tuning on Llama with peft 0.21 and transformers 5.23.0." in before.output
    after = CliRunner().invoke(cli, ["advise", *words, "--measure"])
    assert "Yes: p-tuning on Llama works with peft 0.21.2 and transformers 5.23.0." in after.output
    assert after.exit_code == 0
