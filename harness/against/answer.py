"""What a comparison came to, as JSON: written by ``against``, read where a comment is posted.

The file comes from a job in which unreviewed code ran. So the reader checks every field, and whoever writes what it
holds takes its texts for texts.
"""

from __future__ import annotations

import json
from collections.abc import Mapping  # noqa: TC003 - msgspec reads the annotations
from dataclasses import asdict, dataclass, field

import msgspec

from harness.errors import InputError

SCHEMA = 1
"""Version of the JSON. 1: the first."""

LARGEST_FILE = 64 << 20
"""Bytes; a larger file is none of ours."""


@dataclass(frozen=True, kw_only=True)
class Side:
    """What one side of a variant did: its outcome, or the state of its cell, and the record's words."""

    result: str
    words: str


@dataclass(frozen=True, kw_only=True)
class AnsweredFlip:
    """A variant that changed. ``counts`` has the exact counts that differ, before and after.

    ``distances`` are those of a wrong answer from its reference that differ, in multiples of what is allowed.
    """

    change: str
    breaks: bool
    companion: str
    case: str
    variant: Mapping[str, str]
    before: Side
    after: Side
    counts: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    distances: Mapping[str, tuple[str, str]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class AnsweredCause:
    """Variants that changed in one way for one cause.

    ``again`` is the command that asks its example alone, ``script`` the one for a script that shows it.
    """

    change: str
    breaks: bool
    before: str
    after: str
    companions: tuple[str, ...]
    example: str
    example_before: str
    example_after: str
    also_in: tuple[str, ...]
    variants: tuple[AnsweredFlip, ...]
    again: str = ""
    script: str = ""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """A comparison. ``verdict`` is the whole in one line; ``notes`` are lines on what nothing is told of.

    ``whole`` is a case expression that a quick ring has every variant of.
    """

    package: str
    before: str
    after: str
    run: str
    ring: str
    seconds: float
    verdict: str
    broke: bool
    compared: int
    same: Mapping[str, int]
    causes: tuple[AnsweredCause, ...]
    timed: tuple[str, ...]
    flaky: tuple[AnsweredFlip, ...]
    missing: tuple[str, ...]
    notes: tuple[str, ...]
    whole: str = ""
    schema: int = SCHEMA

    @property
    def title(self) -> str:
        """Return what was held against what."""
        return f"{self.package} {self.before} against {self.after}"

    @property
    def asked(self) -> str:
        """Return what was measured: the ring, and the cases that it has every variant of."""
        return f"{self.ring}, and all of {self.whole}" if self.whole else self.ring


def answer_text(answer: Answer) -> str:
    """Write an answer as JSON."""
    return json.dumps(asdict(answer), ensure_ascii=False, indent=1)


def read_answer(data: bytes, where: str) -> Answer:
    """Read what :func:`answer_text` wrote. Raises :class:`InputError` with ``where`` and the path of the mistake."""
    if len(data) > LARGEST_FILE:
        raise InputError(where, f"larger than {LARGEST_FILE} bytes; it is no answer of against")
    try:
        answer = msgspec.json.decode(data, type=Answer)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise InputError(where, f"{error}; write it with: against --format json") from None
    if answer.schema != SCHEMA:
        raise InputError(where, f"schema {answer.schema} is not {SCHEMA}; use the same version on both sides")
    return answer
