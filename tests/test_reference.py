"""Reference records: written once, read by everybody, the same bytes for the same records."""

from __future__ import annotations

import gzip
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from harness.cli import cli
from harness.contracts.records import place_of, read_run, variants_in
from harness.errors import UsageError
from harness.judge import reference
from harness.judge.reference import (
    missing_from,
    published,
    read_nights,
    read_reference,
    reference_path,
    trimmed,
    write_reference,
)
from harness.run.runs import Run
from tests.planted import LLAMA, grid, record, write_run

if TYPE_CHECKING:
    from pathlib import Path


def truth(packages: Any, _: Any) -> str:
    """Fail to import in one column, be wrong in another."""
    return {"0.9.0": "import-failed", "0.10.0": "wrong"}.get(packages["peft"], "passed")


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Write a planted run, with the reference folder beside it."""
    monkeypatch.setenv("PROMPT_BENCH_REPORTS", str(tmp_path))
    monkeypatch.setattr(reference, "REFERENCE", tmp_path / "reference")
    this = Run(id="planted")
    write_run(this, grid(truth, [LLAMA, {**LLAMA, "method": "prefix_tuning"}]))
    return this


def test_what_is_written_is_read_in_order_of_places(run: Run) -> None:
    """Nothing is lost that is not bulk; variants keep the order of their axes."""
    write_reference(run, "grid")
    records = read_reference("grid")
    assert [place_of(one) for one in records] == sorted(place_of(one) for one in read_run(run.folder))
    assert published() == ["grid"]
    assert next(list(one.variant) for one in variants_in(records)) == list(LLAMA)


def test_equal_records_give_equal_bytes(run: Run) -> None:
    """Neither the order of the run's files nor the time of writing shows."""
    first = write_reference(run, "grid").read_bytes()
    path = run.folder / "records" / "planted.jsonl"
    path.write_text("".join(reversed(path.read_text(encoding="utf-8").splitlines(keepends=True))), encoding="utf-8")
    assert write_reference(run, "grid").read_bytes() == first
    assert gzip.decompress(first).count(b"\n") == 5 + 25 * 2


def test_the_night_before_is_kept_under_its_date(run: Run) -> None:
    """Publishing the nightly again keeps what was published of it; another matrix is replaced."""
    path = run.folder / "records" / "planted.jsonl"
    for day in ("2026-01-01", "2026-01-02", "2026-01-02"):
        path.write_text(re.sub(r"\d{4}-\d\d-\d\dT", f"{day}T", path.read_text(encoding="utf-8")), encoding="utf-8")
        write_reference(run, "nightly")
        write_reference(run, "grid")
    nights = read_nights()
    assert list(nights) == ["2026-01-01", "2026-01-02"]
    assert {one.time[:10] for one in nights["2026-01-01"]} == {"2026-01-01"}
    assert published() == ["grid", "nightly"]


def test_bulk_and_paths_are_left_out() -> None:
    """Samples and tracebacks go, medians and evidence stay; no path of the machine that measured stays."""
    whole = replace(
        record({"peft": "0.13.0"}, "error"),
        message="cannot import 'X' from 'a' (/home/me/.cache/b/lib/python3.11/site-packages/a/__init__.py)",
        signature="see https://example.org/docs/a/b and /tmp/prompt-bench-x/checkpoint-3/ now",
        evidence={"traceback": ["a/b.py:3 f"], "tokens": [1, 2], "paths": ["/home/me/x"]},
        latency={"on": {"samples_s": [0.1], "median_s": 0.1}, "ratio": 2.0},
    )
    assert trimmed(whole) == replace(
        whole,
        message="cannot import 'X' from 'a' (a/__init__.py)",
        signature="see https://example.org/docs/a/b and <path> now",
        evidence={"tokens": [1, 2], "paths": ["<path>"]},
        latency={"on": {"median_s": 0.1}, "ratio": 2.0},
    )


def test_what_is_not_published_is_refused_with_what_to_do(run: Run) -> None:
    """The names that there are, and the two commands that make one."""
    write_reference(run, "grid")
    with pytest.raises(UsageError, match=r"there are: grid.*harness run torch.*publish"):
        read_reference("torch")


def test_a_run_with_gaps_is_not_published(run: Run) -> None:
    """One record less is one missing, unless that is what is wanted; a state stands for its cell's variants."""
    assert missing_from(run) == 0
    done = CliRunner().invoke(cli, ["admin", "publish", run.id])
    assert done.exit_code == 0
    assert "55 records of 30 cells" in done.output
    path = run.folder / "records" / "planted.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    path.write_text("".join(lines[:-1]), encoding="utf-8")
    before = reference_path("grid").read_bytes()
    done = CliRunner().invoke(cli, ["admin", "publish", run.id])
    assert done.exit_code == 2
    assert "1 variants of run planted have no record" in done.output
    assert reference_path("grid").read_bytes() == before
    assert CliRunner().invoke(cli, ["admin", "publish", run.id, "--partial", "--name", "part"]).exit_code == 0
    assert published() == ["grid", "part"]
