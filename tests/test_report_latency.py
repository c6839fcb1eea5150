"""The report's latency part: intervals, parts and growth are on the page, and a lost cache turns the verdict red."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from harness.contracts.record import VariantRecord
from harness.errors import ExitStatus
from harness.judge.reference import trimmed
from harness.judge.summary import summarise
from harness.latency.ratio import cached_over_uncached
from harness.report.files import write_reports
from harness.report.timings import growth_sections, latency_rows, newest_rows
from tests.test_growth import growth_facts
from tests.test_summary import CASES, make_run, record

if TYPE_CHECKING:
    from pathlib import Path

PAIRS = 8


@pytest.fixture(autouse=True)
def reports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep runs and reports in a folder of the test's own."""
    monkeypatch.setenv("PROMPT_BENCH_REPORTS", str(tmp_path))
    return tmp_path


def arm(seconds: float, *, tokens: int) -> dict[str, Any]:
    """Make an arm whose samples differ by a little, and in which half of each was waited."""
    samples = [2 * seconds * (1 + index / 100) for index in range(PAIRS)]
    return {
        "samples_s": samples, "waited_s": [one / 2 for one in samples], "median_s": 2 * seconds,
        "prefill": {"samples_s": [seconds / 4] * PAIRS, "median_s": seconds / 4},
        "decode": {"samples_s": [seconds * 3 / 4] * PAIRS, "median_s": seconds * 3 / 4},
        "forward_calls": 8, "tokens_fed": tokens, "peak": {"host_bytes": 300 << 20},
    }  # fmt: skip


def timed(cell: str, cached_s: float = 0.009) -> VariantRecord:
    """Make a record of a variant that was timed."""
    latency = {"cached": arm(cached_s, tokens=44), "uncached": arm(0.012, tokens=324), "ratio": cached_s / 0.012}
    return record(cell, latency=latency, counters={"use_cache": True, "tokens_per_call": [37, 1, 1, 1]})


def test_the_page_shows_both_arms_with_intervals_in_the_newest_cell(reports: Path) -> None:
    """Own times in milliseconds, the ratio with its interval, and what a token costs; without any link outside."""
    summary = summarise(make_run("r", ["a", "b"], [timed("a", 0.008), timed("b")]), CASES)
    rows = latency_rows(summary)
    (newest,) = newest_rows([cell.id for cell in reversed(summary.cells)], rows)["planted"]
    assert (newest.cell, newest.samples) == ("b", PAIRS)
    assert newest.cached is not None
    assert newest.cached.median_ms == pytest.approx(9.3, abs=0.2)
    assert newest.cached.low_ms is not None
    assert newest.cached.low_ms < newest.cached.median_ms
    assert newest.cached.token_ms == pytest.approx(6.75 / 7)
    assert newest.ratio is not None
    assert newest.ratio.estimate == pytest.approx(0.75)
    write_reports(summary)
    page = (reports / "latest" / "report.html").read_text(encoding="utf-8")
    assert "0.75 to 0.75" in page
    assert "44 | 324" in page
    assert "<svg" in page
    assert "://" not in page


def test_an_arm_that_did_not_run_is_left_empty() -> None:
    """Without the uncached arm there is no ratio, and the row is still there."""
    one = timed("a")
    one = replace(one, latency={"cached": one.latency["cached"]})
    summary = summarise(make_run("r", ["a"], [one]), CASES)
    (row,) = latency_rows(summary)
    assert (row.uncached, row.ratio) == (None, None)
    write_reports(summary)


def test_growth_is_drawn_with_its_exponents(reports: Path) -> None:
    """Two plots for the one axis that there is, and a row for each curve."""
    summary = summarise(make_run("r", ["a"], [record("a", **growth_facts())]), CASES)
    (section,) = growth_sections(one.record for one in summary.judged if one.record)
    assert [one.title for one in section.plots] == ["time by new tokens", "tokens fed by new tokens"]
    write_reports(summary)
    page = (reports / "latest" / "report.html").read_text(encoding="utf-8")
    assert page.count("<polyline") == 4
    assert "over the last doubling" in page


def test_a_published_record_keeps_the_interval() -> None:
    """The samples stay behind, what they say does not."""
    one = timed("a")
    kept = trimmed(one)
    assert isinstance(kept, VariantRecord)
    assert "samples_s" not in kept.latency["cached"]
    assert cached_over_uncached(kept) == cached_over_uncached(one)


def test_a_lost_cache_turns_the_gate_red(reports: Path) -> None:
    """Every outcome is as expected; the price is not, and the report says which verdict that is."""
    lost = replace(timed("b"), counters={"use_cache": True, "tokens_per_call": [37, 38, 39, 40]})
    summary = summarise(make_run("r", ["a", "b"], [timed("a"), lost]), CASES)
    assert summary.exit_status() is ExitStatus.NEEDS_A_PERSON
    assert summary.verdicts == {"as-expected": 1, "regressed: cost": 1}
    assert summary.exit_status({"changed"}) is ExitStatus.AS_EXPECTED
    write_reports(summary)
    for name in ("report.html", "report.md", "junit.xml", "report.json"):
        assert "cost" in (reports / "latest" / name).read_text(encoding="utf-8")
    kept = replace(summary, cells=summary.cells[:1])
    assert kept.exit_status() is ExitStatus.AS_EXPECTED
