"""The history of real commits: what is asked of it, and the page that it becomes."""

from __future__ import annotations

import json
from dataclasses import replace

from harness.against.answer import answer_text
from harness.against.difference import difference
from harness.against.render import answer_of
from harness.against.told import EVERY, QUICK, Told
from harness.matrix.cases import load_cases, select_variants
from harness.paths import ROOT
from harness.selfcheck.history import HISTORY, TOUCHED, UNTOUCHED, for_others, page, read_history
from tests.planted import record

OLD = {"peft": "0.13.2", "transformers": "4.46.1"}


def test_twenty_touched_prompt_learning_and_twenty_did_not() -> None:
    """Each once, and the breakages that are known are among them."""
    assert (len(TOUCHED), len(UNTOUCHED)) == (20, 20)
    assert len({one.commit for one in HISTORY}) == len({one.pull for one in HISTORY}) == 40
    assert {2189, 2220} <= {one.pull for one in TOUCHED}
    assert not any(one.touched for one in UNTOUCHED)


def test_whole_cases_exist() -> None:
    """What a commit is asked besides the quick ring selects variants, so that a renamed case is seen here."""
    cases = load_cases()
    wholes = [one.whole for one in HISTORY if one.whole]
    assert wholes
    assert all(select_variants(cases, whole) for whole in wholes)


def test_what_is_kept_has_no_path_of_this_machine() -> None:
    """The clone that commits came from is PEFT's own repository for others, and a matrix of this machine is none."""
    found = difference([record(OLD, "passed")], [record(OLD, "error")], "transformers 4.46.1")
    one, other = "1" * 40, "2" * 40
    told = Told(
        package="peft", before=f"clone-1@{one[:10]}", after=f"clone-1@{other[:10]}", ring=QUICK, difference=found,
        seconds=61.2, run="r", matrix="/here/against.toml", pairs={"transformers 4.46.1": ("old", "new")},
        sides={"transformers 4.46.1": f"git+file:///here/clone-1@{one} git+file:///here/clone-1@{other}"},
    )  # fmt: skip
    text = answer_text(answer_of(told))
    assert "/here" in text
    kept = for_others(answer_of(told))
    assert "/here" not in answer_text(kept)
    assert (kept.before, kept.after) == ("peft@1111111111", "peft@2222222222")
    assert f"git+https://github.com/huggingface/peft@{one} " in kept.causes[0].again


def test_the_page_tells_what_was_measured_and_what_was_not() -> None:
    """A row for each commit, the causes of those that changed something, and nothing made up for the others."""
    found = difference([record(OLD, "passed")], [record(OLD, "error")], "transformers 4.46.1")
    told = Told(
        package="peft", before="peft@1", after="peft@2", ring=QUICK, whole="ways_to_load",
        difference=found, seconds=61.2, run="r",
    )  # fmt: skip
    nothing = replace(
        told, ring=EVERY, whole="", difference=difference([record(OLD, "passed")], [record(OLD, "passed")])
    )
    measured = {
        "5cda3a883": {**json.loads(answer_text(answer_of(told))), "transformers": "4.46.1"},
        "8efa0cb73": {**json.loads(answer_text(answer_of(nothing))), "transformers": "4.45.2"},
    }
    text = page(measured)
    rows = [line for line in text.splitlines() if line.startswith("| [#")]
    assert len(rows) == 40
    assert sum("not measured" in line for line in rows) == 38
    (row,) = (line for line in rows if "#2189" in line)
    assert "| 4.46.1 | 1 broken | 1 (quick) and `ways_to_load` | 61 |" in row
    (row,) = (line for line in rows if "#2090" in line)
    assert "no difference" in row
    assert "### #2189" in text
    assert "- **broken** 1 x `passed -> raises ValueError in peft.peft_model:f`" in text


def test_the_committed_page_is_that_of_the_published_measurements() -> None:
    """It is written again from what is published of commits."""
    assert (ROOT / "docs" / "history.md").read_text(encoding="utf-8") == page(read_history())
