"""Expectation windows against records: each kind of mistake is found, and the committed ones have none."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.contracts.record import CellFacts, VariantRecord
from harness.errors import CaseError
from harness.explain.propose import proposed, proposed_diff, unexpected
from harness.interface import Expectation, Outcome
from harness.judge.expectations import check_windows, expectation_nodes
from harness.judge.reference import published, read_reference
from harness.judge.verdicts import judge
from harness.matrix.cases import Case, load_cases, read_case

SOURCE = '''"""A case."""
from harness.interface import Expectation, Variants
VARIANTS = (Variants(axes={"method": ("a", "b")}),)
EXPECTATIONS = (
    # Why it fails.
    Expectation(
        where={"peft": "==1.0", "transformers": "==4.1"},
        outcome="error",
        signature="boom",
        link="https://example.org/1",
    ),
)
def check(trial):
    pass
'''


def record(peft: str, transformers: str, outcome: str = "error", method: str = "a") -> VariantRecord:
    """Make a record of the case above."""
    words = None if outcome == "passed" else "boom 12 times"
    packages = {"peft": peft, "transformers": transformers, "torch": "2"}
    return VariantRecord(
        run="r", time="t", cell=CellFacts(id=f"{peft}-{transformers}", python="3.11.7", packages=packages), key="k",
        case="case", variant={"method": method, "device": "cpu", "dtype": "float32"}, outcome=Outcome(outcome),
        message=words,
    )  # fmt: skip


def case(*expectations: Expectation) -> Case:
    """Make a case with these windows."""
    return Case(
        name="case", path=Path("case.py"), summary="", document=None, variants=({"method": "a"}, {"method": "b"}),
        claims=(), expectations=expectations,
    )  # fmt: skip


def window(peft: str, transformers: str = "==4.1", outcome: str = "error", **more: Any) -> Expectation:
    """Make a window."""
    where = {"peft": peft, "transformers": transformers}
    return Expectation(outcome=outcome, link="x", where=where, **{"signature": "boom", **more})


RECORDS = [record("1.0", "4.1"), record("1.1", "4.1"), record("1.2", "4.1", "passed"), record("1.1", "4.2", "passed")]


@pytest.mark.parametrize(
    ("expectations", "words"),
    [
        ([window(">=1.0,<=1.1")], None),
        ([window("<1.2")], "write the last measured version"),
        ([window("==1.*")], "write the last measured version"),
        ([window(">=0.9,<=1.1")], "reaches past what was measured"),
        ([window(">=1.0")], "say otherwise"),
        ([window("<=1.1")], None),
        ([window("==0.9")], "no measured cell"),
        ([window(">=1.0,<=1.1", signature="bang")], "match none"),
        ([window(">=1.0,<=1.1", only={"method": ("a", "b")})], "never seen to fail"),
        ([window(">=1.0,<=1.1"), window("==1.1", outcome="wrong")], "overlaps with line 1"),
        ([window(">=1.0,<=1.1"), window("==1.1")], None),
        ([Expectation(outcome="error", link="x", where={"peft": "==1.0"}, signature="boom")], None),
        ([Expectation(outcome="error", link="x", where={"transformers": "==4.1", "peft": "==1.1"}),
          Expectation(outcome="error", link="x", where={"peft": "==1.0"}),
          Expectation(outcome="error", link="x", where={"peft": "==1.1"})], "say otherwise"),
        ([window("==1.2", outcome="passed")], "expects what is expected anyway"),
    ],
)  # fmt: skip
def test_each_mistake_is_told(expectations: list[Expectation], words: str | None) -> None:
    """One planted mistake each; None stands for a window without any."""
    problems = check_windows(case(*expectations), RECORDS, [1, 2, 3])
    assert any(words in one.text for one in problems) if words else problems == []


def test_the_committed_windows_say_what_was_measured() -> None:
    """No window is broader than the reference records, none is unneeded, and no failure is outside of all."""
    records = [record for name in published() for record in read_reference(name)]
    for one in load_cases():
        source = one.path.read_text(encoding="utf-8")
        assert check_windows(one, records, [node.lineno for node in expectation_nodes(source)]) == []
        assert unexpected(one, records) == []


versions = st.sampled_from(["1.0", "1.1", "1.2", "1.3"])
others = st.sampled_from(["4.1", "4.2", "4.3"])
measured = st.dictionaries(
    st.tuples(versions, others, st.sampled_from(["a", "b"])), st.sampled_from(["passed", "error", "wrong"]), min_size=1
)


@given(measured)
def test_a_proposal_makes_every_record_as_expected(tmp_path_factory: pytest.TempPathFactory, outcomes: Any) -> None:
    """After the edit each record is as expected and no window is amiss; a second edit changes nothing."""
    records = [record(peft, other, outcome, method) for (peft, other, method), outcome in outcomes.items()]
    path = tmp_path_factory.mktemp("case") / "case.py"
    path.write_text(SOURCE, encoding="utf-8")
    after = proposed(read_case(path), SOURCE, records)
    path.write_text(after, encoding="utf-8")
    edited = read_case(path)
    verdicts = {judge(edited, one, one.cell.id, one.variant).verdict for one in records}
    assert verdicts == {"as-expected"}
    assert check_windows(edited, records, [node.lineno for node in expectation_nodes(after)]) == []
    assert proposed(edited, after, records) == after


@pytest.mark.parametrize("written", ["EXPECTATIONS = ()", "EXPECTATIONS = (\n)"])
def test_a_case_without_windows_gets_its_first(tmp_path: Path, written: str) -> None:
    """A new case declares none, on one line or on two: what is proposed is still Python, and as measured."""
    path = tmp_path / "case.py"
    path.write_text(f"VARIANTS = (Variants(axes={{'method': ('a', 'b')}}),)\n{written}\n", encoding="utf-8")
    after = proposed(read_case(path), path.read_text(encoding="utf-8"), RECORDS)
    path.write_text(after, encoding="utf-8")
    assert unexpected(read_case(path), RECORDS) == []


def test_what_versions_cannot_tell_is_refused() -> None:
    """The same versions pass and fail: no window is made up for that."""
    flaky = [record("1.0", "4.1"), record("1.0", "4.1", "passed")]
    with pytest.raises(CaseError, match="fail and do not fail"):
        proposed(case(), SOURCE, flaky)


def test_a_diff_can_be_applied(tmp_path: Path) -> None:
    """`git apply` takes the diff, and the file is then the proposed one."""
    (tmp_path / "case.py").write_text(SOURCE, encoding="utf-8")
    records = [record("1.0", "4.1"), record("1.1", "4.1"), record("1.2", "4.1", "passed")]
    one = read_case(tmp_path / "case.py")
    diff = proposed_diff([one], records)
    assert ">=1.0,<=1.1" in diff
    assert "# Why it fails." in diff
    subprocess.run(["git", "apply"], cwd=tmp_path, input=diff, text=True, check=True)
    assert (tmp_path / "case.py").read_text(encoding="utf-8") == proposed(one, SOURCE, records)
