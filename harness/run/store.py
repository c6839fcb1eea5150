"""The store: every lasting record measured here, by key, in one SQLite file; it can be rebuilt from the runs."""

from __future__ import annotations

import sqlite3
import sys
import time
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from filelock import FileLock

from harness.contracts.record import VariantRecord, record_line
from harness.contracts.records import LASTING, Shared, read_record, read_records, variants_in
from harness.errors import EnvironmentFailure, InputError
from harness.interface import variant_id

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

VERSION = 2
"""Of the tables, in SQLite's ``user_version``.

0: no version was written, and no column for the matrix. 1: with it. 2: rows in the order in which they came, with the
variant and the machine in columns of their own, so that a history needs no JSON.
"""

_TABLE = """
CREATE TABLE IF NOT EXISTS record (
    key TEXT NOT NULL, run TEXT NOT NULL, time TEXT NOT NULL, cell TEXT NOT NULL, case_name TEXT NOT NULL,
    variant TEXT NOT NULL, outcome TEXT NOT NULL, machine TEXT NOT NULL, matrix TEXT, json TEXT NOT NULL
)
"""
_INDEXES = (
    "CREATE UNIQUE INDEX IF NOT EXISTS record_key ON record (key, run)",
    "CREATE INDEX IF NOT EXISTS record_of_matrix ON record (matrix, time)",
)
_ADD = "INSERT OR IGNORE INTO record VALUES (?,?,?,?,?,?,?,?,?,?)"
_HISTORY = """
SELECT cell, case_name, variant, run, time, machine, outcome FROM record WHERE matrix = ? AND run IN
(SELECT run FROM record WHERE matrix = ? GROUP BY run ORDER BY max(time) DESC LIMIT ?) ORDER BY time
"""
_CHUNK = 500
_CACHE_KIB = 64 << 10


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """One row of a history: when and in which run a place (cell, case, variant) was measured, where, and what came."""

    run: str
    time: str
    machine: str
    outcome: str


def warn(text: str) -> None:
    """Say something beside the work, on standard error."""
    print(text, file=sys.stderr, flush=True)


class Store:
    """An open store. Sessions that run side by side may share the file."""

    def __init__(self, path: Path, *, say: Callable[[str], None] = warn) -> None:
        """Open the file, making it when it is not there.

        A file that is no database of ours any more is set aside, said, and rebuilt from ``runs/`` beside it. Raises
        :class:`EnvironmentFailure` when the folder cannot be written or the disk is full, and :class:`InputError` for
        the file of a newer version.
        """
        self._path = path
        with self._explained():
            path.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(f"{path}.lock"):
                try:
                    self._prepare()
                except sqlite3.DatabaseError as error:
                    if isinstance(error, sqlite3.OperationalError):
                        raise
                    aside = self._set_aside()
                    say(f"{path} is corrupt ({error}); it is kept as {aside.name}, and rebuilt from the runs")
                    self._prepare()
                    self._rebuild(say)

    def add(self, records: Iterable[VariantRecord]) -> None:
        """Keep lasting records; one that was not run, or timed out, would hide a later measurement."""
        with self._explained(), closing(self._connect()) as connection, _transaction(connection):
            # A record that cannot be read ends the transaction, so that a file is taken in whole or not at all.
            connection.executemany(_ADD, (_row(record) for record in records if record.outcome in LASTING))

    def find(self, keys: Iterable[str]) -> dict[str, VariantRecord]:
        """Return the newest record of each key that is known."""
        wanted = list(keys)
        found: dict[str, VariantRecord] = {}
        with self._explained(), closing(self._connect()) as connection:
            for start in range(0, len(wanted), _CHUNK):
                chunk = wanted[start : start + _CHUNK]
                marks = ",".join("?" * len(chunk))
                rows = connection.execute(f"SELECT json FROM record WHERE key IN ({marks}) ORDER BY time", chunk)  # noqa: S608
                found |= {record.key: record for record in _readable(text for (text,) in rows)}
        return found

    def of_matrix(self, matrix: str, *, without: str = "") -> list[VariantRecord]:
        """Return every record of a matrix, of all runs but one, the oldest first."""
        asked = "SELECT json FROM record WHERE matrix = ? AND run != ? ORDER BY time"
        with self._explained(), closing(self._connect()) as connection:
            rows = connection.execute(asked, (matrix, without))
            return list(_readable(text for (text,) in rows))

    def of_cases(self, cases: Iterable[str]) -> list[VariantRecord]:
        """Return every record of some cases, of all runs, the oldest first."""
        names = list(cases)
        marks = ",".join("?" * len(names))
        with self._explained(), closing(self._connect()) as connection:
            rows = connection.execute(f"SELECT json FROM record WHERE case_name IN ({marks}) ORDER BY time", names)  # noqa: S608
            return list(_readable(text for (text,) in rows))

    def history(self, matrix: str, *, runs: int = 20) -> dict[tuple[str, str, str], list[Measurement]]:
        """Return what the newest runs of a matrix measured at each place, the oldest first.

        A place is a cell's id, a case and a variant as :func:`harness.interface.variant_id` writes it.
        """
        found: dict[tuple[str, str, str], list[Measurement]] = {}
        with self._explained(), closing(self._connect()) as connection:
            rows = connection.execute(_HISTORY, (matrix, matrix, runs))
            for cell, case, variant, run, time_, machine, outcome in rows:
                one = Measurement(run=run, time=time_, machine=machine, outcome=outcome)
                found.setdefault((cell, case, variant), []).append(one)
        return found

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, timeout=60, isolation_level=None)
        connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        # With a write-ahead log a crash of the machine may cost the last transaction, and never the file.
        connection.execute("PRAGMA synchronous = NORMAL")
        return connection

    def _prepare(self) -> None:
        with closing(self._connect()) as connection:
            connection.execute("PRAGMA journal_mode=WAL")
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            if version > VERSION:
                problem = f"version {version} is newer than {VERSION}, the newest that this version reads; update it"
                raise InputError(str(self._path), problem)
            with _transaction(connection):
                (version,) = connection.execute("PRAGMA user_version").fetchone()
                columns = {name for _, name, *_ in connection.execute("PRAGMA table_info(record)")}
                if older := bool(columns) and version < VERSION:
                    connection.execute("ALTER TABLE record RENAME TO older_record")
                connection.execute(_TABLE)
                if older:
                    # The JSON has all that the columns have, whatever the version that wrote them.
                    rows = connection.execute("SELECT json FROM older_record ORDER BY time")
                    connection.executemany(_ADD, (_row(one) for one in _readable(text for (text,) in rows)))
                    connection.execute("DROP TABLE older_record")
                for index in _INDEXES:
                    connection.execute(index)
                connection.execute(f"PRAGMA user_version = {VERSION}")

    def _set_aside(self) -> Path:
        aside = self._path.with_name(f"{self._path.name}.corrupt-{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}")
        self._path.replace(aside)
        for suffix in ("-wal", "-shm"):
            self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)
        return aside

    def _rebuild(self, say: Callable[[str], None]) -> None:
        """Take in every run beside the file; a file of records that cannot be read is said and left out."""
        for path in sorted((self._path.parent / "runs").glob("[!.]*/records/*.jsonl")):
            try:
                self.add(variants_in(read_records(path)))
            except InputError as error:
                say(f"left out of the store: {error}")

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Turn what the machine refuses into one line with the next action."""
        try:
            yield
        except (sqlite3.OperationalError, PermissionError, OSError) as error:
            message = f"{self._path} cannot be used: {error}; make room or name another folder in PROMPT_BENCH_REPORTS"
            raise EnvironmentFailure(message) from None


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Write all or nothing, and let go of the file at once: rows that are still being read would hold it."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        connection.rollback()
        raise
    connection.execute("COMMIT")


def _row(record: VariantRecord) -> tuple[str | None, ...]:
    cpu, gpu = record.machine.cpu, record.machine.gpu
    machine = f"{cpu}, {gpu}" if gpu else cpu
    return (
        record.key, record.run, record.time, record.cell.id, record.case, variant_id(record.variant),
        str(record.outcome), machine, record.cell.matrix, record_line(record).decode(),
    )  # fmt: skip


def _readable(rows: Iterable[str]) -> Iterator[VariantRecord]:
    """Iterate over the rows that are records today: what an older version wrote otherwise is measured again."""
    shared = Shared()
    for text in rows:
        try:
            record = read_record(text, shared=shared)
        except InputError:
            continue
        if isinstance(record, VariantRecord):
            yield record
