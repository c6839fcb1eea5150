"""The words that both sides share: selections and defaults."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from harness.interface import selected, selects, with_defaults

NAMES = st.sampled_from(("beam_search", "save_and_load", "generate_with_cache", "beam_*", "*", "save_*:llama"))
VARIANT = {"model": "llama", "method": "lora"}


@given(wanted=st.lists(NAMES), without=st.lists(NAMES), case=NAMES)
def test_what_is_taken_away_is_never_selected(wanted: list[str], without: list[str], case: str) -> None:
    """A word with ``!`` outweighs every other; without wanted words everything else is selected."""
    words = [*wanted, *(f"!{word}" for word in without)]
    removed = any(selects(word, case, VARIANT) for word in without)
    named = any(selects(word, case, VARIANT) for word in wanted)
    assert selected(words, case, VARIANT) == ((named or not wanted) and not removed)


def test_a_case_may_name_its_dtype() -> None:
    """The harness adds the device and, where a case names none, float32; the order of axes stays."""
    assert with_defaults(VARIANT, "cpu") == {**VARIANT, "device": "cpu", "dtype": "float32"}
    half = with_defaults({"dtype": "bfloat16", **VARIANT}, "cuda")
    assert list(half.items()) == [*VARIANT.items(), ("device", "cuda"), ("dtype", "bfloat16")]
