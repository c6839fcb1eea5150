"""Which cells and variants a comparison is about."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.catalogue import load_cases, select_variants

if TYPE_CHECKING:
    from harness.catalogue import Case

TIMED = "generate_with_cache:*-cached"
"""The variants that are timed: ``generate`` as users call it, for every family and method."""


def timed_variants(expression: str, device: str = "cpu") -> list[tuple[Case, dict[str, str]]]:
    """List the variants of a case expression, with their device. Raises :class:`UsageError` when there are none."""
    chosen = select_variants(load_cases(), expression)
    return [(case, {**variant, "device": device, "dtype": "float32"}) for case, variant in chosen]
