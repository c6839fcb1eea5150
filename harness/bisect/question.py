"""Ask for one answer: from the journal, from the store, or by measuring; and tell of it."""

from __future__ import annotations

import time
from collections import defaultdict, deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness.bisect.symptom import summary
from harness.contracts.records import append_records, read_records

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from harness.contracts.records import Record


@dataclass(frozen=True, kw_only=True)
class Step:
    """One answer as a report shows it.

    ``source`` is ``measured``, ``store`` (known from an earlier run) or ``journal`` (this very
    bisect, before it was stopped); ``seconds`` is what it took then.
    """

    place: str
    label: str
    why: str
    record: dict[str, Any]
    source: str
    seconds: float


class Asking:
    """Gives records of places; remembers every step, and calls ``tell`` with each."""

    def __init__(self, journal: Journal, tell: Callable[[Step], None]) -> None:
        """``tell`` is called as each answer is there."""
        self._journal, self._tell = journal, tell
        self.steps: list[Step] = []

    def is_new(self, place: str) -> bool:
        """Tell whether this bisect has never had an answer for a place."""
        return place not in self._journal

    def ask(self, place: str, label: str, why: str, *, known: Record | None, measure: Callable[[], Record]) -> Record:
        """Give a record; ``known`` serves instead of measuring, except for a repeat."""
        begin = time.monotonic()
        record: Record
        if (entry := self._journal.take(place)) is not None:
            record, source, seconds = entry["record"], "journal", entry["seconds"]
        else:
            source = "measured" if known is None or why == "repeat" else "store"
            record = summary(measure() if known is None or why == "repeat" else known)
            seconds = round(time.monotonic() - begin, 2)
            self._journal.write({"place": place, "why": why, "record": record, "source": source, "seconds": seconds})
        step = Step(place=place, label=label, why=why, record=record, source=source, seconds=seconds)
        self.steps.append(step)
        self._tell(step)
        return record


class Journal:
    """What was asked before, served again in the same order; what is new is written at once."""

    def __init__(self, path: Path, *, fresh: bool = False) -> None:
        """Read ``path`` when it is there; with ``fresh`` put it aside and begin again."""
        self._path = path
        if fresh and path.is_file():
            path.replace(path.with_suffix(".before.jsonl"))
        self._waiting: dict[str, deque[dict[str, Any]]] = defaultdict(deque)
        self.entries: list[dict[str, Any]] = []
        for entry in read_records(path) if path.is_file() else ():
            self._waiting[entry["place"]].append(entry)

    def __contains__(self, place: str) -> bool:
        """Tell whether an answer for a place was written before."""
        return place in self._waiting

    def take(self, place: str) -> dict[str, Any] | None:
        """Give the next answer for a place that was written before; each one once."""
        if place not in self._waiting or not self._waiting[place]:
            return None
        entry = self._waiting[place].popleft()
        self.entries.append(entry)
        return entry

    def write(self, entry: dict[str, Any]) -> None:
        """Keep an answer; ``place`` names what was asked."""
        append_records(self._path, [entry])
        self.entries.append(entry)
