"""From exceptions to outcomes and signatures (the part of a cell that needs no torch)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.interface import Outcome
from harness.kit.outcomes import NoDevice, Unsupported, WrongAnswer, classify, normalise, signature


class OutOfMemoryError(RuntimeError):
    """As torch names it."""


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (WrongAnswer("x"), Outcome.WRONG),
        (Unsupported("x"), Outcome.UNSUPPORTED),
        (NoDevice("x"), Outcome.NO_DEVICE),
        (MemoryError(), Outcome.OUT_OF_MEMORY),
        (OutOfMemoryError("CUDA out of memory"), Outcome.OUT_OF_MEMORY),
        (AssertionError("x"), Outcome.ERROR),
        (KeyError("x"), Outcome.ERROR),
    ],
    ids=lambda value: type(value).__name__,
)
def test_each_exception_has_its_outcome(error: Exception, outcome: Outcome) -> None:
    """A failed assert of the code under test is its error, not our wrong answer."""
    assert classify(error)[0] is outcome


def test_equal_faults_have_equal_signatures() -> None:
    """Numbers, paths and addresses are not what tells two faults apart."""
    first = RuntimeError("size of tensor (37) must match (57) in /a/b.py at 0x7f01, shapes 1x2432 and 64x64")
    second = RuntimeError("size of tensor (30) must match (50) in /c/d/e.py at 0xdead, shapes 2x8 and 4x4")
    assert signature(first) == signature(second)
    assert "<shape>" in signature(first)


@given(st.text(max_size=60))
def test_normalising_twice_changes_nothing(text: str) -> None:
    """A normalised message is a fixed point."""
    assert normalise(normalise(text)) == normalise(text)
