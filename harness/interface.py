"""The words that both sides of the wall share: outcomes, claims, expectations, variants.

Nothing here imports more than the standard library, because a case file is read by the
judge (outside, without torch) and executed by the worker (inside a cell).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from itertools import product
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

SCHEMA = 1
"""Version of the record. 1: the first."""


class Outcome(StrEnum):
    """What was measured for one variant in one cell."""

    PASSED = "passed"
    WRONG = "wrong"
    ERROR = "error"
    CRASHED = "crashed"
    TIMEOUT = "timeout"
    OUT_OF_MEMORY = "out-of-memory"
    UNSUPPORTED = "unsupported"
    NO_DEVICE = "no-device"
    NOT_RUN = "not-run"


class Oracle(StrEnum):
    """The independent way in which a case knows the right answer: each but one is computed in the same cell."""

    CACHE = "cache"
    """``generate`` against a plain loop over ``forward``, which uses neither ``generate`` nor a cache."""
    PROMPT_USED = "prompt used"
    """With a strong prompt the answer is not the base model's."""
    RELOAD = "reload"
    """Saved and loaded again answers as in memory."""
    BATCH = "batch"
    """A row alone answers as the same row in a padded batch."""
    ROUND_TRIP = "round trip"
    """Training teaches what the base does not say, and it survives."""
    SAME_CALL = "same call"
    """Two ways of asking for one thing give one answer: ids or their embeddings, with checkpointing or without."""
    ALONE = "alone"
    """An adapter among others, or switched off, answers as it does, or as the base does, by itself."""
    BY_HAND = "by hand"
    """The definition, written out: a mean over the text, a cross-entropy over the answer."""
    REFUSAL = "refusal"
    """What cannot be done is refused, in words that name the reason."""
    FROZEN = "frozen"
    """Logits that another release gave, kept as data with the command that makes them."""


class CellState(StrEnum):
    """How far an environment came."""

    READY = "ready"
    UNSATISFIABLE = "unsatisfiable"
    INSTALL_FAILED = "install-failed"
    IMPORT_FAILED = "import-failed"
    UNREACHABLE = "unreachable"
    """The source that a pin names could not be had here; says nothing about the cell."""
    NOT_RUN = "not-run"


@dataclass(frozen=True, kw_only=True)
class Variants:
    """The product of some axes, less the combinations in ``without``.

    Each entry of ``without`` maps axes to a value; a combination that has all of them is left out.
    """

    axes: Mapping[str, tuple[str, ...]]
    without: tuple[Mapping[str, str], ...] = ()

    def __iter__(self) -> Iterator[dict[str, str]]:
        """Yield one ``{axis: value}`` for each variant, the last axis varying fastest."""
        names = list(self.axes)
        for values in product(*self.axes.values()):
            variant = dict(zip(names, values, strict=True))
            if not any(variant.items() >= left_out.items() for left_out in self.without):
                yield variant


DEVICES = ("cpu", "cuda")
"""Where a variant may be measured."""


def variant_id(variant: Mapping[str, str]) -> str:
    """Name a variant by its values, as pytest and the reports show it."""
    return "-".join(variant.values())


def with_defaults(variant: Mapping[str, str], device: str) -> dict[str, str]:
    """Add the axes that the harness gives: the device, and float32 where a case names no dtype."""
    rest = {axis: value for axis, value in variant.items() if axis != "dtype"}
    return {**rest, "device": device, "dtype": variant.get("dtype", "float32")}
