"""What an issue says beyond the night: where it begins, a script, a way round, what moved, what is not known."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.contracts.records import read_run
from harness.errors import InputError
from harness.followup.findings import Finding
from harness.followup.investigate import Investigation
from harness.followup.issues import cause_id
from harness.followup.moved import GoodNight, good_nights, moved, moves_of, pair_of, read_nights, write_nights
from harness.followup.text import causes_of, groups_to_tell
from harness.judge.summary import summarise
from harness.matrix.cases import load_cases
from harness.matrix.read import load_matrix
from harness.paths import ROOT
from harness.run.merge import merge_runs
from harness.run.runs import Run
from tests.planted import LLAMA, record, write_run

if TYPE_CHECKING:
    from pathlib import Path

    from harness.judge.summary import Summary

OLD = {"peft": "0.21.2", "transformers": "5.22.0", "torch": "2.13.0"}
NEW = {**OLD, "transformers": "5.23.0"}
PINS = {"accelerate": "1.12.0", "numpy": "2.3.0", "peft": "0.21.2", "tokenizers": "0.22.1", "transformers": "5.23.0"}

locks = st.dictionaries(st.sampled_from(sorted(PINS)), st.sampled_from(["1.0", "1.1", "2.0"]))


def pins(versions: dict[str, str]) -> tuple[str, ...]:
    """Write versions as the pins of a lock."""
    return tuple(f"{name}=={version}" for name, version in sorted(versions.items()))


@given(locks, locks)
def test_what_moved_is_what_differs(before: dict[str, str], now: dict[str, str]) -> None:
    """Each package that differs once, none that does not; applying the moves to one lock gives the other."""
    moves = moved(pins(before), pins(now))
    assert [one.package for one in moves] == sorted({one.package for one in moves})
    there = {one.package: one for one in moves}
    assert all((before.get(name) != now.get(name)) == (name in there) for name in PINS)
    applied = {**before, **{one.package: one.now for one in moves}}
    assert {name: version for name, version in applied.items() if version} == now
    assert moved(pins(now), pins(now)) == ()


def summary_of(folder: Path, monkeypatch: pytest.MonkeyPatch, outcome: str, run: str = "night") -> Summary:
    """Judge a night on which the old pair passes and the new one does as told."""
    monkeypatch.setenv("PROMPT_BENCH_REPORTS", str(folder))
    uncached = {**LLAMA, "aspect": "uncached"}
    write_run(
        Run(id=run), [record(OLD, "passed"), record(NEW, outcome), record(NEW, "passed", variant=uncached)]
    )  # fmt: skip
    return summarise(Run(id=run), load_cases())


def test_the_same_pair_red_on_another_day_names_what_moved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A green night is remembered with its lock; a red one says what moved since, and is not remembered."""
    green = summary_of(tmp_path, monkeypatch, "passed", "monday")
    cells = {pair_of(cell): cell.id for cell in green.cells}
    before = {cell: list(pins(PINS)) for cell in cells.values()}
    known = good_nights(green, before, {}, "2026-11-23")
    assert set(known) == set(cells)
    red = summary_of(tmp_path, monkeypatch, "wrong", "tuesday")
    after = {cell: list(pins({**PINS, "accelerate": "1.13.0", "extra": "1"})) for cell in cells.values()}
    assert moves_of(red, before, known) == {}
    moves = moves_of(red, after, known)
    words = "was as expected on 2026-11-23 (run monday); since then: accelerate 1.12.0 -> 1.13.0, extra absent -> 1"
    bad = next(one.cell for one in red.for_a_person())
    assert moves[bad] == words
    (cause,) = causes_of(red, {}, moves)
    assert "**The same pair, another lock**" in cause.text
    assert "accelerate 1.12.0 -\\> 1.13.0" in cause.text
    later = good_nights(red, after, known, "2026-11-24")
    assert [one.day for pair, one in later.items() if cells[pair] == bad] == ["2026-11-23"]
    assert {one.day for one in later.values()} == {"2026-11-23", "2026-11-24"}


def test_the_good_nights_are_read_back_and_anything_else_is_refused(tmp_path: Path) -> None:
    """One line with the file's name; no file is no night."""
    path = tmp_path / "nights.json"
    assert read_nights(path) == {}
    known = {"peft 1": GoodNight(run="r", day="2026-11-23", pins=("a==1",))}
    write_nights(path, known)
    assert read_nights(path) == known
    for text in ("[]", "{", '{"x": 3}', '{"x": {"run": "r"}}'):
        path.write_text(text, encoding="utf-8")
        with pytest.raises(InputError, match=r"nights\.json: no file of good nights"):
            read_nights(path)


def test_an_issue_has_all_that_was_found_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Release, commit, script, window, way round and what is not known, hostile words as code."""
    summary = summary_of(tmp_path, monkeypatch, "wrong")
    (group,) = groups_to_tell(summary)
    finding = Finding(
        begins=("transformers 5.23.0 is the first bad release",),
        commits=("first bad commit of transformers: abc", "  abc `code` @everyone"),
        script="import torch\nassert True\n",
        unknown=("the weather: [x](http://y)",),
    )
    (cause,) = causes_of(summary, {cause_id(group): finding})
    text = cause.text
    assert "**First bad release**: transformers 5.23.0 is the first bad release." in text
    assert "**First bad commit**:\n\n```\nfirst bad commit of transformers: abc" in text
    assert "```python\nimport torch\nassert True\n```" in text
    assert "**Version window** of the example, among 2 records: peft ==0.21.2, transformers >=5.23.0." in text.replace(
        "\\", ""
    )
    assert "**Way round**: transformers 5.22.0, with which it does not fail so" in text
    assert "`generate_with_cache:llama-p_tuning-uncached-cpu-float32` passes in the same cell" in text
    assert "- not known: the weather: \\[x\\]" in text
    assert "prompt-bench bisect --case generate_with_cache:" in text
    order = [
        "Who is hit",
        "First bad release",
        "First bad commit",
        "Version window",
        "A script",
        "Way round",
        "To know",
    ]
    places = [text.index(f"**{one}") for one in order]
    assert places == sorted(places)


def test_an_issue_without_findings_says_what_the_cells_tell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The step between measured neighbours stands in for a bisect; there is no empty heading."""
    (cause,) = causes_of(summary_of(tmp_path, monkeypatch, "wrong"))
    assert "since transformers 5.23.0 (5.22.0 does not), by the cells" in cause.text
    assert "First bad commit" not in cause.text
    assert "A script for `uv run`" not in cause.text


def test_the_locks_of_a_run_are_kept_and_joined(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each shard writes its own; the joined run has all of them; something else in their place is refused."""
    monkeypatch.setenv("PROMPT_BENCH_REPORTS", str(tmp_path))
    for number in (1, 2):
        run = Run(id=f"s{number}")
        write_run(run, [replace(one, run=run.id) for one in (record(OLD, "passed"), record(NEW, "passed"))][:number])
        run.keep_locks("base", {f"cell-{number}": [f"peft=={number}"]})
    joined = merge_runs([Run(id="s1"), Run(id="s2")], Run(id="joined"))
    assert joined.locks() == {"cell-1": ["peft==1"], "cell-2": ["peft==2"]}
    assert read_run(joined.folder)
    next((joined.folder / "locks").glob("*")).write_text("[]", encoding="utf-8")
    with pytest.raises(InputError, match="not the locks of a run"):
        joined.locks()


def test_a_clone_is_of_a_package_that_has_commits() -> None:
    """Anything else is refused before a run is looked at."""
    command = [sys.executable, "-m", "harness", "admin", "follow-up", "--clone", "numpy=/x"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env={**os.environ}, check=False)
    assert done.returncode == 2
    assert "name peft or transformers" in done.stderr


def test_without_time_left_nothing_is_measured_and_the_issue_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A budget that is spent ends a bisect at its first word, and no script is tried."""
    summary = summary_of(tmp_path, monkeypatch, "wrong")
    (group,) = groups_to_tell(summary)
    said: list[str] = []
    spent = Investigation(
        matrix=load_matrix("nightly"), cases=load_cases(), locks={}, clones={}, budget_s=0, say=said.append,
        begun=0.0,
    )  # fmt: skip
    finding = spent.finding(group)
    assert len(said) == 1
    assert finding.begins == finding.commits == ()
    assert finding.script == ""
    assert [one for one in finding.unknown if "the time of the night was spent" in one] == list(finding.unknown)
    assert len(finding.unknown) == 2
    (cause,) = causes_of(summary, {cause_id(group): finding})
    assert cause.text.count("not known: ") == 2
    assert "**First bad release**: since transformers 5.23.0" in cause.text
    assert not list((tmp_path / "runs").glob("bisect-*/records/*"))
