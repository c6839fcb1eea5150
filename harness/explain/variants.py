"""Name a set of variants briefly, as a few products of values (pure)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Product = tuple[tuple[str, tuple[str, ...]], ...]

ADDED = {"device": "cpu", "dtype": "float32"}
"""Axes that the harness adds, with the values that go without saying."""


def products(variants: Sequence[Mapping[str, str]]) -> list[Product]:
    """Join variants into products: each a tuple of ``(axis, values)`` that stands for all their combinations.

    Every variant is in exactly one product, and no product holds anything else.
    """
    found: list[Product] = [tuple((axis, (value,)) for axis, value in variant.items()) for variant in variants]
    for axis in dict.fromkeys(axis for variant in variants for axis in variant):
        merged: dict[tuple[tuple[str, ...], Product], tuple[str, ...]] = {}
        for one in found:
            rest = tuple(item for item in one if item[0] != axis)
            key = (tuple(name for name, _ in one), rest)
            merged[key] = (*merged.get(key, ()), *dict(one).get(axis, ()))
        found = [
            tuple((name, values if name == axis else dict(rest)[name]) for name in order)
            for (order, rest), values in merged.items()
        ]
    return found


def names(variants: Sequence[Mapping[str, str]]) -> list[str]:
    """Name variants in words, one line for each product: ``llama, bloom / p_tuning / cached``."""
    lines = []
    for product in products(variants):
        shown = [values for axis, values in product if values != (ADDED.get(axis),)]
        lines.append(" / ".join(", ".join(values) for values in shown))
    return lines


def word(case: str, variant: Mapping[str, str]) -> str:
    """Give the word of a case expression that selects a variant, whatever device is asked for."""
    return f"{case}:{'-'.join(value for axis, value in variant.items() if axis not in ADDED)}"
