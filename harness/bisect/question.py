"""Ask for one answer: from the journal, from the store, or by measuring; and tell of it."""

from __future__ import annotations

import json
import time
from collections import defaultdict, deque
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from harness.bisect.symptom import without_evidence
from harness.contracts.record import record_data
from harness.contracts.records import append_lines, record_from
from harness.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from harness.contracts.record import Record


@dataclass(frozen=True, kw_only=True)
class Step:
    """One answer as a report shows it.

    ``source`` is ``measured``, ``store`` (known from an earlier run) or ``journal`` (this very
    bisect, before it was stopped); ``seconds`` is what it took then.
    """

    place: str
    label: str
    why: str
    record: Record
    source: str
    seconds: float


class Asking:
    """Gives records of places; remembers every step, and calls ``tell`` with each."""

    def __init__(self, journal: Journal, tell: Callable[[Step], None]) -> None:
        """``tell`` is called as each answer is there."""
        self._journal, self._tell = journal, tell
        self.steps: list[Step] = []

    def is_new(self, place: str) -> bool:
        """Return whether this bisect has never had an answer for a place."""
        return place not in self._journal

    def ask(self, place: str, label: str, why: str, *, known: Record | None, measure: Callable[[], Record]) -> Record:
        """Return a record; ``known`` serves instead of measuring, except for a repeat."""
        begin = time.monotonic()
        if (entry := self._journal.take(place)) is not None:
            step = replace(entry, label=label, why=why, source="journal")
        else:
            source = "measured" if known is None or why == "repeat" else "store"
            record = without_evidence(measure() if known is None or why == "repeat" else known)
            seconds = round(time.monotonic() - begin, 2)
            step = Step(place=place, label=label, why=why, record=record, source=source, seconds=seconds)
            self._journal.write(step)
        self.steps.append(step)
        self._tell(step)
        return step.record


class Journal:
    """What was asked before, served again in the same order; what is new is written at once."""

    def __init__(self, path: Path, *, fresh: bool = False) -> None:
        """Read ``path`` when it is there; with ``fresh`` put it aside and begin again."""
        self._path = path
        if fresh and path.is_file():
            path.replace(path.with_suffix(".before.jsonl"))
        self._waiting: dict[str, deque[Step]] = defaultdict(deque)
        self.entries: list[Step] = []
        for entry in _read_steps(path) if path.is_file() else ():
            self._waiting[entry.place].append(entry)

    def __contains__(self, place: str) -> bool:
        """Return whether an answer for a place was written before."""
        return place in self._waiting

    def take(self, place: str) -> Step | None:
        """Return the next answer for a place that was written before; each one once."""
        if place not in self._waiting or not self._waiting[place]:
            return None
        entry = self._waiting[place].popleft()
        self.entries.append(entry)
        return entry

    def write(self, step: Step) -> None:
        """Keep an answer."""
        data = {name: getattr(step, name) for name in ("place", "label", "why", "source", "seconds")}
        line = json.dumps({**data, "record": record_data(step.record)}, ensure_ascii=False)
        append_lines(self._path, [line.encode("utf-8", errors="backslashreplace") + b"\n"])
        self.entries.append(step)


def _read_steps(path: Path) -> list[Step]:
    """Read the steps of a journal; the last line may have been cut short. Raises :class:`InputError`."""
    steps = []
    for number, line in enumerate(path.read_bytes().splitlines(keepends=True), 1):
        if line.endswith(b"\n"):
            where = f"{path}:{number}"
            try:
                data = json.loads(line)
                record = record_from(data.pop("record"), where)
                steps.append(Step(record=record, **data))
            except (InputError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
                problem = f"not a step of a bisect ({error}); begin again with --fresh"
                raise InputError(where, problem) from None
    return steps
