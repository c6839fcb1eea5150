"""The store: what is added is found; what is corrupt, older, newer or not writable is said in one line."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING
from unittest.mock import patch

import pytest

from harness.contracts.record import CellFacts, Machine, VariantRecord, record_line
from harness.contracts.records import append_records
from harness.errors import EnvironmentFailure, InputError
from harness.interface import Outcome, variant_id
from harness.run.pipeline import take_in_unfinished
from harness.run.runs import Run
from harness.run.store import VERSION, Store

if TYPE_CHECKING:
    from pathlib import Path

_OLD_TABLE = """
CREATE TABLE record (
    key TEXT NOT NULL, run TEXT NOT NULL, time TEXT NOT NULL, cell TEXT NOT NULL,
    case_name TEXT NOT NULL, outcome TEXT NOT NULL, json TEXT NOT NULL,
    PRIMARY KEY (key, run)
) WITHOUT ROWID
"""


def measured(key: str, *, outcome: Outcome = Outcome.PASSED, time: str = "2026-01-01T00:00:00Z") -> VariantRecord:
    """Make a record of the matrix m."""
    cell = CellFacts(id="c", python="3.11.7", matrix="m")
    return VariantRecord(run="r", time=time, cell=cell, key=key, case="k", variant={"a": "b"}, outcome=outcome)


def version_of(path: Path) -> int:
    """Read the version of a store's tables."""
    with closing(sqlite3.connect(path)) as connection:
        return int(connection.execute("PRAGMA user_version").fetchone()[0])


def test_what_may_be_the_machines_fault_is_not_kept(tmp_path: Path) -> None:
    """A timeout would hide a later measurement; a passed record is found by key and by matrix."""
    store = Store(tmp_path / "s.sqlite")
    store.add([measured("1"), measured("2", outcome=Outcome.TIMEOUT), measured("3", outcome=Outcome.NOT_RUN)])
    assert store.find(["1", "2", "3"]) == {"1": measured("1")}
    assert store.of_matrix("m") == [measured("1")]
    assert store.of_matrix("n") == []


def test_a_corrupt_store_is_set_aside_said_and_rebuilt(tmp_path: Path) -> None:
    """The runs beside it are taken in again; a file among them that is no records is said and left out."""
    append_records(tmp_path / "runs" / "r" / "records" / "a.jsonl", [measured("1")])
    (tmp_path / "runs" / "r" / "records" / "b.jsonl").write_text("garbage\n", encoding="utf-8")
    path = tmp_path / "s.sqlite"
    path.write_bytes(b"this is no database " * 500)
    said: list[str] = []
    store = Store(path, say=said.append)
    assert store.find(["1"]).keys() == {"1"}
    assert "is corrupt" in said[0]
    assert "b.jsonl:1" in said[1]
    assert [one for one in tmp_path.iterdir() if "corrupt" in one.name]


def test_a_store_of_before_versions_is_brought_up_to_date(tmp_path: Path) -> None:
    """The column for the matrix is filled from the records; nothing is lost."""
    path = tmp_path / "s.sqlite"
    newer = Store(tmp_path / "newer.sqlite")
    newer.add([measured("1")])
    with (
        closing(sqlite3.connect(tmp_path / "newer.sqlite")) as source,
        closing(sqlite3.connect(path)) as old,
    ):
        old.execute(_OLD_TABLE)
        rows = source.execute("SELECT key, run, time, cell, case_name, outcome, json FROM record").fetchall()
        old.executemany("INSERT INTO record VALUES (?,?,?,?,?,?,?)", rows)
        old.commit()
    assert version_of(path) == 0
    assert Store(path).of_matrix("m") == [measured("1")]
    assert version_of(path) == VERSION


_FIRST_TABLE = """
CREATE TABLE record (
    key TEXT NOT NULL, run TEXT NOT NULL, time TEXT NOT NULL, cell TEXT NOT NULL,
    case_name TEXT NOT NULL, outcome TEXT NOT NULL, json TEXT NOT NULL, matrix TEXT,
    PRIMARY KEY (key, run)
) WITHOUT ROWID
"""


def test_a_store_of_the_first_version_is_brought_up_to_date(tmp_path: Path) -> None:
    """Every record of tables of version 1 is found by key, by matrix, by case and in its history; more can be added.

    A row that is no record any more is left out, and an interrupted migration leaves the file as it was.
    """
    path = tmp_path / "s.sqlite"
    records = [replace(measured(str(key)), run=f"run {key}", time=f"2026-01-0{key}T00:00:00Z") for key in (2, 1, 3)]
    with closing(sqlite3.connect(path)) as old:
        old.execute(_FIRST_TABLE)
        old.execute("CREATE INDEX record_matrix ON record (matrix, time)")
        rows = [
            (one.key, one.run, one.time, one.cell.id, one.case, str(one.outcome), record_line(one).decode(), "m")
            for one in records
        ]
        rows.append(("9", "run 9", "2026-01-09T00:00:00Z", "c", "k", "passed", '{"schema": 0}', "m"))
        old.executemany("INSERT INTO record VALUES (?,?,?,?,?,?,?,?)", rows)
        old.execute("PRAGMA user_version = 1")
        old.commit()
    with (
        patch("harness.run.store._row", side_effect=sqlite3.OperationalError("disk is full")),
        pytest.raises(EnvironmentFailure),
    ):
        Store(path)
    with closing(sqlite3.connect(path)) as old:
        assert len(old.execute("SELECT * FROM record").fetchall()) == len(rows)
    assert version_of(path) == 1
    in_order = sorted(records, key=lambda one: one.time)
    store = Store(path)
    assert version_of(path) == VERSION
    assert store.find(["1", "2", "3", "9"]) == {one.key: one for one in in_order}
    assert store.of_matrix("m") == store.of_cases(["k"]) == in_order
    assert [one.run for one in store.history("m")["c", "k", "b"]] == [one.run for one in in_order]
    with closing(sqlite3.connect(path)) as new:
        names = {name for (name,) in new.execute("SELECT name FROM sqlite_master")}
    assert "older_record" not in names
    assert "record_matrix" not in names
    store.add([measured("4")])
    assert Store(path).find(["4"]).keys() == {"4"}


def test_a_history_goes_over_runs_and_machines(tmp_path: Path) -> None:
    """Each place has what every run gave there, the oldest first, with its machine; another matrix has its own.

    Only so many newest runs are told.
    """
    store = Store(tmp_path / "s.sqlite")
    machines = (Machine(cpu="AMD", cores=2), Machine(cpu="Intel", gpu="H100"), Machine(cpu="Intel"))
    outcomes = (Outcome.PASSED, Outcome.WRONG, Outcome.PASSED)
    records = [
        replace(measured("1", outcome=outcome, time=f"2026-01-0{day}T00:00:00Z"), run=f"r{day}", machine=machine)
        for day, (outcome, machine) in enumerate(zip(outcomes, machines, strict=True), start=1)
    ]
    elsewhere = replace(records[0], run="other", cell=replace(records[0].cell, matrix="n"))
    store.add([*records[::-1], elsewhere])
    (place,) = store.history("m")
    assert place == ("c", "k", variant_id({"a": "b"}))
    told = [(one.run, one.time[:10], one.machine, one.outcome) for one in store.history("m")[place]]
    assert told == [
        ("r1", "2026-01-01", "AMD", "passed"),
        ("r2", "2026-01-02", "Intel, H100", "wrong"),
        ("r3", "2026-01-03", "Intel", "passed"),
    ]
    assert [one.run for one in store.history("m", runs=2)[place]] == ["r2", "r3"]
    assert [one.run for one in store.history("n")[place]] == ["other"]
    assert store.history("none") == {}


def test_a_newer_store_is_refused(tmp_path: Path) -> None:
    """What a later version wrote is not touched; the line says to update."""
    path = tmp_path / "s.sqlite"
    Store(path)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA user_version = {VERSION + 1}")
    with pytest.raises(InputError, match="update it") as refused:
        Store(path)
    assert "\n" not in str(refused.value)
    assert version_of(path) == VERSION + 1


def test_a_folder_in_the_place_of_the_file_is_told_in_one_line(tmp_path: Path) -> None:
    """What the machine refuses is no traceback."""
    (tmp_path / "s.sqlite").mkdir()
    with pytest.raises(EnvironmentFailure, match="PROMPT_BENCH_REPORTS"):
        Store(tmp_path / "s.sqlite")


def test_a_file_in_the_place_of_the_folder_is_told_in_one_line(tmp_path: Path) -> None:
    """The same where no folder can be made."""
    (tmp_path / "reports").write_text("", encoding="utf-8")
    with pytest.raises(EnvironmentFailure, match="PROMPT_BENCH_REPORTS"):
        Store(tmp_path / "reports" / "s.sqlite")


@pytest.mark.parametrize(
    "line",
    [b"garbage\n", b'{"schema": 1}\n', b'{"schema": 999}\n', b'"\xff\xfe"\n', b"[" * 100_000 + b"\n"],
    ids=["garbage", "no time", "newer", "not UTF-8", "deep"],
)
def test_an_unfinished_run_that_cannot_be_read_stops_no_later_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], line: bytes
) -> None:
    """It is said once, with its file and line; the next start says nothing and finds nothing to stumble over."""
    monkeypatch.setenv("PROMPT_BENCH_REPORTS", str(tmp_path))
    run = Run(id="killed")
    append_records(run.folder / "records" / "a.jsonl", [measured("1")])
    with (run.folder / "records" / "a.jsonl").open("ab") as output:
        output.write(line)
    run.mark_unfinished()
    store = Store(tmp_path / "store.sqlite")
    take_in_unfinished(store)
    assert "a.jsonl:2" in capsys.readouterr().err
    take_in_unfinished(store)
    assert capsys.readouterr().err == ""
