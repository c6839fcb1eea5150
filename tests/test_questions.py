"""Questions of practitioners, asked of the published records: the first line is the answer, and it is right.

What is right was read from the records by hand, and is checked here against the records themselves, not against what
the command makes of them.
"""

from __future__ import annotations

import re
from collections import defaultdict
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner
from packaging.version import Version

from harness.cli import cli
from harness.contracts.records import read_record, variants_in
from harness.judge import reference
from harness.judge.origin import published_with

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from harness.contracts.record import Record, VariantRecord

QUESTIONS = {
    "prefix tuning on Qwen2 with transformers 4.56": (
        ["--method", "prefix_tuning", "--model", "qwen2", "--transformers", "4.56"],
        0,
        "Use peft 0.14.0 to 0.21.2 with transformers 4.56.2, as measured on Llama, not on Qwen2 itself.",
    ),
    "peft 0.13.2 and prefix tuning": (
        ["--peft", "0.13.2", "--method", "prefix_tuning"],
        0,
        "Use transformers 4.45.2 to 4.47.1 with peft 0.13.2; from 4.48.3 on it raises.",
    ),
    "sentence-transformers 6.2 and prompt tuning": (
        ["--sentence-transformers", "6.2", "--method", "prompt_tuning"],
        1,
        "No: prompt tuning in a SentenceTransformer fails with sentence-transformers 6.2 in all 5 ways.",
    ),
    "left-padded batches with prompt tuning": (
        ["--method", "prompt_tuning", "--use", "left-padding"],
        1,
        "Prompt tuning on batches padded on the left works on Bloom, OPT and GPT-BigCode, not on Llama,",
    ),
    "Mistral and prefix tuning": (
        ["--model", "mistral", "--method", "prefix_tuning"],
        0,
        "Use peft 0.18.0 to 0.21.2 with transformers 4.52.4 to 5.23.0; from 5.24.0 on it is silently wrong.",
    ),
    "p-tuning on Llama in the newest releases": (
        ["--method", "p_tuning", "--model", "llama", "--peft", "newest", "--transformers", "newest"],
        1,
        "No: p-tuning on Llama with peft 0.21.2 and transformers 5.24.0 is silently wrong.",
    ),
    "which transformers for peft 0.16.0": (
        ["--peft", "0.16.0"],
        0,
        "Use transformers 4.46.3 to 4.57.6 with peft 0.16.0; from 5.0.0 on it cannot be imported.",
    ),
    "multitask prompt tuning on T5": (
        ["--method", "multitask_prompt_tuning", "--model", "t5"],
        0,
        "Use peft 0.21.2 with transformers 5.23.0 to 5.24.0.",
    ),
}


@pytest.fixture(autouse=True)
def without_a_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What this machine measured by itself does not answer here."""
    monkeypatch.setenv("PROMPT_BENCH_REPORTS", str(tmp_path))


@pytest.fixture(scope="module")
def records() -> list[VariantRecord]:
    """Read every published record of releases."""
    return [one for one in variants_in(published_with(None).records) if not one.cell.sources]


@pytest.mark.parametrize("question", QUESTIONS)
def test_the_first_line_answers_in_at_most_twelve_lines(question: str) -> None:
    """Nobody scrolls, and nothing is wider than 100 columns."""
    words, status, first = QUESTIONS[question]
    done = CliRunner().invoke(cli, ["advise", *words])
    lines = done.output.splitlines()
    assert lines[0] == first
    assert len(lines) <= 12
    assert max(map(len, lines)) <= 100
    assert done.exit_code == status


def test_without_a_question_it_is_said_how_things_stand() -> None:
    """One screen: the newest releases first, then each common method, then what to ask."""
    done = CliRunner().invoke(cli, ["advise"])
    lines = done.output.splitlines()
    assert lines[0].startswith("The newest releases measured, peft 0.21.2 and transformers 5.24.0: prompt learning")
    assert [line.split("  ")[1] for line in lines if line.startswith("  p")] == [
        "prompt tuning",
        "prefix tuning",
        "p-tuning",
    ]
    assert len(lines) <= 24
    assert max(map(len, lines)) <= 100


def test_all_adds_a_line_for_each_case() -> None:
    """What else was measured of the question, with the range or the defects."""
    done = CliRunner().invoke(cli, ["advise", "--method", "prompt_tuning", "--model", "opt", "--all"])
    line = r"^save_and_load: peft 0[.][0-9.]+ to 0[.]21[.]2 with transformers 5[.][0-9.]+ to 5[.]24[.]0$"
    assert re.search(line, done.output, re.MULTILINE), done.output
    assert max(map(len, done.output.splitlines())) <= 100


def test_only_the_records_of_the_question_are_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    """All published records are asked, and most lines are passed over: that is what keeps the answer quick."""
    decoded = []

    def counting(line: bytes, where: str, *rest: Any) -> Record:
        decoded.append(where)
        return read_record(line, where, *rest)

    monkeypatch.setattr(reference, "read_record", counting)
    CliRunner().invoke(cli, ["advise", "--peft", "0.16.0"])
    everything = len(published_with(None).records)
    assert 1000 < len(decoded) - everything < everything / 4


def outcomes(
    records: list[VariantRecord], wanted: Callable[[VariantRecord], bool]
) -> Mapping[tuple[Version, Version], set[str]]:
    """Return the outcomes by pair of peft and transformers."""
    found = defaultdict(set)
    for one in records:
        if wanted(one):
            pair = (Version(one.cell.packages["peft"]), Version(one.cell.packages["transformers"]))
            found[pair].add(str(one.outcome))
    return found


def cached(model: str, method: str) -> Callable[[VariantRecord], bool]:
    """Mean plain generate: with the cache, as people call it."""
    return lambda one: (
        one.variant.get("model") == model
        and one.variant.get("method") == method
        and one.case in {"generate_with_cache", "generate_families", "by_hand_generate"}
        and (one.variant.get("aspect") == "cached" or one.variant.get("layout") == "alone")
    )


def test_what_the_records_say_of_prefix_tuning(records: list[VariantRecord]) -> None:
    """Llama passes with 4.56.2 from peft 0.14.0 on; Qwen2 was not measured there; peft 0.13.2 ends at 4.47.1."""
    llama = outcomes(records, cached("llama", "prefix_tuning"))
    with_456 = {peft: found for (peft, other), found in llama.items() if other == Version("4.56.2")}
    assert {peft for peft, found in with_456.items() if found == {"passed"}} == {
        peft for peft in with_456 if peft >= Version("0.14.0")
    }
    assert max(with_456) == Version("0.21.2")
    assert not [other for _, other in outcomes(records, cached("qwen2", "prefix_tuning")) if other.minor == 56]
    with_0132 = {other: found for (peft, other), found in llama.items() if peft == Version("0.13.2")}
    assert all(
        (found == {"passed"}) == (other <= Version("4.47.1")) for other, found in with_0132.items() if other.minor > 42
    )
    mistral = outcomes(records, cached("mistral", "prefix_tuning"))
    assert all(
        found == {"passed"} for (peft, other), found in mistral.items() if other < Version("5.24") and peft.minor > 12
    )
    assert {tuple(found) for (_, other), found in mistral.items() if other == Version("5.24.0")} == {("wrong",)}


def test_what_the_records_say_of_the_newest_releases(records: list[VariantRecord]) -> None:
    """On Llama p-tuning is wrong beside 5.24.0 and passes beside 5.23.0; T5 with multitask prompts passes with both."""
    llama = outcomes(records, cached("llama", "p_tuning"))
    assert llama[Version("0.21.2"), Version("5.24.0")] == {"wrong"}
    assert llama[Version("0.21.2"), Version("5.23.0")] == {"passed"}
    t5 = outcomes(records, cached("t5", "multitask_prompt_tuning"))
    assert max(t5) == (Version("0.21.2"), Version("5.24.0"))
    assert {pair for pair, found in t5.items() if found != {"passed"}} == {(Version("0.20.0"), Version("5.24.0"))}


def test_what_the_records_say_of_left_padding_and_embeddings(records: list[VariantRecord]) -> None:
    """Bloom and OPT pass, the others nowhere; no way into sentence-transformers 6.2 gives the embedding."""
    left = defaultdict(set)
    for one in records:
        if one.case == "padded_batch" and one.variant["method"] == "prompt_tuning" and "left" in one.variant["aspect"]:
            left[one.variant["model"]].add(str(one.outcome))
    assert {model for model, found in left.items() if "passed" in found} == {"bloom", "opt"}
    embeddings = defaultdict(set)
    for one in records:
        if (
            one.case == "sentence_transformer_pooling"
            and one.variant["method"] == "prompt_tuning"
            and one.variant["aspect"] == "pooled"
            and one.cell.packages["sentence-transformers"].startswith("6.2")
        ):
            embeddings[one.variant["attach"]].add(str(one.outcome))
    assert len(embeddings) == 5
    assert not any("passed" in found for found in embeddings.values())


def test_what_the_records_say_of_peft_0_16(records: list[VariantRecord]) -> None:
    """Every common method passes on Llama with transformers 4.46.3 to 4.57.6, and prefix tuning raises below."""
    for method in ("prompt_tuning", "prefix_tuning", "p_tuning"):
        found = {
            other: outcome
            for (peft, other), outcome in outcomes(records, cached("llama", method)).items()
            if peft == Version("0.16.0")
        }
        assert max(found) == Version("4.57.6")
        assert all(outcome == {"passed"} for other, outcome in found.items() if other >= Version("4.46.3"))
    below = outcomes(records, cached("llama", "prefix_tuning"))[Version("0.16.0"), Version("4.45.2")]
    assert below == {"error"}
