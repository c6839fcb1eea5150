"""Symptom (pure): from a record to good, bad or skip.

Bad is *this* failure, the one that the bad end shows: the same signature, or the same wrong answer.
Another failure is not bad: the symptom is absent there, and the report says how it fails instead.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness.bisect.search import Answer
from harness.interface import Outcome

if TYPE_CHECKING:
    from harness.records import Record

_UNANSWERED = frozenset({Outcome.UNSUPPORTED, Outcome.NO_DEVICE, Outcome.NOT_RUN})
_MAYBE_THE_MACHINE = frozenset({Outcome.TIMEOUT, Outcome.OUT_OF_MEMORY})
_NUMBER = re.compile(r"(?<![A-Za-z_\d])\d+(?:\.\d+)*")


@dataclass(frozen=True, kw_only=True)
class Symptom:
    """A failure to look for: its outcome and its words, or with ``any_failure`` whatever fails."""

    outcome: str
    words: str
    any_failure: bool = False

    def answer(self, record: Record) -> Answer:
        """Say whether a record shows the symptom.

        A cell that never became ready, an unsupported variant and a missing device are skips, and so
        are a timeout and a lack of memory that were not asked for: they may be the machine's fault.
        """
        if has_no_answer(record):
            return Answer.SKIP
        if record["outcome"] == Outcome.PASSED:
            return Answer.GOOD
        if self.any_failure or (record["outcome"] == self.outcome and words_of(record) == self.words):
            return Answer.BAD
        return Answer.SKIP if record["outcome"] in _MAYBE_THE_MACHINE else Answer.GOOD

    def describe(self) -> str:
        """Name the symptom in one line."""
        return "any failure" if self.any_failure else f"{self.outcome}: {self.words}" if self.words else self.outcome


def symptom_of(record: Record, *, any_failure: bool = False) -> Symptom:
    """Take the failure that a record shows for the symptom. Raises ``ValueError`` when it shows none."""
    if not fails(record):
        message = f"not a failure: {shown(record)}"
        raise ValueError(message)
    return Symptom(outcome=record["outcome"], words=words_of(record), any_failure=any_failure)


def has_no_answer(record: Record) -> bool:
    """Tell whether nothing was measured: the cell was never ready, or the variant cannot be there."""
    return "outcome" not in record or record["outcome"] in _UNANSWERED


def fails(record: Record) -> bool:
    """Tell whether a variant was measured and did not pass."""
    return not has_no_answer(record) and record["outcome"] != Outcome.PASSED


def words_of(record: Record) -> str:
    """Give what tells one failure from another: the signature, or for a wrong answer its message without numbers."""
    return str(record.get("signature") or _NUMBER.sub("<n>", record.get("message") or ""))


def shown(record: Record) -> str:
    """Say in a few words what a record shows: ``passed``, or the outcome with its words, or the cell's state."""
    if "outcome" not in record:
        return f"{record['cell']['state']}: {record.get('message') or ''}"
    words = record.get("signature") or record.get("message")
    return f"{record['outcome']}: {words}" if words else str(record["outcome"])


def summary(record: Record) -> dict[str, Any]:
    """Keep of a record what bisect needs to go on from it later."""
    kept: dict[str, Any] = {
        name: record[name] for name in ("outcome", "signature", "message", "counters", "latency") if name in record
    }
    return {**kept, "cell": record["cell"]}
