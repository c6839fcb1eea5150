"""The table of failed and passed cells says what the records say, and takes the nearest pair."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, Any

from hypothesis import given
from hypothesis import strategies as st

from harness.contracts.record import FAILED
from harness.interface import Outcome
from harness.matrix.cases import read_case
from harness.report.pages.failures import HEAD, failures_by_defect, nearest_pair, table
from tests.planted import record
from tests.test_completeness import WHOLE

if TYPE_CHECKING:
    from pathlib import Path

    from harness.contracts.record import VariantRecord

PEFT = ("0.9.0", "0.10.0", "0.12.0", "0.21.2")
TRANSFORMERS = ("4.38.2", "4.45.2", "5.23.0")
PACKAGES = ("peft", "transformers")
CELLS = tuple({"peft": p, "transformers": t} for p, t in product(PEFT, TRANSFORMERS))
EXPECTED = '[[expect]]\ndefect = "it-is-wrong"\noutcome = "wrong"\npeft = "<0.12"\n'


def measured(packages: dict[str, str], model: str, outcome: str) -> VariantRecord:
    """Make a record of the planted case."""
    return record(packages, outcome, variant={"model": model, "device": "cpu", "dtype": "float32"}, case="planted")


def distance(one: dict[str, str], other: dict[str, str]) -> tuple[int, int]:
    """Count the packages that differ, and the releases between."""
    steps = [
        abs(PEFT.index(one["peft"]) - PEFT.index(other["peft"])),
        abs(TRANSFORMERS.index(one["transformers"]) - TRANSFORMERS.index(other["transformers"])),
    ]
    return sum(step > 0 for step in steps), sum(steps)


@given(
    outcomes=st.lists(
        st.sampled_from([Outcome.PASSED, Outcome.WRONG, Outcome.UNSUPPORTED]),
        min_size=2 * len(CELLS),
        max_size=2 * len(CELLS),
    )
)
def test_no_pair_is_nearer_than_the_one_that_is_told(outcomes: list[Outcome]) -> None:
    """Against brute force: the pair exists in the records, and no other one is nearer."""
    places = list(product(CELLS, ("llama", "gpt2")))
    # Every release is in the records, so that ranks are those of PEFT and TRANSFORMERS.
    records = [measured(cell, model, outcome) for (cell, model), outcome in zip(places, outcomes, strict=True)]
    records += [measured(cell, "lora", "passed") for cell in CELLS]
    failing = [one for one in records if one.outcome in FAILED]
    found = nearest_pair(PACKAGES, failing, records)
    possible = [
        distance(bad, good)
        for ((bad, model), told), ((good, same), other) in product(zip(places, outcomes, strict=True), repeat=2)
        if model == same and told is Outcome.WRONG and other is Outcome.PASSED
    ]
    if found is None:
        assert not possible
        return
    failed, passed = (dict(zip(PACKAGES, cell, strict=True)) for cell in (found.failed, found.passed))
    assert distance(failed, passed) == min(possible)
    told = {
        (*(cell[name] for name in PACKAGES), model): outcome
        for (cell, model), outcome in zip(places, outcomes, strict=True)
    }
    assert {told[(*found.failed, variant)] for variant in found.variants} == {Outcome.WRONG}
    assert {told[(*found.passed, variant)] for variant in found.variants} == {Outcome.PASSED}


def test_a_row_names_the_defect_and_both_cells(tmp_path: Path) -> None:
    """What differs is bold; the words of the failure and the variants that do both stand beside."""
    case = planted(tmp_path)
    old, new = ({"peft": version, "transformers": "4.45.2"} for version in ("0.10.0", "0.12.0"))
    records = [measured(old, "llama", "wrong"), measured(new, "llama", "passed"), measured(old, "gpt2", "wrong")]
    assert table([case], {"planted": records})[0] == HEAD
    (row,) = table([case], {"planted": records})[2:]
    assert "[it-is-wrong](../cases/defects/it-is-wrong.md)" in row
    assert "| **peft 0.10.0**, transformers 4.45.2 | ≠" in row
    assert "| **peft 0.12.0**, transformers 4.45.2 | 1 of 2, such as `llama` |" in row


def test_what_passed_nowhere_says_so(tmp_path: Path) -> None:
    """No passing cell is made up."""
    case = planted(tmp_path)
    records = [measured(CELLS[0], "llama", "wrong"), measured(CELLS[0], "gpt2", "passed")]
    (row,) = table([case], {"planted": records})[2:]
    assert "| nowhere measured | 0 of 1 |" in row


def test_a_failure_that_no_window_expects_is_not_hidden(tmp_path: Path) -> None:
    """A record outside the windows has a row of its own."""
    case = planted(tmp_path)
    records = [measured({"peft": "0.21.2", "transformers": "5.23.0"}, "llama", "error")]
    assert list(failures_by_defect(case, records)) == ["unattributed"]
    assert "none: unexpected" in table([case], {"planted": records})[2]


def planted(tmp_path: Path) -> Any:
    """Write a case with one window, and read it."""
    path = tmp_path / "planted.py"
    path.write_text(WHOLE, encoding="utf-8")
    (tmp_path / "expected").mkdir()
    (tmp_path / "expected" / "planted.toml").write_text(EXPECTED, encoding="utf-8")
    return read_case(path)
