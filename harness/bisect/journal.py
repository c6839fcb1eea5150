"""The journal of a bisect: every answer as one line of JSON, so that a stopped one goes on."""

from __future__ import annotations

from collections import defaultdict, deque
from typing import TYPE_CHECKING, Any

from harness.records import append_records, read_records

if TYPE_CHECKING:
    from pathlib import Path


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
