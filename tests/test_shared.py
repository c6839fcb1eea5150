"""What several variants begin with is made once, and no variant sees what another does to it."""

from __future__ import annotations

import random
from copy import deepcopy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.kit.shared import made_once


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers()), min_size=1))
def test_every_copy_is_as_it_was_made(asked: list[tuple[str, int]]) -> None:
    """Whatever order variants come in and whatever they do, each begins with what was made, and it is made once."""
    calls: list[str] = []
    this = object()

    def make(word: str) -> dict[str, list[int]]:
        calls.append(word)
        return {word: [1, 2]}

    for word, number in asked:
        made = made_once(lambda word=word: make(word), this, word)  # type: ignore[misc]  # a lambda's default
        assert made == {word: [1, 2]}
        made[word].append(number)
        made.clear()
    assert sorted(calls) == sorted({word for word, _ in asked})


def test_the_copy_is_of_all_that_hangs_together() -> None:
    """Two ways to one object lead to one object in the copy, too: a tied weight stays tied."""
    weight = [1.0]
    made = made_once(lambda: {"in": weight, "out": weight}, "tied")
    assert made["in"] is made["out"]
    assert made["in"] is not weight
    assert deepcopy(made) == made


def test_what_is_drawn_leaves_no_trace() -> None:
    """Who is first to ask draws the same afterwards as who comes later."""
    before = random.getstate()
    made_once(random.random, "drawn")
    assert random.getstate() == before


def test_what_raises_is_asked_again() -> None:
    """A failure is each variant's own."""
    calls = []

    def fail() -> None:
        calls.append(1)
        message = "no"
        raise ValueError(message)

    for _ in range(2):
        with pytest.raises(ValueError, match="no"):
            made_once(fail, "fails")
    assert len(calls) == 2


def test_two_cases_may_use_the_same_words() -> None:
    """What one file makes of a model and a method is not what another one does."""

    def train() -> str:
        return "trained"

    def wrap() -> str:
        return "wrapped"

    assert [made_once(make, "llama", "lora") for make in (train, wrap, train)] == ["trained", "wrapped", "trained"]
