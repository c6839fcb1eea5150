"""What is expected, held against records: each kind of mistake is found, and the committed files have none."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.contracts.record import CellFacts, VariantRecord
from harness.errors import CaseError
from harness.explain.propose import proposed, proposed_diff, unexpected, write_expected
from harness.interface import Outcome
from harness.judge.expectations import check_windows
from harness.judge.reference import published, read_reference
from harness.judge.verdicts import judge
from harness.matrix.cases import Case, load_cases, read_case
from harness.matrix.expected import UNATTRIBUTED, Expectation, expected_path

SOURCE = '''"""A case."""
VARIANTS = (Variants(axes={"method": ("a", "b")}),)
'''
EXPECTED = """# Where case does not pass.

# Why it fails.
[[expect]]
defect = "it-booms"
outcome = "error"
peft = "==1.0"
transformers = "==4.1"
signature = "boom"
"""


def record(peft: str, transformers: str, outcome: str = "error", method: str = "a") -> VariantRecord:
    """Make a record of the case above."""
    words = None if outcome == "passed" else "boom 12 times"
    packages = {"peft": peft, "transformers": transformers, "torch": "2"}
    return VariantRecord(
        run="r", time="t", cell=CellFacts(id=f"{peft}-{transformers}", python="3.11.7", packages=packages), key="k",
        case="case", variant={"method": method, "device": "cpu", "dtype": "float32"}, outcome=Outcome(outcome),
        message=words,
    )  # fmt: skip


def planted(folder: Path, expected: str = "") -> Case:
    """Write the case above into a folder, with a file of expectations if there is a text, and read it."""
    path = folder / "case.py"
    path.write_text(SOURCE, encoding="utf-8")
    if expected:
        expected_path(path).parent.mkdir(exist_ok=True)
        expected_path(path).write_text(expected, encoding="utf-8")
    return read_case(path)


def case(*expectations: Expectation) -> Case:
    """Make a case with these entries."""
    return Case(
        name="case", path=Path("case.py"), summary="", document=None, variants=({"method": "a"}, {"method": "b"}),
        expectations=expectations,
    )  # fmt: skip


def window(peft: str, transformers: str = "==4.1", outcome: str = "error", **more: Any) -> Expectation:
    """Make an entry."""
    where = {"peft": peft, "transformers": transformers}
    return Expectation(outcome=outcome, where=where, **{"defect": "x", "signature": "boom", **more})


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
        ([window(">=1.0,<=1.1", line=1), window("==1.1", outcome="wrong")], "overlaps with line 1"),
        ([window("==1.0"), window(">=1.0,<=1.1")], None),
        ([window(">=1.0,<=1.1"), window("==1.1")], "earlier entries account for every record"),
        ([window("==1.0", line=1), window(">=1.0,<=1.1", defect="y")], "overlaps with line 1"),
        ([Expectation(outcome="error", defect="x", where={"peft": "==1.0"}, signature="boom")], None),
        ([Expectation(outcome="error", defect="x", where={"transformers": "==4.1", "peft": "==1.1"}),
          Expectation(outcome="error", defect="x", where={"peft": "==1.0"}),
          Expectation(outcome="error", defect="x", where={"peft": "==1.1"})], "say otherwise"),
        ([window("==1.2", outcome="passed")], "expects what is expected anyway"),
    ],
)  # fmt: skip
def test_each_mistake_is_told(expectations: list[Expectation], words: str | None) -> None:
    """One planted mistake each; None stands for entries without any."""
    problems = check_windows(case(*expectations), RECORDS)
    assert any(words in one.text for one in problems) if words else problems == []


def test_the_committed_entries_say_what_was_measured() -> None:
    """No entry is broader than the reference records, none is unneeded, and no failure is outside of all."""
    records = [record for name in published() for record in read_reference(name)]
    for one in load_cases():
        assert check_windows(one, records) == []
        assert unexpected(one, records) == []


versions = st.sampled_from(["1.0", "1.1", "1.2", "1.3"])
others = st.sampled_from(["4.1", "4.2", "4.3"])
measured = st.dictionaries(
    st.tuples(versions, others, st.sampled_from(["a", "b"])),
    st.sampled_from(["passed", "error", "wrong", "unsupported"]),
    min_size=1,
)


@given(measured, st.booleans())
def test_a_proposal_makes_every_record_as_expected(
    tmp_path_factory: pytest.TempPathFactory, outcomes: Any, written: bool
) -> None:
    """After the edit each record is as expected at the next reading and no entry is amiss; a second changes nothing."""
    records = [record(peft, other, outcome, method) for (peft, other, method), outcome in outcomes.items()]
    folder = tmp_path_factory.mktemp("case")
    before = planted(folder, EXPECTED if written else "")
    write_expected(before, proposed(before, records))
    after = read_case(before.path)
    verdicts = {judge(after, one, one.cell.id, one.variant).verdict for one in records}
    assert verdicts == {"as-expected"}
    assert check_windows(after, records) == []
    assert proposed_diff([after], records) == ""


def test_what_nobody_has_named_is_unattributed(tmp_path: Path) -> None:
    """A new case gets a file of its own, whose entries wait for a person; an error that is known joins its entry."""
    new = planted(tmp_path)
    write_expected(new, proposed(new, RECORDS))
    assert [one.defect for one in read_case(new.path).expectations] == [UNATTRIBUTED]
    known = planted(tmp_path, EXPECTED)
    write_expected(known, proposed(known, [*RECORDS, record("1.2", "4.2", "wrong")]))
    assert [one.defect for one in read_case(known.path).expectations] == ["it-booms", UNATTRIBUTED]


def test_a_case_that_passes_has_no_file(tmp_path: Path) -> None:
    """When the last failure is gone, so is the file."""
    one = planted(tmp_path, EXPECTED)
    write_expected(one, proposed(one, [record("1.0", "4.1", "passed")]))
    assert not expected_path(one.path).exists()


def test_what_versions_cannot_tell_is_refused() -> None:
    """The same versions pass and fail: no window is made up for that."""
    flaky = [record("1.0", "4.1"), record("1.0", "4.1", "passed")]
    with pytest.raises(CaseError, match="fail and do not fail"):
        proposed(case(), flaky)


@pytest.mark.parametrize("expected", ["", EXPECTED])
def test_a_diff_can_be_applied(tmp_path: Path, expected: str) -> None:
    """`git apply` takes the diff, of a new file as well, and the file is then the proposed one."""
    one = planted(tmp_path, expected)
    records = [record("1.0", "4.1"), record("1.1", "4.1"), record("1.2", "4.1", "passed")]
    diff = proposed_diff([one], records)
    assert ">=1.0,<=1.1" in diff
    subprocess.run(["git", "apply"], cwd=tmp_path, input=diff, text=True, check=True)
    assert expected_path(one.path).read_text(encoding="utf-8") == proposed(one, records)


def test_an_entry_that_is_right_stays_to_the_letter(tmp_path: Path) -> None:
    """A person's comment stays above the entry that it speaks of, while another one is drawn anew."""
    second = EXPECTED.partition("\n\n")[2].replace("Why it fails", "Why this fails").replace("boom", "bang")
    one = planted(tmp_path, EXPECTED + "\n" + second)
    after = proposed(one, [record("1.0", "4.1")])
    assert "# Why it fails." in after
    assert "this" not in after
