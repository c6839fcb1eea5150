"""Judge what an answer cost (pure), by exact counts and without a stopwatch.

With a cache each step of ``generate`` is fed the one new token of each row. When the cache is lost on the way and
nobody says so, each step is fed all tokens so far: what is fed in all grows with the square of the length. The answer
may well be right; the counts tell. And a prompt is computed once for each time that a text is read in.
"""

from __future__ import annotations

from enum import StrEnum
from itertools import pairwise
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_FEWEST_STEPS = 2
"""Steps after the first forward: one alone does not grow."""


class CostVerdict(StrEnum):
    """What was fed to the model against what a working cache is fed."""

    AS_EXPECTED = "as-expected"
    REGRESSED = "regressed"
    UNKNOWN = "unknown"
    """No cache was asked for, or nothing was counted, or there were too few steps."""


def judge_cost(counters: Mapping[str, Any], *, asked: bool | None = None) -> CostVerdict:
    """Judge the counters of a record: ``use_cache`` and ``tokens_per_call``. ``asked`` stands in for the former."""
    per_call = counters.get("tokens_per_call") or []
    if not (counters.get("use_cache") if asked is None else asked) or len(per_call) <= _FEWEST_STEPS:
        return CostVerdict.UNKNOWN
    return CostVerdict.REGRESSED if why_costly(counters) else CostVerdict.AS_EXPECTED


def why_costly(counters: Mapping[str, Any]) -> str:
    """Say what a cache that was asked for did not save, alike for equal faults; "" where it saved all that it can."""
    per_call = counters.get("tokens_per_call") or []
    if grows(per_call[1:]):
        return LOST
    # A text is read in at first, and wherever more is fed than at the step before: a second turn.
    readings = 1 + sum(after > before for before, after in pairwise(per_call))
    return COMPUTED_AGAIN if (counters.get("prompts_computed") or 0) > readings else ""


def grows(steps: Sequence[int]) -> bool:
    """Return whether each step of the later half is fed more than the step before it.

    The later half, because a cache may be lost on the way; two steps at least, so that one odd step is no growth.
    """
    later = steps[min(len(steps) // 2, len(steps) - _FEWEST_STEPS) :]
    return all(after > before for before, after in pairwise(later))


LOST = "a cache was asked for and is lost: the tokens fed grow from call to call"
COMPUTED_AGAIN = "the prompt is computed more than once for a text that is read in once"
"""The same words for equal faults; the numbers stand in the counters."""
