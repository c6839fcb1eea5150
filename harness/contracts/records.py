"""Records: one JSON line for each variant in each cell, and the key that names a measurement."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from harness.interface import Outcome

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path


Record = dict[str, Any]
"""A line of a run, as ``DESIGN`` describes it; ``schema`` tells the version."""

MEASURED = frozenset(Outcome) - {Outcome.NOT_RUN, Outcome.NO_DEVICE}
"""Outcomes that say something about the code under test."""

FAILED = MEASURED - {Outcome.PASSED, Outcome.UNSUPPORTED}
"""Outcomes of something that does not work."""


KNOWN = frozenset(Outcome) - {Outcome.NOT_RUN}
"""Outcomes that a run which goes on does not measure again."""

LASTING = KNOWN - {Outcome.TIMEOUT, Outcome.CRASHED, Outcome.OUT_OF_MEMORY}
"""Outcomes that later runs reuse: the others may have been the machine's fault."""


def read_records(path: Path) -> Iterator[Record]:
    """Read a JSON-lines file. A last line that a kill cut short is left out; it was never whole."""
    # Bytes, because a kill may cut a character in two.
    with path.open("rb") as lines:
        for line in lines:
            if line.endswith(b"\n"):
                yield json.loads(line)


def read_run(folder: Path) -> list[Record]:
    """Read a run's records: for each place (cell, case, variant), or cell state, the newest one."""
    newest: dict[tuple[str, ...], Record] = {}
    for path in sorted((folder / "records").glob("*.jsonl")):
        for record in read_records(path):
            where = place_of(record)
            if where not in newest or record["time"] >= newest[where]["time"]:
                newest[where] = record
    return list(newest.values())


def place_of(record: Record) -> tuple[str, ...]:
    """Name what a record is about: its cell, case and variant; a cell's state has the cell alone."""
    if "key" not in record:
        return (record["cell"]["id"],)
    return place(record["cell"]["id"], record["case"], record["variant"])


def place(cell: str, case: str, variant: Mapping[str, str]) -> tuple[str, ...]:
    """Name one variant of a case in a cell, whatever the order of its axes."""
    return (cell, case, *(f"{axis}={value}" for axis, value in sorted(variant.items())))


def append_records(path: Path, records: Iterable[Record]) -> None:
    """Append records to a JSON-lines file, which is mended first if a kill left half a line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    mend(path)
    with path.open("a", encoding="utf-8", errors="backslashreplace") as output:
        for record in records:
            output.write(json.dumps(record, ensure_ascii=False) + "\n")


def mend(path: Path) -> None:
    """Cut off half a line at the end of a file, so that what is appended starts a line of its own."""
    if not path.is_file():
        return
    data = path.read_bytes()
    if data and not data.endswith(b"\n"):
        whole = data[: data.rfind(b"\n") + 1]
        with path.open("r+b") as file:
            file.truncate(len(whole))
