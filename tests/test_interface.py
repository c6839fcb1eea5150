"""The words that both sides share: defaults."""

from __future__ import annotations

from harness.interface import with_defaults

VARIANT = {"model": "llama", "method": "lora"}


def test_a_case_may_name_its_dtype() -> None:
    """The harness adds the device and, where a case names none, float32; the order of axes stays."""
    assert with_defaults(VARIANT, "cpu") == {**VARIANT, "device": "cpu", "dtype": "float32"}
    half = with_defaults({"dtype": "bfloat16", **VARIANT}, "cuda")
    assert list(half.items()) == [*VARIANT.items(), ("device", "cuda"), ("dtype", "bfloat16")]
