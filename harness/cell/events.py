"""What a child process tells its parent about the variants that it runs, as lines of JSON in a pipe.

An event comes from a process in which the code under test has run. Whatever a case leaves in a result, the line is
valid, whole and of bounded size; and every line is checked when it arrives: one that is no event is counted and left
out.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from harness.contracts.record import json_line
from harness.interface import Outcome

if TYPE_CHECKING:
    from collections.abc import Mapping

TEXT_LIMIT = 10_000
"""Characters of one text within a record; messages are shorter by themselves."""

RESULT_LIMIT = 1_000_000
"""Characters of a result's line. What makes it longer is left out of the result, which says so."""

_DEPTH_LIMIT = 20
_INTEGER_LIMIT = 1 << 64
_LARGE_FIELDS = ("evidence", "counters", "latency")
_UNREAD_LIMIT = 16 << 20


@dataclass(frozen=True, kw_only=True)
class Result:
    """What became of one variant: the part of its record that is measured, with the record's names."""

    outcome: Outcome
    signature: str | None = None
    message: str | None = None
    evidence: Mapping[str, Any] = field(default_factory=dict)
    counters: Mapping[str, Any] = field(default_factory=dict)
    latency: Mapping[str, Any] = field(default_factory=dict)
    duration_s: float | None = None


@dataclass(frozen=True)
class Started:
    """The check of the variant with this index has begun."""

    index: int


@dataclass(frozen=True)
class Finished:
    """The variant with this index has its result."""

    index: int
    result: Result


@dataclass(frozen=True)
class CollectFailed:
    """The file of a case could not be imported: the result of each of its variants."""

    case: str
    result: Result


@dataclass(frozen=True)
class Ready:
    """The packages of the cell are imported, in these versions."""

    versions: Mapping[str, str]


@dataclass(frozen=True)
class Refused:
    """The packages of the cell cannot be imported, and why."""

    message: str


@dataclass(frozen=True, kw_only=True)
class Device:
    """The GPUs that torch sees: the name of the first, their number, and torch's CUDA."""

    gpu: str
    gpus: int
    cuda: str | None


@dataclass(frozen=True)
class Seen:
    """Modules that the child has imported, and its parent might for the next one."""

    modules: tuple[str, ...]


Event = Started | Finished | CollectFailed | Ready | Refused | Device | Seen


def plain(value: Any, depth: int = 0) -> Any:  # noqa: PLR0911 - one for each kind of value
    r"""Return ``value`` as JSON has it: other objects and numbers that JSON lacks become text, long texts are cut.

    A text keeps all its characters but lone surrogates, which are written as ``\udcff``. ``nan`` and infinities
    become the texts ``"nan"``, ``"inf"`` and ``"-inf"``; keys become texts.
    """
    match value:
        case None | bool():
            return value
        case str():
            return _text(value)
        case int():
            return int(value) if abs(value) < _INTEGER_LIMIT else hex(value)
        case float():
            return float(value) if math.isfinite(value) else str(float(value))
        case _ if depth >= _DEPTH_LIMIT:
            return "..."
        case dict():
            return {_text(_words(key)): plain(one, depth + 1) for key, one in value.items()}
        case list() | tuple():
            return [plain(one, depth + 1) for one in value]
        case _:
            return _text(_words(value))


def bounded_result(result: Result) -> Result:
    """Return a result whose values are plain and which fits into a record: what is too large is left out."""
    return _result_from(_bounded(vars(result)))


def to_event(event: Event) -> bytes:
    """Return an event as a line for the pipe. An empty line before it ends whatever a case has written there."""
    return f"\n{json_line(_event_data(event))}\n".encode()


class EventReader:
    """Splits what comes out of a pipe into events; ``garbage`` counts the lines that were none."""

    def __init__(self) -> None:
        """Begin with nothing read."""
        self._rest = b""
        self.garbage = 0

    def feed(self, data: bytes) -> list[Event]:
        """Take bytes as they come; return the events that are whole now."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > _UNREAD_LIMIT:
            self._rest = b""
            self.garbage += 1
        events = []
        for line in filter(None, lines):
            event = _read(line)
            if event is None:
                self.garbage += 1
            else:
                events.append(event)
        return events


def _event_data(event: Event) -> dict[str, Any]:  # noqa: PLR0911 - one for each kind of event
    match event:
        case Started(index):
            return {"started": index}
        case Finished(index, result):
            return {"finished": index, "result": _bounded(vars(result))}
        case CollectFailed(case, result):
            return {"collect": case, "result": _bounded(vars(result))}
        case Ready(versions):
            return {"ready": plain(dict(versions))}
        case Refused(message):
            return {"refused": plain(message)}
        case Device():
            return {"device": plain(vars(event))}
        case Seen(modules):
            return {"seen": plain(modules)}


def _read(line: bytes) -> Event | None:  # noqa: PLR0911 - one for each kind of event
    """Return the event of a line, with its values made plain once more; None when the line is no event."""
    try:
        match json.loads(line):
            case {"started": int(index)}:
                return Started(index)
            case {"finished": int(index), "result": dict(result)}:
                return Finished(index, _result_from(_bounded(result)))
            case {"collect": str(case), "result": dict(result)}:
                return CollectFailed(case, _result_from(_bounded(result)))
            case {"ready": dict(versions)} if all(isinstance(version, str) for version in versions.values()):
                return Ready(plain(versions))
            case {"refused": str(message)}:
                return Refused(plain(message))
            case {"device": {"gpu": str(gpu), "gpus": int(gpus), "cuda": str() | None as cuda}}:
                return Device(gpu=plain(gpu), gpus=gpus, cuda=plain(cuda))
            case {"seen": list(modules)} if all(isinstance(module, str) for module in modules):
                return Seen(tuple(modules))
    except (ValueError, RecursionError):
        pass
    return None


def _bounded(result: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of a result made plain, with what is too large for a record left out."""
    data = {str(name): plain(value, 1) for name, value in result.items()}
    if len(json_line(data)) <= RESULT_LIMIT:
        return data
    for name in _LARGE_FIELDS:
        if (size := len(json_line(data.get(name)))) > TEXT_LIMIT:
            data[name] = {"left_out": f"{size} characters: more than a record holds"}
    if len(line := json_line(data)) <= RESULT_LIMIT:
        return data
    message = f"a result of {len(line)} characters without its evidence"
    raise ValueError(message)


def _result_from(data: dict[str, Any]) -> Result:
    """Return the result that plain data hold. Raises ``ValueError`` when they hold something else."""
    match {**vars(Result(outcome=Outcome.NOT_RUN)), **data}:
        case {
            "outcome": str(outcome),
            "signature": str() | None,
            "message": str() | None,
            "evidence": dict(),
            "counters": dict(),
            "latency": dict(),
            "duration_s": int() | float() | None,
            **rest,
        } if not rest:
            return Result(**{**data, "outcome": Outcome(outcome)})
    message = "a result has the fields and types of a record"
    raise ValueError(message)


def _text(text: str) -> str:
    return text[:TEXT_LIMIT].encode("utf-8", "backslashreplace").decode()


def _words(value: Any) -> str:
    if isinstance(value, str):
        return value
    try:
        return str(value)
    except BaseException as error:  # noqa: BLE001 - a value of the code under test may raise anything
        return f"<{type(value).__name__}, whose __str__ raised {type(error).__name__}>"
