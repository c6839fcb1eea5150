"""The page of references says of every pair which has one, and of every other one why not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from harness.contracts.record import CellFacts, Machine, VariantRecord
from harness.interface import Outcome
from harness.matrix.cases import load_cases
from harness.selfcheck.references import CHANGE, SEEN, WAYS, page, pairs, reason, smallest_seen

RECORD = VariantRecord(
    run="r", time="t", cell=CellFacts(id="c", python="3.11"), machine=Machine(), key="k", case="by_hand_forward",
    document=None, variant={"model": "gpt2", "method": "p_tuning", "layout": "alone", "dtype": "float32"},
    outcome=Outcome.PASSED, evidence={SEEN: 20.0},
)  # fmt: skip


def test_every_pair_without_a_reference_has_a_reason() -> None:
    """And no pair that has one needs a reason."""
    cases = load_cases()
    asked = pairs(cases)
    assert len(asked) > 100
    for way in ("forward", "generate", "loaded"):
        having = pairs(cases, WAYS[way])
        models, methods = {model for model, _ in asked}, {method for _, method in asked}
        for model in models:
            for method in methods:
                assert ((model, method) in having) != bool(reason(model, method, way)), (model, method, way)


def test_the_smallest_change_is_the_worst_of_all_layouts() -> None:
    """A distance of twenty tolerances for a thousandth says that a twentieth of it is seen; nothing moved: never."""
    other = replace(RECORD, variant={**RECORD.variant, "layout": "left"}, evidence={SEEN: 5.0})
    assert smallest_seen([RECORD])["gpt2", "p_tuning"] == pytest.approx(CHANGE / 20)
    assert smallest_seen([RECORD, other])["gpt2", "p_tuning"] == pytest.approx(CHANGE / 5)
    assert smallest_seen([replace(RECORD, evidence={SEEN: 0.0})])["gpt2", "p_tuning"] == float("inf")


def test_the_page_names_what_does_not_see_enough() -> None:
    """A pair that sees only one in a hundred stands there by name."""
    weak = replace(RECORD, evidence={SEEN: 0.1})
    assert "gpt2 with p_tuning (1 %)" in page(load_cases(), [weak])
    assert "All 1 pairs see a change of a thousandth." in page(load_cases(), [RECORD])
