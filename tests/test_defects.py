"""The defects: read with every mistake, attributed, and what the records say of them."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from harness.cli import cli
from harness.contracts.record import FAILED, VariantRecord
from harness.contracts.records import variants_in
from harness.errors import DataError
from harness.interface import Outcome
from harness.judge import defects as defects_module
from harness.judge.defects import (
    DEFECTS,
    Defect,
    Sees,
    Status,
    attribute,
    load_defects,
    observe,
    osv,
    problems_of,
    read_defect,
    with_seen,
)
from harness.judge.origin import published_with
from harness.judge.verdicts import covers, defect_of, expectation_for
from harness.matrix.cases import Case, load_cases
from harness.matrix.expected import UNATTRIBUTED, Expectation
from tests.planted import PEFT, TRANSFORMERS, grid, record, state_record

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.contracts.record import Record

WHOLE = """```toml
[defect]
id = "it-booms"
sees = "raises"
package = "peft"
where = ["src/peft/peft_model.py:PeftModel"]
who = "Everybody"
way_round = "peft >= 0.12"
reported = ["https://github.com/huggingface/peft/issues/1"]
fixed_by = []
mechanism = "It is lit"
```

# It booms

In a few sentences.
"""
CASE = Case(
    name="planted", path=Path("cases/planted.py"), summary="", document=None, variants=({"model": "llama"},),
    expectations=(Expectation(outcome="error", defect="it-booms", signature="ValueError"),),
)  # fmt: skip


def written(folder: Path, text: str = WHOLE, name: str = "it-booms.md") -> Path:
    """Write a defect's file into a folder."""
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("part", "instead", "words"),
    [
        ("```toml", "# It booms", ":1: begins with a TOML head"),
        ("[defect]", "[cause]", ":1: the head has no"),
        ('id = "it-booms"', 'id = "it-bangs"', ":3: id is 'it-bangs', and the file 'it-booms'"),
        ('"raises"', '"raised"', ":4: sees = 'raised' is none of"),
        ('package = "peft"', 'package = "pest"', ":5: package = 'pest' is none of"),
        ('["src/peft/peft_model.py:PeftModel"]', '"src"', ":6: where must be a list"),
        ('who = "Everybody"\n', "", ":2: who is missing"),
        ('"peft >= 0.12"', '""', ":8: way_round must be a text"),
        ("https://github.com/huggingface/peft/issues/1", "peft#1", ":9: reported is a list of https:// links"),
        ('mechanism = "It is lit"', 'mechanics = "It is lit"', ":11: 'mechanics' means nothing here"),
        ('"It is lit"', '"It is lit"\nstate = "import-failed"', ":12: state and says stand together"),
        ('"It is lit"', '"It is lit"\n[seen]\nrecords = -1\nstatus = "live"', ":13: records must be a count"),
        ("fixed_by = []", 'first_fixed_commit = ["https://x.y/abc"]', ":10: first_fixed_commit is a list of links"),
        ('"It is lit"', '"It is lit"\n[seen]\nrecords = 1\nstatus = "live"\nwindows = [{ pest = "1" }]', ":15: 'pest'"),
        ('"It is lit"', '"It is lit"\n[saw]', ":12: 'saw' means nothing here"),
        ("# It booms", "It booms", "a title"),
        ("In a few sentences.", "", "a few sentences"),
        ("fixed_by = []", "fixed_by = ", ":10: not TOML"),
    ],
)
def test_a_mistake_is_told_with_file_and_line(tmp_path: Path, part: str, instead: str, words: str) -> None:
    """Each planted mistake is found where it stands, and the whole file has none."""
    assert read_defect(written(tmp_path)).title == "It booms"
    assert part in WHOLE
    with pytest.raises(DataError, match=f"it-booms.md.*{words}"):
        read_defect(written(tmp_path, WHOLE.replace(part, instead, 1)))


def planted(tmp_path: Path) -> dict[str, Defect]:
    """Read the planted defect."""
    written(tmp_path)
    return load_defects(tmp_path)


def defect(name: str = "it-booms") -> Defect:
    """Make a defect."""
    return Defect(
        id=name, title="T", text="t", sees=Sees.RAISES, package="peft", where=("f",), who="w", way_round="r",
        mechanism="m", path=Path("cases/defects/x.md"),
    )  # fmt: skip


@given(st.lists(st.sampled_from(["passed", "error", "wrong", "crashed", "unsupported"]), max_size=6))
def test_every_failing_record_is_put_down_to_one_cause(outcomes: list[str]) -> None:
    """Through the entry that accounts for it, or to none; what does not fail to nothing at all."""
    records: list[Record] = [
        record({"peft": f"0.{number}.0", "transformers": "5.0.0"}, outcome, case="planted")
        for number, outcome in enumerate(outcomes)
    ]
    found = attribute([CASE], {"it-booms": defect()}, records)
    assert len(found.get("it-booms", [])) == outcomes.count("error")
    assert len(found.get(UNATTRIBUTED, [])) == outcomes.count("wrong") + outcomes.count("crashed")
    assert found.keys() <= {"it-booms", UNATTRIBUTED}


def test_the_state_of_a_cell_has_its_defect() -> None:
    """By state and words; other words are another cause."""
    known = {"no-x": replace(defect("no-x"), state="import-failed", says="import name 'X'")}
    there = state_record({"peft": "0.9.0", "transformers": "5.0.0"})
    assert attribute([], known, [there, replace(there, message="No module named 'y'")]) == {"no-x": [there]}


@given(
    low=st.integers(0, len(PEFT) - 1),
    high=st.integers(0, len(PEFT) - 1),
    since=st.integers(0, len(TRANSFORMERS) - 1),
)
def test_what_was_seen_is_where_it_was_planted(low: int, high: int, since: int) -> None:
    """First and last bad release, first good one, and whether it is there in the newest pair."""
    if low > high:
        low, high = high, low

    def truth(packages: Mapping[str, str], _: Mapping[str, str]) -> str:
        there = low <= PEFT.index(packages["peft"]) <= high
        return "error" if there and TRANSFORMERS.index(packages["transformers"]) >= since else "passed"

    records = [replace(one, case="planted") for one in grid(truth) if isinstance(one, VariantRecord)]
    seen = observe([CASE], {"it-booms": defect()}, records)["it-booms"]
    assert seen.records == (high - low + 1) * (len(TRANSFORMERS) - since)
    assert seen.first == {"peft": PEFT[low], "transformers": TRANSFORMERS[since]}
    assert seen.last == {"peft": PEFT[high], "transformers": TRANSFORMERS[-1]}
    introduced = {"peft": PEFT[low]} if low else {}
    assert seen.introduced == introduced | ({"transformers": TRANSFORMERS[since]} if since else {})
    assert seen.fixed == ({"peft": PEFT[high + 1]} if high + 1 < len(PEFT) else {})
    assert seen.status is (Status.LIVE if high == len(PEFT) - 1 else Status.MENDED)
    (window,) = seen.windows
    for one in records:
        versions = {"peft": one.cell.packages["peft"], "transformers": one.cell.packages["transformers"]}
        assert covers(window, {}, versions, {}) == (one.outcome == "error")


def test_what_fails_of_something_else_is_hidden() -> None:
    """A variant that never comes to the defect any more does not say that it is mended."""
    old = record({"peft": "0.9.0", "transformers": "5.0.0"}, "error", case="planted")
    new = record({"peft": "0.10.0", "transformers": "5.0.0"}, "wrong", case="planted")
    assert observe([CASE], {"it-booms": defect()}, [old, new])["it-booms"].status is Status.HIDDEN
    assert observe([CASE], {"it-booms": defect()}, [])["it-booms"].status is Status.UNMEASURED


def test_what_was_seen_is_written_and_read(tmp_path: Path) -> None:
    """The person's part stays to the letter; a second writing changes nothing."""
    known = planted(tmp_path)
    records = [replace(one, case="planted") for one in grid(lambda *_: "error") if isinstance(one, VariantRecord)]
    seen = observe([CASE], known, records)["it-booms"]
    path = tmp_path / "it-booms.md"
    text = with_seen(path, seen)
    path.write_text(text, encoding="utf-8")
    assert read_defect(path).kept == seen
    assert with_seen(path, seen) == text
    head, _, rest = WHOLE.rpartition("```\n")
    assert text.startswith(head)
    assert text.endswith(rest)


def test_names_that_miss_each_other_are_told(tmp_path: Path) -> None:
    """An entry of no defect, a defect of no entry, and what nobody has named."""
    known = planted(tmp_path)
    assert problems_of([CASE], known) == []
    assert [words for _, _, words in problems_of([], known)] == [
        "no entry of cases/expected names it, and it has no state; remove it, or name it"
    ]
    for name, words in (("it-bangs", "there is no cases/defects/it-bangs.md"), (UNATTRIBUTED, "nobody has named")):
        entry = replace(CASE.expectations[0], defect=name, line=7)
        ((path, line, told),) = problems_of([CASE, replace(CASE, name="other", expectations=(entry,))], known)
        assert (path.name, line) == ("other.toml", 7)
        assert words in told


def test_osv_has_its_events(tmp_path: Path) -> None:
    """Ranges of introduced and fixed, from 0 where nobody saw it begin."""
    (known,) = planted(tmp_path).values()
    assert osv(known, "2026-01-01T00:00:00Z")["affected"][0]["ranges"][0]["events"] == [{"introduced": "0"}]
    records = [
        replace(one, case="planted")
        for one in grid(lambda packages, _: "error" if packages["peft"] in PEFT[1:3] else "passed")
        if isinstance(one, VariantRecord)
    ]
    seen = replace(known, kept=observe([CASE], {"it-booms": known}, records)["it-booms"])
    (affected,) = osv(seen, "2026-01-01T00:00:00Z")["affected"]
    assert affected["package"] == {"ecosystem": "PyPI", "name": "peft"}
    assert affected["ranges"][0]["events"] == [{"introduced": PEFT[1]}, {"fixed": PEFT[3]}]


def test_commits_have_a_range_of_their_own() -> None:
    """In the repository of the package that is wrong; from its first commit where nobody knows which one it was."""
    first, last = (f"https://github.com/huggingface/peft/commit/{digit * 40}" for digit in "ab")
    both = replace(defect(), first_bad_commit=(first,), first_fixed_commit=(last,))
    (affected,) = osv(both, "2026-01-01T00:00:00Z")["affected"]
    assert affected["ranges"][1] == {
        "type": "GIT",
        "repo": "https://github.com/huggingface/peft",
        "events": [{"introduced": "a" * 40}, {"fixed": "b" * 40}],
    }
    (affected,) = osv(replace(both, first_bad_commit=()), "2026-01-01T00:00:00Z")["affected"]
    assert affected["ranges"][1]["events"] == [{"introduced": "0"}, {"fixed": "b" * 40}]


@pytest.mark.parametrize("one", load_defects().values(), ids=lambda one: one.id)
def test_every_defect_keeps_to_osv(one: Defect) -> None:
    """What OSV's schema asks for: a known kind of reference, and events of one word each that begin with introduced."""
    data = osv(one, "2026-01-01T00:00:00Z")
    assert {"schema_version", "id", "modified", "summary", "details", "affected", "references"} <= data.keys()
    assert data["id"].startswith("x_")
    assert {link["type"] for link in data["references"]} <= {"REPORT", "FIX", "INTRODUCED"}
    for affected in data["affected"]:
        assert affected["package"]["ecosystem"] == "PyPI"
        for found in affected["ranges"]:
            assert (found["type"] == "GIT") == ("repo" in found)
            assert [len(event) for event in found["events"]] == [1] * len(found["events"])
            assert "introduced" in found["events"][0]


def test_a_mended_defect_alone_has_the_commit_that_mended_it() -> None:
    """A commit that is said to mend what is still there in the newest releases mends something else."""
    for one in load_defects().values():
        assert one.kept is not None
        assert not (one.first_fixed_commit and one.kept.status is Status.LIVE), one.id


def test_every_failing_published_record_has_a_defect() -> None:
    """None is without a cause, and every cause is there in some record."""
    known, records = load_defects(), published_with(None).records
    found = attribute(load_cases(), known, records)
    assert found.keys() == known.keys()
    failing = sum(one.outcome in FAILED for one in variants_in(records))
    assert sum(len(list(variants_in(some))) for some in found.values()) == failing


def test_the_committed_defects_are_fresh_and_stale_ones_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the files and the page say was seen is what the records say; an edit by hand is told, and mended."""
    told = CliRunner().invoke(cli, ["cases", "check"])
    assert told.exit_code == 0, told.output
    copy = tmp_path / "defects"
    shutil.copytree(DEFECTS, copy)
    monkeypatch.setattr(defects_module.load_defects, "__defaults__", (copy,))
    path = copy / "left-padding-moves-the-prompt.md"
    path.write_text(path.read_text(encoding="utf-8").replace('status = "live"', 'status = "mended"'), encoding="utf-8")
    stale = CliRunner().invoke(cli, ["cases", "check"])
    assert stale.exit_code == 1
    assert "left-padding-moves-the-prompt.md: [seen] does not say what the records say" in stale.output


def test_the_live_ones_are_listed() -> None:
    """In words, and in OSV's shape."""
    everything, live = (CliRunner().invoke(cli, ["cases", "defects", *more]).output for more in ([], ["--live"]))
    assert "left-padding-moves-the-prompt: silently-wrong; live, reported" in live
    assert "prefix-ignores-grouped-heads" in everything
    assert "prefix-ignores-grouped-heads" not in live
    data = json.loads(CliRunner().invoke(cli, ["cases", "defects", "--live", "--json"]).output)
    assert {one["database_specific"]["status"] for one in data} == {"live"}


def one_of_each_entry() -> list[VariantRecord]:
    """Return a published failing record of every entry that accounts for one."""
    by_name = {case.name: case for case in load_cases()}
    found: dict[tuple[str, int], VariantRecord] = {}
    for one in variants_in(published_with(None).records):
        if one.outcome in FAILED and one.case in by_name:
            entry = expectation_for(by_name[one.case], one.cell.versions, one.variant)
            if entry is not None:
                found.setdefault((one.case, entry.line), one)
    return list(found.values())


def test_a_second_fault_does_not_pass_for_the_known_one() -> None:
    """Of one type with it: with its words in another function, and with other words where the known one raises."""
    cases = {case.name: case for case in load_cases()}
    seen = one_of_each_entry()
    assert sum(one.outcome == Outcome.ERROR for one in seen) > 300
    for one in seen:
        case = cases[one.case]
        assert defect_of(case, one) != UNATTRIBUTED
        assert defect_of(case, replace(one, signature=None, message="planted: nobody has seen this")) == UNATTRIBUTED
        if one.signature:
            said, _, frame = one.signature.partition(" @ ")
            elsewhere = f"{said} @ peft.planted:a_function_of_another_fault"
            assert defect_of(case, replace(one, signature=elsewhere)) == UNATTRIBUTED, one.signature
            other = f"{said.partition(':')[0]}: planted @ {frame}"
            assert defect_of(case, replace(one, signature=other, message="planted")) == UNATTRIBUTED, one.signature
