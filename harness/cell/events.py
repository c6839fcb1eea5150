"""Events and records as lines of JSON: whatever a case leaves in them, a line is valid, whole and of bounded size.

What a child tells its worker comes from a process in which the code under test has run. Values are made plain
before they are sent, and every line is checked when it arrives: a line that is no event is counted and left out.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any

from harness.interface import Outcome

TEXT_LIMIT = 10_000
"""Characters of one text within a record; messages are shorter by themselves."""

LINE_LIMIT = 1 << 20
"""Characters of a record's line. What makes it longer is left out of the record, which says so."""

_DEPTH_LIMIT = 20
_INTEGER_LIMIT = 1 << 64
_LARGE_FIELDS = ("evidence", "counters", "latency")
# JSON allows these within a text, but some readers end a line at them, and terminals obey some.
_UNSAFE = re.compile("[\x7f-\x9f\u2028\u2029]")
_UNREAD_LIMIT = 16 << 20


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


def to_line(record: dict[str, Any]) -> str:
    """Write a record as one line of JSON of at most ``LINE_LIMIT`` characters, without the end of the line."""
    record = plain(record)
    line = _dump(record)
    if len(line) <= LINE_LIMIT:
        return line
    for name in _LARGE_FIELDS:
        if (size := len(_dump(record.get(name)))) > TEXT_LIMIT:
            record[name] = {"left_out": f"{size} characters: more than a record holds"}
    line = _dump(record)
    if len(line) <= LINE_LIMIT:
        return line
    message = f"a record of {len(line)} characters without its evidence"
    raise ValueError(message)


def to_event(event: dict[str, Any]) -> bytes:
    """Write an event for the pipe. An empty line before it ends whatever a case has written there."""
    if "result" in event:
        event = {**event, "result": bounded_result(event["result"])}
    return f"\n{to_line(event)}\n".encode()


def bounded_result(result: dict[str, Any]) -> dict[str, Any]:
    """Return a result that fits into a record, plain, with what is too large left out."""
    bounded: dict[str, Any] = json.loads(to_line(result))
    return bounded


class EventReader:
    """Splits what comes out of a pipe into events; ``garbage`` counts the lines that were none."""

    def __init__(self) -> None:
        """Begin with nothing read."""
        self._rest = b""
        self.garbage = 0

    def feed(self, data: bytes) -> list[dict[str, Any]]:
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


def _read(line: bytes) -> dict[str, Any] | None:
    try:
        event = json.loads(line)
    except (ValueError, RecursionError):
        return None
    match event:
        case {"finished": int(), "result": {"outcome": str(outcome)}} if outcome in set(Outcome):
            return dict(event)
        case {"collect": str(), "result": {"outcome": str(outcome)}} if outcome in set(Outcome):
            return dict(event)
        case {"started": int()} | {"ready": dict()} | {"device": dict()} | {"refused": str()} | {"seen": list()}:
            return dict(event)
    return None


def _dump(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    return _UNSAFE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def _text(text: str) -> str:
    return text[:TEXT_LIMIT].encode("utf-8", "backslashreplace").decode()


def _words(value: Any) -> str:
    if isinstance(value, str):
        return value
    try:
        return str(value)
    except BaseException as error:  # noqa: BLE001 - a value of the code under test may raise anything
        return f"<{type(value).__name__}, whose __str__ raised {type(error).__name__}>"
