"""Faults are planted where they are meant, copies leave the original alone, and verdicts count an oracle before all."""

from __future__ import annotations

import ast
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.specifiers import SpecifierSet

from harness.contracts.job import Request
from harness.contracts.record import CellFacts, Machine, VariantRecord
from harness.errors import InputError
from harness.interface import Outcome
from harness.selfcheck.commands.mutants import SEED
from harness.selfcheck.mutants.measure import (
    PUBLISHED,
    ROUNDS,
    Results,
    Verdict,
    after,
    in_turn,
    rounds,
    statement_lines,
)
from harness.selfcheck.mutants.operators import generated, sample
from harness.selfcheck.mutants.planted import (
    Mutant,
    copied,
    expect_plantable,
    read_equivalents,
    read_mutants,
    write_source,
)
from harness.selfcheck.mutants.reached import Gave, _read_lines
from harness.selfcheck.mutants.table import DOCUMENT, table

if TYPE_CHECKING:
    from pathlib import Path

SOURCE = '''"""A module."""
LIMIT = 3


def first(numbers, *, scale=1, bias=0):
    """Say something."""
    if numbers and len(numbers) > LIMIT:
        raise ValueError("more than " + str(3))
    total = sum(numbers) * scale + bias
    numbers[0] = total
    return total if total != 0 else -1


class Box:
    """Holds one."""

    def open(self, lid=None):
        """Open it."""
        self.lid = lid
        return dict(
            lid=self.lid,
            size=(1, 2),
        )


def last(numbers, total):
    """Index by slices, and stand in brackets."""
    numbers[:, :1] = str(total, *numbers, base=(numbers[1:, 2:]))
    if not (
        total
        or numbers
    ):
        return numbers
    if total > 3:
        warnings.warn("more than" + str(3))
'''
EVERYTHING = set(range(1, SOURCE.count("\n") + 1))
REACHED = Verdict(release="1", name="m", digest="d", lines="a.py:1", caught="missed")


def mutant(before: str, after_: str, **more: object) -> Mutant:
    """Make a mutant of a text."""
    facts = {"name": "m", "file": "a.py", "wrong": "w", "releases": SpecifierSet(""), **more}
    return Mutant(before=before, after=after_, **facts)  # type: ignore[arg-type]


def test_every_generated_mutant_is_one_change_that_python_can_read() -> None:
    """It differs from the source, begins where it says, and leaves messages, and whether one is warned, as they are."""
    found = generated("a.py", SOURCE, EVERYTHING)
    assert len(found) > 12
    assert len({one.digest for one in found}) == len(found)
    for one in found:
        changed = one.apply(SOURCE)
        assert ast.dump(ast.parse(changed)) != ast.dump(ast.parse(SOURCE)), one.name
        assert 'raise ValueError("more than " + str(3))' in changed
        assert 'if total > 3:\n        warnings.warn("more than" + str(3))' in changed
        assert set(one.lines(SOURCE)) <= EVERYTHING


def test_generated_mutants_keep_to_the_lines_that_are_asked_for() -> None:
    """A line that nothing runs is not mutated."""
    found = generated("a.py", SOURCE, {9})
    assert found
    assert {line for one in found for line in one.lines(SOURCE)} == {9}


@given(seed=st.integers(0, 2**32), count=st.integers(0, 60))
def test_a_seed_draws_the_same_mutants(seed: int, count: int) -> None:
    """Whatever their order was, and no mutant twice."""
    found = generated("a.py", SOURCE, EVERYTHING)
    drawn = sample(found, count, seed)
    assert drawn == sample(found[::-1], count, seed)
    assert len(drawn) == min(count, len(found)) == len({one.digest for one in drawn})


def test_a_text_that_stands_there_twice_is_refused() -> None:
    """Or not at all; and so is a change that is no Python."""
    for before, after_ in (("numbers", "x"), ("nowhere", "x"), ("total if", "total if if")):
        with pytest.raises(InputError, match="mutant m"):
            mutant(before, after_).apply(SOURCE)


def test_only_what_is_changed_says_which_lines_are_asked_for() -> None:
    """The text around it finds the place; what only adds lines stands behind the line before."""
    changed = mutant(
        "    total = sum(numbers) * scale + bias\n    numbers[0] = total",
        "    total = sum(numbers) * scale + bias\n    numbers[0] = 1",
    )
    assert list(changed.lines(SOURCE)) == [10]
    added = mutant(
        "    numbers[0] = total\n    return total if", "    numbers[0] = total\n    total = 2\n    return total if"
    )
    assert list(added.lines(SOURCE)) == [10]
    assert "total = 2" in added.apply(SOURCE)


def test_a_statement_of_several_lines_counts_as_one() -> None:
    """Of a condition its head alone; outside of functions there is no telling who runs it."""
    assert statement_lines(SOURCE, range(21, 22)) == {20, 21, 22, 23}
    assert statement_lines(SOURCE, range(7, 8)) == {7}
    assert statement_lines(SOURCE, range(2, 3)) is None


def test_a_copy_leaves_the_original_alone(tmp_path: Path) -> None:
    """Sources are linked; the one with the fault is not, and has no byte code of before."""
    package = tmp_path / "overlay" / "peft"
    (package / "__pycache__").mkdir(parents=True)
    (package / "a.py").write_text("ONE = 1\n", encoding="utf-8")
    (package / "b.py").write_text("TWO = 2\n", encoding="utf-8")
    (package / "__pycache__" / "a.cpython-311.pyc").write_bytes(b"old")
    (package / "__pycache__" / "b.cpython-311.pyc").write_bytes(b"old")
    with copied(tmp_path / "overlay", "test") as copy:
        write_source(copy, "a.py", "ONE = 3\n")
        assert (copy / "peft" / "a.py").read_text(encoding="utf-8") == "ONE = 3\n"
        assert (copy / "peft" / "b.py").samefile(package / "b.py")
        assert [path.name for path in (copy / "peft" / "__pycache__").iterdir()] == ["b.cpython-311.pyc"]
    assert not copy.exists()
    assert (package / "a.py").read_text(encoding="utf-8") == "ONE = 1\n"
    assert (package / "__pycache__" / "a.cpython-311.pyc").read_bytes() == b"old"


def record(outcome: Outcome, name: str = "gpt2") -> VariantRecord:
    """Make a record."""
    return VariantRecord(
        run="r", time="t", cell=CellFacts(id="c", python="3.11"), machine=Machine(), key=name, case="case",
        document=None, variant={"model": name}, outcome=outcome, message="said",
    )  # fmt: skip


def test_every_fault_without_a_place_is_named_before_one_is_planted(tmp_path: Path) -> None:
    """A file that a release does not have, and a text that it has not: both in one refusal."""
    (tmp_path / "a.py").write_text(SOURCE, encoding="utf-8")
    here, gone = mutant("LIMIT = 3", "LIMIT = 4"), mutant("nowhere", "x")
    elsewhere = replace(here, name="far", file="b.py")

    def source(file: str) -> str:
        return (tmp_path / file).read_text(encoding="utf-8")

    expect_plantable([here], source, "peft 1")
    with pytest.raises(InputError) as refused:
        expect_plantable([here, gone, elsewhere], source, "peft 1")
    assert "occurs 0 times" in str(refused.value)
    assert "mutant far: there is no b.py" in str(refused.value)


def test_an_oracle_counts_before_an_exception() -> None:
    """Whichever came first; what is neither changes nothing."""
    error, wrong, passed = (record(outcome, str(outcome)) for outcome in (Outcome.ERROR, Outcome.WRONG, Outcome.PASSED))
    assert after(REACHED, [], 1).caught == "missed"
    assert after(REACHED, [passed], 1).caught == "oracle", "it is wrong without the fault"
    raised = after(REACHED, [error], 2)
    assert (raised.caught, raised.by, raised.asked) == ("error", "case[error]", 2)
    seen = after(raised, [error, wrong], 2)
    assert (seen.caught, seen.by, seen.key, seen.asked) == ("oracle", "case[wrong]", "wrong", 4)


def test_what_was_missed_quickly_is_kept_and_counts_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is on the page as such, forgets no watcher, and does not stand for a verdict of all variants."""
    monkeypatch.setenv("PROMPT_BENCH_REPORTS", str(tmp_path))
    planted = mutant("total = 1", "total = 2")
    seen = replace(REACHED, digest=planted.digest, caught="oracle", by="case[gpt2]", key="k", keys="all")
    missed = replace(REACHED, digest=planted.digest, keys="few", asked=3, quick=True)
    before = Results(tmp_path / "published.jsonl")
    before.keep(seen)
    before.keep(missed)
    results = Results(tmp_path / "published.jsonl")
    assert results.get("1", planted) == missed
    assert results.watchers() == {"case[gpt2]"}
    assert results.seen_by(planted) == "case[gpt2]"
    page = table([planted], results, seed=1)
    assert "| 1 | by hand | 1 | 0 | 0 | 0 | 0 | 0 | 0 | 1 | 0 |" in page
    assert "**missed** (asked quickly)" in page
    results.keep(replace(missed, quick=False))
    results.keep(missed)
    assert "| 1 | by hand | 1 | 0 | 0 | 1 | 0 | 0 | 0 | 0 | 0 |" in table([planted], results, seed=1)


@pytest.mark.parametrize(
    ("known", "new", "asked", "settled"),
    [
        ({"keys": "few", "quick": True}, {"keys": "few", "quick": True}, set(), True),
        ({"keys": "few", "quick": True}, {"keys": "few"}, set(), False),
        ({"keys": "few", "quick": True}, {"keys": "all"}, set(), False),
        ({"keys": "all"}, {"keys": "all"}, set(), True),
        ({"keys": "all"}, {"keys": "few", "quick": True}, set(), False),
        ({"keys": "few", "quick": True, "caught": "oracle", "key": "k"}, {"keys": "all"}, {"k"}, True),
        ({"keys": "few", "quick": True, "caught": "oracle", "key": "k"}, {"keys": "all"}, {"other"}, False),
    ],
)
def test_an_earlier_verdict_stands_where_nothing_has_changed(
    known: dict[str, Any], new: dict[str, Any], asked: set[str], settled: bool
) -> None:
    """A fault that was seen was seen, however few were asked; a miss counts for those that were asked."""
    assert replace(REACHED, **known).settles(replace(REACHED, **new), asked) is settled


@pytest.mark.parametrize(
    ("outcome", "words", "share", "otherwise"),
    [
        ("passed", "", 0.1, True),
        ("wrong", "off", 12.1, False),
        ("wrong", "off", 30.0, True),
        ("wrong", "off again", 12.0, True),
        ("error", "off", 12.0, True),
    ],
)
def test_a_known_failure_hides_no_new_one(outcome: str, words: str, share: float, *, otherwise: bool) -> None:
    """What is wrong without the fault shows it by other words, or by another distance from its reference."""
    gave = Gave(outcome=Outcome.WRONG, message="off", distances={"logits": 12.0})
    found = replace(record(Outcome(outcome), "k"), message=words, evidence={"distances": {"logits": share}})
    assert gave.is_otherwise(found) is otherwise


@given(salt=st.text(max_size=3), count=st.integers(0, 20))
def test_variants_take_turns(salt: str, count: int) -> None:
    """Nothing is lost; of the first few each is of another case or method."""
    requests = [
        Request(key=f"{case}{method}{number}", case=case, document=None, variant={"method": method, "n": str(number)})
        for case in ("by_hand_forward", "save_and_load")
        for method in ("lora", "p_tuning")
        for number in range(count)
    ]
    ordered = in_turn(requests, salt)
    assert sorted(one.key for one in ordered) == sorted(one.key for one in requests)
    first = ordered[:4]
    assert len({(one.case, one.variant["method"]) for one in first}) == len(first)
    assert ordered == in_turn(requests[::-1], salt)


@given(count=st.integers(0, 400), first=st.integers(0, 400))
def test_rounds_ask_everybody_once(count: int, first: int) -> None:
    """What has seen the mutant before goes first and alone; then a few of one case file."""
    requests = [
        Request(key=str(number), case=f"case{number % 3}", document=None, variant={"n": str(number)})
        for number in range(count)
    ]
    asked = list(rounds(requests, f"case{first % 3}[{first}]"))
    keys = [one.key for part in asked for one in part]
    assert len(set(keys)) == len(keys) >= min(count, sum(ROUNDS))
    if first < count:
        assert [one.key for one in asked.pop(0)] == [str(first)]
    if asked:
        assert len({one.case for one in asked[0]}) == 1


def test_what_the_tracer_writes_is_read_back(tmp_path: Path) -> None:
    """Lines of several processes, by test and file."""
    test = "T by_hand_forward.py::check[gpt2-lora-cpu-float32]\n"
    (tmp_path / "1.txt").write_text(f"T \na.py:1\n{test}a.py:2\na.py:3\n", encoding="utf-8")
    (tmp_path / "2.txt").write_text(f"{test}tuners/b.py:2\n", encoding="utf-8")
    found = _read_lines(tmp_path)
    assert found["by_hand_forward[gpt2-lora-cpu-float32]"] == {"a.py": {2, 3}, "tuners/b.py": {2}}


def test_the_mutants_made_by_hand_are_whole() -> None:
    """At least sixty, each a change; equivalent ones say why."""
    found = read_mutants()
    assert len(found) >= 60
    assert all(one.before != one.after and one.wrong for one in found)
    assert all(read_equivalents().values())


def test_the_page_is_drawn_from_what_is_published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``mutants --write`` changes nothing where nothing was measured; every mutant made by hand has its verdicts."""
    monkeypatch.setenv("PROMPT_BENCH_REPORTS", str(tmp_path))
    results = Results()
    assert DOCUMENT.read_text(encoding="utf-8") == table(read_mutants(), results, SEED)
    text = PUBLISHED.read_text(encoding="utf-8")
    path = tmp_path / "again.jsonl"
    path.write_text(text, encoding="utf-8")
    assert Results(path).publish().read_text(encoding="utf-8") == text
