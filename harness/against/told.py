"""A comparison, ready to be written: what was held against what, and the difference."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.against.difference import Difference
    from harness.latency.verdicts import Row


QUICK, EVERY = "a variant for each case and method", "every variant that was asked for"
"""The two rings in words."""


@dataclass(frozen=True, kw_only=True)
class Told:
    """What a comparison came to: the sides in words, the difference, how it was measured and how long that took.

    ``pairs`` maps each companion to the cell ids of its two sides, ``sides`` to the words
    that ask for both again, ``also`` to what else differs between their locks.
    ``whole`` is a case expression that a quick ring has every variant of. ``timed`` has a row for each variant whose
    latency was compared. ``matrix`` is the path of the matrix with both sides ("" for two runs).
    """

    package: str
    before: str
    after: str
    ring: str
    difference: Difference
    seconds: float
    run: str
    whole: str = ""
    matrix: str = ""
    pairs: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    sides: Mapping[str, str] = field(default_factory=dict)
    also: Mapping[str, str] = field(default_factory=dict)
    timed: tuple[Row, ...] = ()
    skipped: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """Return what was held against what."""
        return f"{self.package} {self.before} against {self.after}"
