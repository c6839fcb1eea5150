"""What moved under a pair that nobody changed (pure): the same versions as pinned, another lock, another day.

The last locks under which each pair of releases was as expected are kept in a file of JSON, by what a person pins::

    {"peft 0.21.2, transformers 5.23.0, torch 2.13.0, python 3.11":
     {"run": "nightly", "day": "2026-11-24", "pins": ["accelerate==1.12.0", ...]}}
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from harness.environments.resolve import Lock
from harness.errors import InputError
from harness.packages import TOLD_PACKAGES
from harness.paths import write_whole

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from harness.judge.summary import CellSummary, Summary


@dataclass(frozen=True, kw_only=True)
class Move:
    """A package whose version differs between two locks; None on the side that does not have it."""

    package: str
    before: str | None
    now: str | None

    def __str__(self) -> str:
        """Return the move in words: ``accelerate 1.2 -> 1.3``."""
        return f"{self.package} {self.before or 'absent'} -> {self.now or 'absent'}"


@dataclass(frozen=True, kw_only=True)
class GoodNight:
    """The last night on which a pair was as expected: the run, its day (UTC), and the pins of its lock."""

    run: str
    day: str
    pins: tuple[str, ...]


def moved(before: Sequence[str], now: Sequence[str]) -> tuple[Move, ...]:
    """Return the packages in which the pins of two locks differ, by name."""
    old, new = _pinned(before), _pinned(now)
    return tuple(
        Move(package=name, before=old.get(name), now=new.get(name))
        for name in sorted({*old, *new})
        if old.get(name) != new.get(name)
    )


def _pinned(pins: Sequence[str]) -> dict[str, str]:
    lock = Lock(pins=tuple(pins))
    return {**lock.versions, **lock.sources}


def pair_of(cell: CellSummary) -> str:
    """Return what a person pins of a cell, in words; it names the pair on every night."""
    versions = {name: cell.versions.get(name, "").partition("+")[0] for name in TOLD_PACKAGES}
    return ", ".join([*(f"{name} {one}" for name, one in versions.items() if one), f"python {cell.facts.python}"])


def moves_of(summary: Summary, locks: Mapping[str, Sequence[str]], known: Mapping[str, GoodNight]) -> dict[str, str]:
    """Say for each cell of a night that was as expected before under another lock what has moved since."""
    told = {}
    for cell in summary.cells:
        before, pins = known.get(pair_of(cell)), locks.get(cell.id)
        if before is not None and pins and (moves := moved(before.pins, pins)):
            told[cell.id] = f"was as expected on {before.day} (run {before.run}); since then: " + ", ".join(
                map(str, moves)
            )
    return told


def good_nights(
    summary: Summary, locks: Mapping[str, Sequence[str]], known: Mapping[str, GoodNight], day: str
) -> dict[str, GoodNight]:
    """Return the last good night of each pair by now: pairs that are wholly as expected tonight have this one."""
    return {**known} | {
        pair_of(cell): GoodNight(run=summary.run, day=day, pins=tuple(locks[cell.id]))
        for cell in summary.cells
        if cell.id in locks and cell.judged
        if all(one.record is not None and not one.needs_a_person for one in cell.judged)
    }


def read_nights(path: Path) -> dict[str, GoodNight]:
    """Read the good nights; none where there is no file. Raises :class:`InputError` when it holds something else."""
    if not path.is_file():
        return {}
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        return {
            str(pair): GoodNight(run=str(one["run"]), day=str(one["day"]), pins=tuple(map(str, one["pins"])))
            for pair, one in data.items()
        }
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        problem = f"no file of good nights: {error}; remove it, and tonight is the first"
        raise InputError(str(path), problem) from None


def write_nights(path: Path, known: Mapping[str, GoodNight]) -> None:
    """Write the good nights, whole or not at all."""
    write_whole(path, json.dumps({pair: asdict(one) for pair, one in known.items()}, indent=1) + "\n")
