"""What a report says: skips and what they leave open, other changes, what came along."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from harness.bisect.flow import Result
from harness.bisect.question import Step
from harness.bisect.releases import Ends, Found, differences, make_axis
from harness.bisect.report import About, answer_lines, as_data, markdown, step_line
from harness.bisect.search import Answer, Find, Search
from harness.bisect.symptom import Symptom
from harness.bisect.wording import boundary, details, headline
from harness.contracts.record import StateRecord
from harness.environments.releases import Release
from harness.environments.resolve import Lock
from harness.errors import ExitStatus
from harness.matrix.spec import Cell
from tests.planted import record, state_record

if TYPE_CHECKING:
    from pathlib import Path

    from harness.contracts.record import Record

CELL = {"peft": "0.13.0"}
RECORDS: dict[str, Record] = {
    "g": record(CELL, "passed"),
    "b": replace(record(CELL, "wrong"), message="drops the prompt"),
    "o": replace(record(CELL, "error"), signature="KeyError: other"),
    "s": replace(state_record(CELL), message="no module named x"),
}
SYMPTOM = Symptom(outcome="wrong", words="drops the prompt")
ABOUT = About(
    case="planted",
    variant={"model": "llama", "device": "cpu"},
    held="torch 2.13.0",
    command=("--x",),
    run="r",
    failing=("peft0.1", "grid"),
)


def found_of(history: str, find: Find = Find.FIRST_BAD) -> Found:
    """Search a line of records as letters: good, bad, other failure, skip."""
    held = Cell(python="3.11", pins={"transformers": "4.45.2"})
    axis = make_axis("peft", tuple(Release(version=f"0.{n}.0") for n in range(len(history))), held)
    records = {}
    search = Search(find, 0, len(history) - 1)
    while (ask := search.next()) is not None:
        records[ask.index] = RECORDS[history[ask.index]]
        search.tell(ask.index, SYMPTOM.answer(records[ask.index]))
    return Found(
        axis=axis, ends=Ends(low=0, high=len(history) - 1, find=find), ends_from="as given", finding=search.finding(),
        rule=SYMPTOM, records=records, came_along={},
    )  # fmt: skip


def test_the_plain_answer() -> None:
    """One sentence with both neighbours; the boundary for a sentence about several packages."""
    found = found_of("ggggbbb")
    assert headline(found) == "peft 0.4.0 is the first bad release: 0.3.0 is good, 0.4.0 is bad"
    assert boundary(found) == ">= 0.4.0"
    assert boundary(found_of("bbg", Find.FIRST_FIXED)) == "< 0.2.0"
    assert "Bad is: wrong: drops the prompt" in details(found)
    assert "Nothing but peft differs between the two locks." in details(found)


def test_skips_leave_a_range_open() -> None:
    """Every release that may be it is named, with the reason why it could not be asked."""
    found = found_of("ggssbb")
    assert headline(found) == "first bad release: one of 0.2.0 to 0.4.0 (0.1.0 is good, 0.4.0 is bad)"
    (line,) = [line for line in details(found) if line.startswith("Could not be answered")]
    assert "0.2.0 (import-failed: no module named x); 0.3.0 (import-failed" in line


def test_another_failure_is_never_called_good() -> None:
    """Neither beside the change nor away from it."""
    found = found_of("bbooo" + "g", Find.FIRST_FIXED)
    said = headline(found)
    assert said == "peft 0.2.0 is the first release without this failure: 0.1.0 is bad, 0.2.0 fails otherwise"
    assert any("does not show it but fails otherwise: error: KeyError: other" in line for line in details(found))
    away = found_of("gogggbbb")
    told = [line for line in details(away) if "counts as without it" in line]
    assert bool(told) == (1 in away.records)


def test_known_changes_are_listed_after_the_answer() -> None:
    """What was published of older releases is told, with its source; what fails there is not called good either."""
    found = found_of("ggggbbb")
    old = replace(found, ends=Ends(low=3, high=6, find=Find.FIRST_BAD), records={3: RECORDS["g"], 4: RECORDS["b"]},
                  published={0: RECORDS["o"], 1: RECORDS["g"], 3: RECORDS["b"]})  # fmt: skip
    (line,) = [line for line in details(old) if "published" in line]
    assert line == (
        "Another fix is known: 0.0.0 fails otherwise (error: KeyError: other), 0.1.0 is good (passed)"
        ", by the published records"
    )


def test_the_report_names_nothing_of_this_machine(tmp_path: Path) -> None:
    """Neither a folder nor the address of a private index, in the command, the cell or the words of a failure."""
    (tmp_path / "cell.toml").write_text("[matrix]\n", encoding="utf-8")
    about = replace(ABOUT, command=("--repo", str(tmp_path / "peft")), failing=("peft0.1", str(tmp_path / "cell.toml")))
    words = f"see https://github.com/a/b/pull/1; not https://mirror.planted.example/simple/ nor {tmp_path}"
    step = Step(place="p", label="peft 0.1.0", why="end", record=replace(RECORDS["s"], message=words),
                source="measured", seconds=0.5)  # fmt: skip
    text = markdown(about, Result(axes=[found_of("gb")]), [step])
    assert str(tmp_path) not in text
    assert "planted.example" not in text
    assert "https://github.com/a/b/pull/1" in text
    assert "--matrix cell.toml" in text


def test_an_end_that_refuses() -> None:
    """The end, what it should be, what it is, and which option to change."""
    found = found_of("gggg")
    assert headline(found) == "peft 0.3.0 should be bad but is good (passed); choose another --bad"
    assert boundary(found) is None
    assert Result(axes=[found]).exit_status() is ExitStatus.NEEDS_A_PERSON
    assert Result(axes=[found_of("gb")]).exit_status() is ExitStatus.AS_EXPECTED


@given(st.sampled_from(list(Find)), st.text(alphabet="gbos", max_size=30))
def test_every_history_has_a_report(find: Find, inner: str) -> None:
    """Whatever was seen, the Markdown has the answer and every probe, and the JSON every answer."""
    ends = ("g", "b") if find is Find.FIRST_BAD else ("b", "g")
    found = found_of(f"{ends[0]}{inner}{ends[1]}", find)
    steps = [
        Step(place=f"p{index}", label=f"peft 0.{index}.0", why="halving", record=told, source="measured", seconds=0.5)
        for index, told in found.records.items()
    ]
    result = Result(axes=[found])
    text = markdown(ABOUT, result, steps)
    assert headline(found) in text
    assert text.count("| halving |") == len(steps)
    assert "    python -m harness bisect --x" in text
    assert "    python -m harness repro planted --cell peft0.1 --matrix grid --variant llama" in text
    data = as_data(ABOUT, result, steps)
    assert len(data["axes"][0]["answers"]) == len(found.records)
    change = found.finding.change
    assert change is not None
    assert data["axes"][0]["answers"][f"0.{change.right}.0"] in {str(find.new), "fails otherwise"}
    assert all(
        (answer == "good") == (record_of.outcome == "passed")
        for answer, record_of in zip(
            data["axes"][0]["answers"].values(), (found.records[one] for one in sorted(found.records)), strict=True
        )
        if not isinstance(record_of, StateRecord)
    ), "nothing that fails is called good"
    assert not re.search(r"is good \((?!passed)", text + "\n".join(answer_lines(result)))


@given(st.text(max_size=200), st.text(max_size=200), st.sampled_from(["measured", "store", "journal"]))
def test_a_step_fits_a_line(label: str, words: str, source: str) -> None:
    """100 columns, whatever the words."""
    wrong = replace(record(CELL, "wrong"), message=words)
    step = Step(place="p", label=label, why="git bisect", record=wrong, source=source, seconds=12.3)
    assert len(step_line(7, step)) <= 100


def test_what_came_along_is_told() -> None:
    """Two locks of neighbours may differ in more than the axis."""
    left = Lock(pins=("numpy==1.0", "peft==0.1", "tokenizers==0.20"))
    right = Lock(pins=("numpy==1.0", "peft==0.2", "regex==1", "tokenizers==0.21"))
    assert differences(left, right, leave_out="peft") == {"regex": ("-", "1"), "tokenizers": ("0.20", "0.21")}
    assert differences(left, None, leave_out="peft") == {}
    assert found_of("gb").answer(0) is Answer.GOOD
