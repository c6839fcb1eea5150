"""Reference records: what was published of a matrix, as compressed JSON lines under ``reports/reference``."""

from __future__ import annotations

import gzip
import json
import re
from dataclasses import asdict, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from harness.contracts.record import StateRecord, record_data, record_line
from harness.contracts.records import Shared, place, place_of, read_record, read_run, record_from, variants_in
from harness.errors import UsageError
from harness.latency.ratio import cached_over_uncached
from harness.matrix.shards import shard_of
from harness.paths import ROOT, file_name, write_whole
from harness.program import PROGRAM

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
    from pathlib import Path

    from harness.contracts.record import Record, VariantRecord
    from harness.matrix.plan import PlannedCell
    from harness.matrix.spec import Matrix
    from harness.run.runs import Run

REFERENCE = ROOT / "reports" / "reference"
NIGHTLY = "nightly"
"""The matrix whose runs are nights."""

_RAW = frozenset({"samples_s", "waited_s"})
_ABOUT = re.compile(rb'"case": "([^"]*)", "document": (?:null|"[^"]*"), "variant": (\{[^{}]*\})')
"""The case and variant of a record, before its line is decoded, as :func:`record_line` writes them.

They stand before all that is measured, and a text within a line has its quotes escaped. A line without them is decoded.
"""
_SITE = re.compile(r"/[^\s'\"()]*?/site-packages/")
_PATH = re.compile(r"(?<![\w.:/<])(?:/[\w.+@~-]+){2,}/?")


def reference_path(name: str) -> Path:
    """Return the path of the reference records of a matrix. Raises :class:`UsageError` for a name that is no slug."""
    return REFERENCE / f"{file_name(name, 'matrix')}.jsonl.gz"


def read_reference(name: str, wanted: Callable[[str, Mapping[str, str]], bool] | None = None) -> list[Record]:
    """Read the reference records of a matrix, in order of their places.

    With ``wanted`` only records whose case and variant it takes are decoded, and the states of cells.

    Raises :class:`UsageError` naming those that there are.
    """
    path = reference_path(name)
    if not path.is_file():
        known = ", ".join(published()) or "none yet"
        message = (
            f"no reference records of matrix {name!r} (there are: {known}); "
            f"measure and publish them: {PROGRAM} run {name}, then {PROGRAM} admin publish RUN"
        )
        raise UsageError(message)
    return _read(path, wanted)


def nights_folder() -> Path:
    """Return the folder of what was published of the nightly before, a file for each night."""
    return REFERENCE / "nights"


def read_nights() -> dict[str, list[Record]]:
    """Return the published records of each night by its date, ``2026-11-25``, the oldest first."""
    nights = {
        path.name.removesuffix(".jsonl.gz"): _read(path, None) for path in sorted(nights_folder().glob("*.jsonl.gz"))
    }
    if reference_path(NIGHTLY).is_file() and (newest := read_reference(NIGHTLY)):
        nights[night_of(newest)] = newest
    return nights


def night_of(records: Iterable[Record]) -> str:
    """Return the day on which the last of some records was measured."""
    return max(one.time for one in records)[:10]


def _read(path: Path, wanted: Callable[[str, Mapping[str, str]], bool] | None) -> list[Record]:
    shared = Shared()
    facts = path.stat()
    lines = enumerate(_lines(path, facts.st_mtime_ns, facts.st_size), 1)
    if wanted is None:
        return [read_record(line, f"{path}:{number}", shared) for number, line in lines]
    takes: dict[tuple[bytes, bytes], bool] = {}
    records = []
    for number, line in lines:
        found = _ABOUT.search(line)
        if found is not None and (about := (found[1], found[2])) not in takes:
            takes[about] = wanted(found[1].decode(), json.loads(found[2]))
        if found is None or takes[about]:
            records.append(read_record(line, f"{path}:{number}", shared))
    return records


@lru_cache(maxsize=16)
def _lines(path: Path, _modified: int, _size: int) -> list[bytes]:
    """Return the lines of a reference; a process that asks several questions reads a file once, unless it changes."""
    return gzip.decompress(path.read_bytes()).splitlines()


def published() -> list[str]:
    """List the matrices that have reference records."""
    return sorted(path.name.removesuffix(".jsonl.gz") for path in REFERENCE.glob("*.jsonl.gz"))


def write_reference(run: Run, name: str) -> Path:
    """Write the newest record of each place of a run as the reference of a matrix.

    Equal records give equal bytes, whenever they are written (by one version of zlib). The night that was published
    before is kept under its date: what changed since then is told from both.
    """
    path = reference_path(name)
    if name == NIGHTLY and path.is_file():
        write_whole(nights_folder() / f"{night_of(read_reference(name))}.jsonl.gz", path.read_bytes())
    records = sorted((trimmed(record) for record in read_run(run.folder)), key=place_of)
    data = b"".join(map(record_line, records))
    # Neither the time nor the file's name goes into the header.
    write_whole(path, gzip.compress(data, compresslevel=9, mtime=0))
    return path


def trimmed(record: Record) -> Record:
    """Leave out what is bulky and says nothing to others: raw samples, tracebacks, paths of this machine."""
    result = record_from(_without_paths(record_data(record)))
    if isinstance(record, StateRecord) or isinstance(result, StateRecord):
        return result
    evidence = {name: value for name, value in result.evidence.items() if name != "traceback"}
    return replace(result, evidence=evidence, latency=_with_interval(record, _without_samples(result.latency)))


def _without_samples(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_samples(one) for name, one in value.items() if name not in _RAW}
    return value


def _with_interval(record: VariantRecord, latency: dict[str, Any]) -> dict[str, Any]:
    """Keep what only the samples tell: the interval of the ratio cached / uncached."""
    ratio = cached_over_uncached(record)
    return {**latency, "interval": asdict(ratio)} if ratio and ratio.is_bounded else latency


def without_paths(text: str) -> str:
    """Return a text without paths of this machine."""
    return _PATH.sub("<path>", _SITE.sub("", text))


def _without_paths(value: Any) -> Any:
    match value:
        case str():
            return without_paths(value)
        case dict():
            return {name: _without_paths(one) for name, one in value.items()}
        case list():
            return [_without_paths(one) for one in value]
        case _:
            return value


def missing_from(run: Run) -> int:
    """Count the variants that a run was asked for and has no record of; a cell's state stands for all of its own."""
    there = {place_of(record) for record in read_run(run.folder)}
    states = {one[0] for one in there if len(one) == 1}
    return sum(
        place(cell.id, asked.case, asked.variant) not in there
        for cell in run.plan().cells
        if cell.id not in states
        for asked in cell.asked
    )


def measured_for(matrix: str, cases: Collection[str]) -> list[VariantRecord]:
    """Read the published records of a matrix, and those of the other matrices of cases that it has none of."""
    names = published()
    own = list(variants_in(read_reference(matrix))) if matrix in names else []
    missing = set(cases) - {one.case for one in own}
    others = [name for name in names if name != matrix] if missing else []
    return own + [one for name in others for one in variants_in(read_reference(name, lambda case, _: case in missing))]


def in_shard(matrix: Matrix, planned: Sequence[PlannedCell], shard: tuple[int, int]) -> tuple[PlannedCell, ...]:
    """Return the cells of the I-th of N shards, whose measured costs, of published records, are about equal."""
    known = measured_for(matrix.name, {case.name for one in planned for case, _ in one.variants})
    return shard_of(planned, known, shard)
