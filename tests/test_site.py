"""The site: what it says is what the records say, every link leads somewhere, and a text from a record stays text."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import TYPE_CHECKING

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from harness.interface import Outcome
from harness.judge.defects import load_defects
from harness.judge.origin import Origin
from harness.matrix.cases import load_cases
from harness.report.pages.compat import Compat, Support, compat_of, schema
from harness.report.pages.site import map_data, night_data, windows_of, write_site
from tests.planted import PEFT, TRANSFORMERS, record

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from harness.contracts.record import Record, VariantRecord

NASTY = "</script><script>alert(1)</script> \x1b[31m & \u202e"
DEFECT = next(iter(load_defects()))


@st.composite
def measured(draw: st.DrawFn) -> list[VariantRecord]:
    """Draw records of one variant in a grid of releases."""
    pairs = draw(st.sets(st.tuples(st.sampled_from(PEFT), st.sampled_from(TRANSFORMERS)), min_size=1))
    outcomes = st.sampled_from([Outcome.PASSED, Outcome.WRONG, Outcome.ERROR, Outcome.UNSUPPORTED, Outcome.NOT_RUN])
    return [record({"peft": peft, "transformers": tf}, draw(outcomes)) for peft, tf in sorted(pairs)]


@given(records=measured())
def test_compat_counts_every_measured_record_once(records: list[VariantRecord]) -> None:
    """What passes, is wrong and raises adds up; works means that all passed; only a failure names a defect."""
    compat = compat_of(records, load_defects(), lambda _: DEFECT)
    results = [one for families in compat.methods.values() for found in families.values() for one in found]
    counts = {outcome: sum(one.outcome == outcome for one in records) for outcome in Outcome}
    assert sum(one.passed for one in results) == counts[Outcome.PASSED]
    assert sum(one.wrong for one in results) == counts[Outcome.WRONG]
    assert sum(one.failed for one in results) == counts[Outcome.ERROR]
    for one in results:
        assert (one.support is Support.WORKS) == (one.passed > 0 and not one.wrong and not one.failed)
        assert bool(one.defects) == bool(one.wrong or one.failed)


@given(records=measured())
def test_the_file_is_what_its_schema_says(records: list[VariantRecord]) -> None:
    """What is written is read back as the types that the published schema is drawn from, and no key is beside it."""
    compat = compat_of(records, load_defects(), lambda _: "")
    data = json.loads(json.dumps(msgspec.to_builtins(compat)))
    assert msgspec.convert(data, Compat) == compat
    (name,) = [key for key, one in schema()["$defs"].items() if one["title"] == "Compat"]
    assert set(data) == set(schema()["$defs"][name]["properties"])


@given(records=measured())
def test_a_map_has_an_entry_for_each_result(records: list[VariantRecord]) -> None:
    """The numbers in a map lead back to the releases and cases of the results, the newest first."""
    compat = compat_of(records, load_defects(), lambda _: DEFECT)
    for method, families in compat.methods.items():
        data = map_data(compat, method)
        for family, found in families.items():
            back = [(data["peft"][one[0]], data["transformers"][one[1]], one[4]) for one in data["families"][family]]
            assert back == [(one.peft, one.transformers, one.passed) for one in found]


def test_the_windows_of_a_defect_show_it_and_its_neighbours() -> None:
    """Where it is, where the same variant passes, and where it fails of something else."""
    bad, good, other = (
        record({"peft": peft, "transformers": "5.0.0"}, outcome)
        for peft, outcome in (("0.12.0", "error"), ("0.13.0", "passed"), ("0.11.1", "wrong"))
    )
    place = (bad.case, "-".join(bad.variant.values()))
    windows = windows_of({place: [bad, good, other]}, [bad])
    assert windows is not None
    assert {peft: one[1] for (peft, _), one in windows["cells"].items()} == {
        "0.12.0": "r",
        "0.13.0": "w",
        "0.11.1": "p",
    }
    assert windows["rows"] == ["0.13.0", "0.12.0", "0.11.1"]


def test_a_night_is_compared_under_the_roles_of_its_cells() -> None:
    """With a new release the newest pair is held against the newest pair of the night before."""
    first = night_data(
        "2026-01-01", [record({"peft": "0.13.0", "transformers": "5.0.0"}, "passed")], None, lambda _: ""
    )
    again = [record({"peft": "0.14.0", "transformers": "5.0.0"}, "wrong")]
    second = night_data("2026-01-02", again, json.loads(json.dumps(first)), lambda _: DEFECT)
    (change,) = second["changes"]
    assert (change["before"][0], change["now"][0], change["now"][2]) == ("passed", "wrong", DEFECT)
    assert second["new_releases"] == [["0.14.0", "5.0.0"]]
    assert (first["before"], first["changes"]) == ("", [])


def test_the_site_is_whole_and_its_texts_stay_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every relative link leads to a file, JSON stands beside every page, a message is no markup, and a night stays."""
    monkeypatch.setenv("PROMPT_BENCH_REPORTS", str(tmp_path / "reports"))
    cases = load_cases()
    good, bad = (
        record({"peft": peft, "transformers": "5.0.0", "torch": "2.13.0"}, outcome, matrix="nightly")
        for peft, outcome in (("0.13.0", "passed"), ("0.14.0", "error"))
    )
    planted: list[Record] = [good, replace(bad, message=NASTY, signature=NASTY)]
    monkeypatch.setattr("harness.report.pages.site.published_with", lambda _: Origin(words="planted", records=planted))
    monkeypatch.setattr("harness.report.pages.site.read_nights", lambda: {"2026-01-01": planted})
    site = tmp_path / "site"
    written = write_site(site, cases)
    assert written[0] == site / "index.html"
    for path in site.rglob("*.html"):
        text = path.read_text(encoding="utf-8")
        assert path.with_suffix(".json").is_file(), path
        assert "<script>alert" not in text
        assert "\x1b" not in text
        for link in re.findall(r'(?:href|src)="([^"#:]+)(?:#[^"]*)?"', text):
            assert (path.parent / link).is_file(), f"{path}: {link}"
    (night,) = (site / "nights").glob("*.html")
    night.write_text("permanent", encoding="utf-8")
    write_site(site, cases)
    assert night.read_text(encoding="utf-8") == "permanent"
