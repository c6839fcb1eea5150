"""Read and append records: the one reader of JSON lines, which validates and says where a mistake is."""

from __future__ import annotations

import json
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, Any

import msgspec

from harness.contracts.numbers import check_numbers
from harness.contracts.record import (
    KNOWN,
    MEASURED,
    SCHEMA,
    CellFacts,
    Machine,
    Record,
    StateRecord,
    VariantRecord,
    record_line,
)
from harness.errors import InputError
from harness.interface import CellState, Outcome

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

LASTING = KNOWN - {Outcome.TIMEOUT, Outcome.CRASHED, Outcome.OUT_OF_MEMORY}
"""Outcomes that later runs reuse: the others may have been the machine's fault."""

LONGEST_LINE = 16 << 20
"""Bytes of one record; a longer line is no record of ours."""

_BUFFER = 1 << 20
"""Bytes that are read at once: a thousand records or so."""

_Text = Annotated[str, msgspec.Meta(min_length=1)]


class _Machine(msgspec.Struct, forbid_unknown_fields=True):
    cpu: str = ""
    cores: int | None = None
    gpu: str | None = None
    platform: str = ""
    gpus: int | None = None
    cuda: str | None = None


class _Cell(msgspec.Struct, forbid_unknown_fields=True):
    id: _Text
    python: str
    packages: dict[str, str] = {}
    matrix: str | None = None
    lock: str | None = None
    sources: dict[str, str] = {}
    state: CellState | None = None


class _Line(msgspec.Struct, forbid_unknown_fields=True):
    """A line of either kind. Which one it is decides :func:`_record`, and nobody else."""

    schema: int
    run: str
    time: _Text
    cell: _Cell
    machine: _Machine = msgspec.field(default_factory=_Machine)
    key: str | None = None
    case: _Text | None = None
    document: str | None = None
    variant: dict[str, str] | None = None
    outcome: Outcome | None = None
    signature: str | None = None
    message: str | None = None
    evidence: dict[str, Any] = {}
    counters: dict[str, Any] = {}
    latency: dict[str, Any] = {}
    duration_s: float | None = None


class _Versioned(msgspec.Struct):
    schema: int


_OF_VARIANTS = (
    "key", "case", "document", "variant", "outcome", "signature", "evidence", "counters", "latency", "duration_s",
)  # fmt: skip
"""Fields of a line that the state of a cell does not have."""

_DECODER = msgspec.json.Decoder(_Line)


def read_record(line: bytes | str, where: str = "record", shared: Shared | None = None) -> Record:
    """Read one line of JSON; records that are read with one ``shared`` hold once what is equal in them.

    Raises :class:`InputError` that names ``where`` and the path of the mistake.
    """
    try:
        return _record(_decoded(line), shared or Shared())
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise _refused(line, where, error) from None


def _decoded(line: bytes | str) -> _Line:
    """Decode a line, also one with NaN or the escape of a lone surrogate, which cells may write."""
    try:
        return _DECODER.decode(line)
    except msgspec.ValidationError:
        raise
    except msgspec.DecodeError:
        return msgspec.convert(json.loads(line), _Line)


def record_from(data: Mapping[str, Any], where: str = "record") -> Record:
    """Read a record from parsed JSON. Raises :class:`InputError`."""
    try:
        return _record(msgspec.convert(data, _Line), Shared())
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise InputError(where, str(error)) from None


def _refused(line: bytes | str, where: str, error: Exception) -> InputError:
    try:
        newer = msgspec.json.decode(line, type=_Versioned).schema > SCHEMA
    except (msgspec.MsgspecError, ValueError, RecursionError):
        newer = False
    words = f"schema is newer than {SCHEMA}, the newest that this version reads; update it" if newer else str(error)
    return InputError(where, words)


class Shared:
    """What lines of one file have in common, so that many records hold it once: cells, machines, variants, texts."""

    def __init__(self) -> None:
        self._cells: dict[str, tuple[_Cell, CellFacts]] = {}
        self._machines: list[tuple[_Machine, Machine]] = []
        self._texts: dict[str, str] = {}
        self._variants: dict[tuple[tuple[str, str], ...], dict[str, str]] = {}

    def cell(self, facts: _Cell) -> CellFacts:
        """Return the facts of a cell."""
        known = self._cells.get(facts.id)
        if known is not None and known[0] == facts:
            return known[1]
        cell = CellFacts(
            id=facts.id, python=facts.python, packages=facts.packages, matrix=facts.matrix, lock=facts.lock,
            sources=facts.sources,
        )  # fmt: skip
        self._cells[facts.id] = (facts, cell)
        return cell

    def machine(self, facts: _Machine) -> Machine:
        """Return the facts of a machine."""
        if not self._machines or self._machines[-1][0] != facts:
            self._machines.append((facts, Machine(**msgspec.structs.asdict(facts))))
        return self._machines[-1][1]

    def variant(self, variant: dict[str, str]) -> dict[str, str]:
        """Return a variant."""
        return self._variants.setdefault(tuple(variant.items()), variant)

    def text(self, text: str | None) -> str | None:
        """Return a text."""
        return None if text is None else self._texts.setdefault(text, text)


def _record(line: _Line, shared: Shared) -> Record:
    if line.schema != SCHEMA:
        message = f"schema {line.schema} is not {SCHEMA}, the one that this version reads; update it - at `$.schema`"
        raise ValueError(message)
    facts = line.cell
    cell, machine = shared.cell(facts), shared.machine(line.machine)
    if facts.state is not None:
        if any(getattr(line, name) for name in _OF_VARIANTS):
            message = "both the state of a cell (cell.state) and a variant - at `$`"
            raise ValueError(message)
        return StateRecord(
            run=line.run, time=line.time, cell=cell, state=facts.state, machine=machine,
            message=line.message or "", schema=line.schema,
        )  # fmt: skip
    if line.key is None or line.case is None or line.variant is None or line.outcome is None:
        message = "neither a variant (key, case, variant, outcome) nor a state (cell.state) - at `$`"
        raise ValueError(message)
    check_numbers(line.latency, line.counters)
    return VariantRecord(
        run=line.run, time=line.time, cell=cell, key=line.key, case=line.case, variant=shared.variant(line.variant),
        outcome=line.outcome, machine=machine, document=line.document, signature=shared.text(line.signature),
        message=shared.text(line.message), evidence=line.evidence, counters=line.counters, latency=line.latency,
        duration_s=line.duration_s, schema=line.schema,
    )  # fmt: skip


def read_records(path: Path) -> Iterator[Record]:
    """Read a JSON-lines file. A last line that a kill cut short is left out; it was never whole.

    Raises :class:`InputError` for a line that is no record, and for a file that is no regular file.
    """
    if path.is_symlink() or not path.is_file():
        raise InputError(str(path), "no regular file; records are read from plain files only")
    shared = Shared()
    # Bytes, because a kill may cut a character in two.
    with path.open("rb", buffering=_BUFFER) as lines:
        number = 0
        while line := lines.readline(LONGEST_LINE):
            number += 1
            if line.endswith(b"\n"):
                yield read_record(line, f"{path}:{number}", shared)
            elif len(line) == LONGEST_LINE:
                raise InputError(f"{path}:{number}", f"longer than {LONGEST_LINE} bytes")


def read_run(folder: Path) -> list[Record]:
    """Read a run's records, as :func:`read_places` does."""
    return list(read_places(folder).values())


def read_places(folder: Path) -> dict[tuple[str, ...], Record]:
    """Read the newest record of each place of a run (cell, case, variant; the cell alone of a state).

    The state of a cell that was measured afterwards, when the run went on, is left out. Raises :class:`InputError`.
    """
    newest: dict[tuple[str, ...], Record] = {}
    measured: dict[str, str] = {}
    for path in sorted((folder / "records").glob("*.jsonl")):
        for record in read_records(path):
            where = place_of(record)
            if where not in newest or record.time >= newest[where].time:
                newest[where] = record
            if isinstance(record, VariantRecord):
                measured[record.cell.id] = max(record.time, measured.get(record.cell.id, ""))
    return {
        where: one
        for where, one in newest.items()
        if isinstance(one, VariantRecord) or one.time >= measured.get(one.cell.id, "")
    }


def variants_in(records: Iterable[Record]) -> Iterator[VariantRecord]:
    """Iterate over the records of variants, leaving out the states of cells."""
    return (record for record in records if isinstance(record, VariantRecord))


def nothing_was_reachable(records: Iterable[Record]) -> bool:
    """Return whether records tell of cells whose sources could not be reached, and of nothing else."""
    states = {one.state if isinstance(one, StateRecord) else None for one in records}
    return states == {CellState.UNREACHABLE}


def measured_of(case: str, records: Iterable[Record]) -> list[VariantRecord]:
    """List the records of a case whose outcome says something about the code under test."""
    return [one for one in variants_in(records) if one.case == case and one.outcome in MEASURED]


def place_of(record: Record) -> tuple[str, ...]:
    """Return what a record is about: its cell, case and variant; a cell's state has the cell alone."""
    if isinstance(record, StateRecord):
        return (record.cell.id,)
    return place(record.cell.id, record.case, record.variant)


def place(cell: str, case: str, variant: Mapping[str, str]) -> tuple[str, ...]:
    """Return the place of one variant of a case in a cell, whatever the order of its axes."""
    return (cell, case, *_axes(tuple(variant.items())))


@lru_cache(maxsize=1 << 16)
def _axes(variant: tuple[tuple[str, str], ...]) -> tuple[str, ...]:
    return tuple(f"{axis}={value}" for axis, value in sorted(variant))


def append_records(path: Path, records: Iterable[Record]) -> None:
    """Append records to a JSON-lines file, which is mended first if a kill left half a line."""
    append_lines(path, (record_line(record) for record in records))


def append_lines(path: Path, lines: Iterable[bytes]) -> None:
    """Append whole lines to a file, which is mended first if a kill left half a line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    mend(path)
    with path.open("ab") as output:
        for line in lines:
            output.write(line)


def mend(path: Path) -> None:
    """Cut off half a line at the end of a file, so that what is appended starts a line of its own."""
    if not path.is_file():
        return
    data = path.read_bytes()
    if data and not data.endswith(b"\n"):
        whole = data[: data.rfind(b"\n") + 1]
        with path.open("r+b") as file:
            file.truncate(len(whole))
