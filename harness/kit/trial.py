"""One variant's trial: what a case is handed, and where it writes what it saw."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from harness.kit.outcomes import NoDevice, Unsupported, WrongAnswer

if TYPE_CHECKING:
    from pathlib import Path

    import torch

EXAMPLES = 5
"""How many examples a property tries unless the matrix says otherwise."""

PAIRS = 8
"""Pairs of neighbouring samples, one an arm: few enough for every variant, and an interval that is bounded."""


@dataclass(frozen=True, kw_only=True)
class Timing:
    """What a job asks of the timing of one variant.

    ``pairs`` samples an arm in the order A-B-B-A; or, where ``turns`` is the address of a socket, as many as
    the other side asks for, when it asks, and of the arms that it asks for. ``name`` says who this is.
    """

    pairs: int = PAIRS
    turns: str = ""
    name: str = ""


@dataclass
class Trial:
    """A variant being measured.

    ``variant`` maps each axis to its value. ``evidence``, ``counters`` and ``latency`` go into
    the record as they stand when the check ends, however it ends: write early. A check measures
    latency only when it is ``timed``: a large grid does without. ``timing`` says how.

    A property tries ``examples`` of them (:mod:`harness.kit.properties`). ``name`` is the case's with the
    variant's; ``memory`` is the folder that remembers this cell's failing examples between runs, and ``told`` the
    file in which the cells of a run tell each other theirs.
    """

    variant: dict[str, str]
    scratch: Path
    timed: bool = True
    name: str = ""
    examples: int = EXAMPLES
    memory: Path | None = None
    told: Path | None = None
    timing: Timing = field(default_factory=Timing)
    evidence: dict[str, Any] = field(default_factory=dict)
    counters: dict[str, Any] = field(default_factory=dict)
    latency: dict[str, Any] = field(default_factory=dict)

    def __getattr__(self, axis: str) -> str:
        """Return the value of an axis: ``trial.model`` is ``trial.variant["model"]``."""
        try:
            return self.variant[axis]
        except KeyError:
            raise AttributeError(axis) from None

    def torch_device(self) -> torch.device:
        """Return the device to measure on.

        Raises :class:`NoDevice` when the variant asks for CUDA and there is none.
        """
        import torch

        if self.variant["device"] == "cuda" and not torch.cuda.is_available():
            message = "torch sees no CUDA device"
            raise NoDevice(message)
        return torch.device(self.variant["device"])

    def expect(self, holds: bool, message: str) -> None:  # noqa: FBT001 - reads as a sentence
        """Raise :class:`WrongAnswer` with ``message`` unless the oracle agrees."""
        if not holds:
            raise WrongAnswer(message)

    def need(self, module: str, *, because: str) -> None:
        """Raise :class:`Unsupported` when the cell does not have ``module``."""
        if importlib.util.find_spec(module) is None:
            message = f"{module} is not installed here: {because}"
            raise Unsupported(message)
