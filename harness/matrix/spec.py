"""Cells and matrices: what is asked for, before anything is resolved."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from harness.matrix.source import is_fixed, is_source, slug
from harness.packages import BASE_PACKAGES, LAYER_PACKAGES, OVERLAY_PACKAGES, PACKAGES, SHORT_NAMES

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import date
    from pathlib import Path

NEWEST = "newest"
"""In place of a version: whatever is the newest when the matrix runs; its lock is never kept.
``newest-1`` is the last release of the minor before, ``newest-2`` of the one before that."""

_NEWEST = re.compile(rf"{NEWEST}(-\d+)?")


def is_newest(pin: str) -> bool:
    """Return whether a pin is ``newest``, ``newest-1`` and so on."""
    return _NEWEST.fullmatch(pin) is not None


@dataclass(frozen=True, kw_only=True, eq=False)
class Cell:
    """One environment that a matrix asks for.

    ``pins`` maps packages to exact versions; everything else is resolved to the newest of the
    day ``as_of`` (None: of today). ``state`` is the cell state that is expected, and ``says`` a
    regular expression for the words that come with it.
    """

    python: str
    pins: Mapping[str, str]
    as_of: date | None = None
    why: str = ""
    cases: tuple[str, ...] = ("*",)
    state: str = "ready"
    says: str = ""

    @property
    def id(self) -> str:
        """Name the cell by its pins, the overlay first: ``peft0.13.0-tf4.45.2-torch2.13.0-py3.11@20241012``."""
        overlay = [name for name in OVERLAY_PACKAGES if name in self.pins]
        layer = [name for name in LAYER_PACKAGES if name in self.pins]
        names = [*overlay, *(name for name in PACKAGES if name in self.pins and name not in {*overlay, *layer}), *layer]
        parts = [_part(name, self.pins[name]) for name in names]
        dated = f"@{self.as_of:%Y%m%d}" if self.as_of else ""
        return "-".join([*parts, f"py{self.python}"]) + dated

    @property
    def floating(self) -> bool:
        """Return whether a pin is no version, so that the cell means something else every day.

        What is newest on a day stays so, and so does a commit.
        """
        fixed = {NEWEST} if self.as_of else set()
        return any(
            (is_newest(pin) and pin not in fixed) or (is_source(pin) and not is_fixed(pin))
            for pin in self.pins.values()
        )

    @property
    def base_id(self) -> str:
        """Name the base session that the cell stands on: ``torch2.13.0-tf4.45.2-py3.11``."""
        parts = [_part(name, self.pins[name]) for name in BASE_PACKAGES if name in self.pins]
        return "-".join([*parts, f"py{self.python}"])


def _part(name: str, pin: str) -> str:
    return SHORT_NAMES.get(name, name) + (f"@{slug(pin)}" if is_source(pin) else pin)


@dataclass(frozen=True, kw_only=True)
class Matrix:
    """A named list of cells, with what holds for all of them.

    ``limit_s`` is the time limit of one variant in seconds; latency is measured when ``timed``,
    and a property tries ``examples`` of them (its own small number without).
    ``excluded`` pairs a cell that an axis product would give with the reason why it is left out.
    """

    name: str
    path: Path
    title: str
    cells: tuple[Cell, ...]
    limit_s: float = 60.0
    timed: bool = True
    examples: int | None = None
    excluded: tuple[tuple[Cell, str], ...] = field(default=())

    @property
    def bases(self) -> tuple[str, ...]:
        """List the base ids in the order of their first cell, each once."""
        return tuple(dict.fromkeys(cell.base_id for cell in self.cells))
