"""The locks of a matrix, in one file beside it: bases once, and for each cell what it adds."""

from __future__ import annotations

import hashlib
import json
import re
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from harness.environments.resolve import Lock, question
from harness.paths import write_whole

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from harness.matrix.spec import Cell, Matrix


_PIN = re.compile(r"\S+ @ \S+|\S+")
"""A pin within a line of them: that of a source has blanks in it."""


class LockBook:
    """The kept locks of one matrix.

    The file maps the digest of a base to its pins, and a cell's id to the question that the
    resolver was asked, its base, and the pins of its own. A lock whose question has changed
    since is not given any more.
    """

    def __init__(self, path: Path) -> None:
        """Read ``path``; a file that is not there is an empty book."""
        self._path = path
        self._book = self._read()

    def get(self, cell: Cell) -> Lock | None:
        """Return the lock of a cell if it is kept and still answers the cell's question."""
        entry = self._book["cells"].get(cell.id)
        if cell.floating or entry is None or entry["question"] != question(cell):
            return None
        return Lock(pins=tuple(sorted(_PIN.findall(f"{self._book['bases'][entry['base']]} {entry['own']}"))))

    def keep(self, locks: Mapping[Cell, Lock]) -> None:
        """Add locks and write the file; sessions side by side may each add theirs."""
        locks = {cell: lock for cell, lock in locks.items() if not cell.floating}
        if not locks:
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{self._path}.lock"):
            self._book = self._read()
            for cell, lock in locks.items():
                base = " ".join(lock.base_pins)
                name = hashlib.sha256(base.encode()).hexdigest()[:12]
                own = " ".join([*lock.overlay_pins, *lock.layer_pins])
                self._book["bases"][name] = base
                self._book["cells"][cell.id] = {"question": question(cell), "base": name, "own": own}
            used = {entry["base"] for entry in self._book["cells"].values()}
            self._book["bases"] = {name: pins for name, pins in self._book["bases"].items() if name in used}
            write_whole(self._path, json.dumps(self._book, indent=1, sort_keys=True) + "\n")

    def _read(self) -> dict[str, dict[str, Any]]:
        if not self._path.is_file():
            return {"bases": {}, "cells": {}}
        book: dict[str, dict[str, Any]] = json.loads(self._path.read_text(encoding="utf-8"))
        return book


def lock_book(matrix: Matrix) -> LockBook:
    """Open the locks of a matrix: ``locks/NAME.json`` beside its file."""
    return LockBook(matrix.path.resolve().parent / "locks" / f"{matrix.name}.json")
