"""A record as both sides of the wall know it: what was measured for one variant, or how far a cell came.

The worker inside a cell writes records, everything outside reads them (:mod:`harness.contracts.records`).
Nothing here needs more than the standard library.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from harness.interface import CellState, Outcome, variant_id

if TYPE_CHECKING:
    from collections.abc import Mapping

SCHEMA = 1
"""Version of the record. 1: the first."""

MEASURED = frozenset(Outcome) - {Outcome.NOT_RUN, Outcome.NO_DEVICE}
"""Outcomes that say something about the code under test."""

FAILED = MEASURED - {Outcome.PASSED, Outcome.UNSUPPORTED}
"""Outcomes of something that does not work."""

KNOWN = frozenset(Outcome) - {Outcome.NOT_RUN}
"""Outcomes that a run which goes on does not measure again."""

_SURROGATE = re.compile("[\ud800-\udfff]")
_UNSAFE = re.compile("[\x7f-\x9f\u2028\u2029]")
"""JSON allows these within a text, but some readers end a line at them, and terminals obey some."""

_EITHER = re.compile("[\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_ENCODER = json.JSONEncoder(ensure_ascii=False)


@dataclass(frozen=True, kw_only=True)
class Machine:
    """The machine that measured. ``gpus`` and ``cuda`` are there where torch saw a GPU."""

    cpu: str = ""
    cores: int | None = None
    gpu: str | None = None
    platform: str = ""
    gpus: int | None = None
    cuda: str | None = None


@dataclass(frozen=True, kw_only=True)
class CellFacts:
    """The cell of a record: its id, matrix and lock, and the versions that were really imported.

    ``lock`` is the digest of the lock, None where there is none (the active environment, a cell that
    could not be resolved). ``sources`` maps packages that are no releases to what they were fixed to.
    """

    id: str
    python: str
    packages: Mapping[str, str] = field(default_factory=dict)
    matrix: str | None = None
    lock: str | None = None
    sources: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def versions(self) -> dict[str, str]:
        """Return the versions in the cell, python among them."""
        return {**self.packages, "python": self.python}


@dataclass(frozen=True, kw_only=True)
class VariantRecord:
    """What was measured for one variant of a case in one cell.

    ``key`` names the measurement by all that can change it. ``signature`` is set for errors; ``time``
    is UTC, ISO 8601; ``duration_s`` is the time of the check in seconds.
    """

    run: str
    time: str
    cell: CellFacts
    key: str
    case: str
    variant: Mapping[str, str]
    outcome: Outcome
    machine: Machine = field(default_factory=Machine)
    document: str | None = None
    signature: str | None = None
    message: str | None = None
    evidence: Mapping[str, Any] = field(default_factory=dict)
    counters: Mapping[str, Any] = field(default_factory=dict)
    latency: Mapping[str, Any] = field(default_factory=dict)
    duration_s: float | None = None
    schema: int = SCHEMA

    @property
    def words(self) -> str:
        """Return what the record says went wrong: the signature, else the message, else nothing."""
        return self.signature or self.message or ""

    @property
    def result(self) -> str:
        """Return the outcome."""
        return str(self.outcome)

    @property
    def about(self) -> str:
        """Return what the record is about: cell, case and variant."""
        return f"{self.cell.id} {self.case}:{variant_id(self.variant)}"


@dataclass(frozen=True, kw_only=True)
class StateRecord:
    """How far a cell came that never became ready, with the resolver's or installer's words."""

    run: str
    time: str
    cell: CellFacts
    state: CellState
    machine: Machine = field(default_factory=Machine)
    message: str = ""
    schema: int = SCHEMA

    @property
    def words(self) -> str:
        """Return the words that came with the state."""
        return self.message

    @property
    def result(self) -> str:
        """Return the state of the cell."""
        return str(self.state)

    @property
    def about(self) -> str:
        """Return what the record is about: the cell."""
        return self.cell.id


Record = VariantRecord | StateRecord


def record_data(record: Record) -> dict[str, Any]:
    """Return a record as JSON has it: names in their fixed order, absent facts left out."""
    head = {"schema": record.schema, "run": record.run, "machine": machine_data(record.machine), "time": record.time}
    cell = cell_data(record.cell)
    if isinstance(record, StateRecord):
        return {**head, "cell": {**cell, "state": str(record.state)}, "message": record.message}
    return {
        **head,
        "cell": cell,
        "key": record.key,
        "case": record.case,
        "document": record.document,
        "variant": dict(record.variant),
        "signature": record.signature,
        "message": record.message,
        "evidence": record.evidence,
        "counters": record.counters,
        "latency": record.latency,
        "outcome": str(record.outcome),
        **({} if record.duration_s is None else {"duration_s": record.duration_s}),
    }


def record_line(record: Record) -> bytes:
    """Return a record as one line of JSON, UTF-8, with its line end: the one writer of records.

    A lone surrogate, which UTF-8 cannot carry, is written as its escape in words. Characters that end a line for
    some readers, or move a terminal, are written as JSON's escapes and read back as they were.
    """
    return json_line(record_data(record)).encode() + b"\n"


def json_line(data: Any) -> str:
    """Return data as one line of JSON, without its line end, written as in :func:`record_line`."""
    text = _ENCODER.encode(data)
    if _EITHER.search(text) is None:
        return text
    text = _SURROGATE.sub(lambda found: f"\\\\u{ord(found[0]):04x}", text)
    return _UNSAFE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def cell_data(cell: CellFacts) -> dict[str, Any]:
    """Return the facts of a cell as JSON has them."""
    data = {
        "id": cell.id,
        "matrix": cell.matrix,
        "lock": cell.lock,
        "python": cell.python,
        "packages": dict(cell.packages),
    }
    return {**data, "sources": dict(cell.sources)} if cell.sources else data


def machine_data(machine: Machine) -> dict[str, Any]:
    """Return the facts of a machine as JSON has them."""
    data = {"cpu": machine.cpu, "cores": machine.cores, "gpu": machine.gpu, "platform": machine.platform}
    optional = {"gpus": machine.gpus, "cuda": machine.cuda}
    return data | {name: value for name, value in optional.items() if value is not None}
