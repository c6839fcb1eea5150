"""How far a wrong answer is from its reference, and whether it is as far as before (pure).

A failure that is known must not hide a new one: an answer that was wrong and is wrong otherwise has the same outcome
and often the same words, and another distance. Cases keep distances as multiples of what is allowed
(:func:`harness.kit.oracles.near`).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from harness.interface import Outcome

if TYPE_CHECKING:
    from harness.contracts.record import VariantRecord

SHARE = 0.05
"""Distances of wrong answers that are closer than this share of the larger one count as the same: sums are rounded
otherwise on other machines, and a wrong answer's distance is some hundred times what is allowed."""


def distances_of(record: VariantRecord) -> dict[str, float]:
    """Return how far an answer was from its reference, by what was compared, as multiples of what is allowed."""
    told = record.evidence.get("distances")
    pairs = told.items() if isinstance(told, dict) else ()
    return {name: float(value) for name, value in pairs if isinstance(value, int | float) or value in {"inf", "nan"}}


def distances_that_differ(before: VariantRecord, after: VariantRecord) -> dict[str, tuple[float, float]]:
    """Return the distances of two wrong answers that are not the same, by what was compared; of others nothing.

    What is within what is allowed on both sides is the same, however near, and so is what only one side came to.
    """
    if {before.outcome, after.outcome} != {Outcome.WRONG}:
        return {}
    olds, news = distances_of(before), distances_of(after)
    return {name: (one, news[name]) for name, one in olds.items() if name in news and _differ(one, news[name])}


def _differ(one: float, other: float) -> bool:
    if math.isnan(one) or math.isnan(other):
        return math.isnan(one) != math.isnan(other)
    larger = max(one, other)
    if math.isinf(larger):
        return one != other
    return larger > 1 and abs(one - other) > SHARE * larger
