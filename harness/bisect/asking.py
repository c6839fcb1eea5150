"""Ask for one answer: from the journal, from the store, or by measuring; and tell of it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness.bisect.symptom import summary

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.bisect.journal import Journal
    from harness.records import Record


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
