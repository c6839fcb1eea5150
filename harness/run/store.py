"""The store: every record ever measured here, by key, in one SQLite file."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

from harness.contracts.record import VariantRecord, record_line
from harness.contracts.records import LASTING, read_record, variants_in

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

_SCHEMA = """
CREATE TABLE IF NOT EXISTS record (
    key TEXT NOT NULL, run TEXT NOT NULL, time TEXT NOT NULL, cell TEXT NOT NULL,
    case_name TEXT NOT NULL, outcome TEXT NOT NULL, json TEXT NOT NULL,
    PRIMARY KEY (key, run)
) WITHOUT ROWID
"""
_CHUNK = 500


class Store:
    """An open store. Sessions that run side by side may share the file."""

    def __init__(self, path: Path) -> None:
        """Open the file, making it when it is not there."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        with closing(self._connect()) as connection:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute(_SCHEMA)

    def _connect(self) -> sqlite3.Connection:
        return sqlite3.connect(self._path, timeout=60, isolation_level=None)

    def add(self, records: Iterable[VariantRecord]) -> None:
        """Keep lasting records; one that was not run, or timed out, would hide a later measurement."""
        rows = [
            (r.key, r.run, r.time, r.cell.id, r.case, str(r.outcome), record_line(r).decode())
            for r in records
            if r.outcome in LASTING
        ]
        with closing(self._connect()) as connection:
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany("INSERT OR IGNORE INTO record VALUES (?, ?, ?, ?, ?, ?, ?)", rows)
            connection.execute("COMMIT")

    def find(self, keys: Iterable[str]) -> dict[str, VariantRecord]:
        """Give the newest record of each key that is known."""
        wanted = list(keys)
        found: dict[str, VariantRecord] = {}
        with closing(self._connect()) as connection:
            for start in range(0, len(wanted), _CHUNK):
                chunk = wanted[start : start + _CHUNK]
                marks = ",".join("?" * len(chunk))
                rows = connection.execute(f"SELECT key, json FROM record WHERE key IN ({marks}) ORDER BY time", chunk)  # noqa: S608
                found |= {key: record for key, text in rows if isinstance(record := read_record(text), VariantRecord)}
        return found

    def of_matrix(self, matrix: str) -> list[VariantRecord]:
        """Give every record of a matrix, of all runs, the oldest first."""
        with closing(self._connect()) as connection:
            rows = connection.execute("SELECT json FROM record ORDER BY time")
            records = list(variants_in(read_record(text) for (text,) in rows))
        return [record for record in records if record.cell.matrix == matrix]
