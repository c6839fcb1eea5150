"""Draw windows of versions and variants over records that fail (pure)."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from packaging.version import Version

from harness.judge.boxes import contains, largest_boxes, weight
from harness.judge.cover import smallest_cover
from harness.packages import TOLD_PACKAGES, WINDOW_AXES

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from harness.contracts.record import Record, VariantRecord
    from harness.judge.boxes import Box, Point

MORE_AXES = (*(name for name in TOLD_PACKAGES if name not in WINDOW_AXES), "accelerate", "numpy", "python")
"""Tried in this order where the first ones do not tell failing cells from others."""

Variant = tuple[tuple[str, str], ...]
Where = tuple[tuple[str, str], ...]
Only = tuple[tuple[str, tuple[str, ...]], ...]


class Inseparable(Exception):
    """Equal versions fail and do not fail: no window of versions can say when."""


@dataclass(frozen=True, kw_only=True)
class Draft:
    """One window: specifiers by package, and values by variant axis, as an expectation has them."""

    where: Where
    only: Only


def draft_windows(
    failing: Sequence[VariantRecord], others: Sequence[VariantRecord], variants: Iterable[Mapping[str, str]]
) -> list[Draft]:
    """Return windows that cover every record of ``failing`` and none of ``others``.

    ``variants`` are all that the case has: an axis whose every value fails is not named.
    Raises :class:`Inseparable`.
    """
    inside, outside = _by_variant(failing), _by_variant(others)
    groups: dict[Where, list[Variant]] = defaultdict(list)
    for variant, records in inside.items():
        for where in _windows(records, outside.get(variant, [])):
            groups[where].append(variant)
    known = [declared(one) for one in variants]
    return [
        Draft(where=where, only=_shortened(product, known))
        for where, members in groups.items()
        for product in products([dict(one) for one in members])
    ]


def _by_variant(records: Iterable[VariantRecord]) -> dict[Variant, list[VariantRecord]]:
    found: dict[Variant, list[VariantRecord]] = defaultdict(list)
    for record in records:
        found[tuple(declared(record.variant).items())].append(record)
    return found


def _shortened(only: Only, variants: Sequence[Mapping[str, str]]) -> Only:
    """Leave out each axis without which the same variants of the case are meant."""
    for axis, values in only:
        rest = tuple(item for item in only if item[0] != axis)
        if all(variant.get(axis) in values for variant in variants if _meant(rest, variant)):
            only = rest
    return only


def _meant(only: Only, variant: Mapping[str, str]) -> bool:
    return all(variant.get(axis) in values for axis, values in only)


def _windows(failing: Sequence[VariantRecord], others: Sequence[VariantRecord]) -> list[Where]:
    """Return the fewest boxes of versions, as specifiers."""
    axes = list(WINDOW_AXES)
    for more in (*MORE_AXES, None):
        table = VersionTable(axes, [*failing, *others])
        inside, outside = {table.point(one) for one in failing}, {table.point(one) for one in others}
        if not inside & outside:
            return table.windows(sorted(inside), sorted(outside))
        if more and all(more in one.cell.versions for one in [*failing, *others]):
            axes.append(more)
    message = f"the versions of {failing[0].cell.id} fail and do not fail"
    raise Inseparable(message)


class VersionTable:
    """Versions in order on each axis, and windows over them."""

    def __init__(self, axes: Sequence[str], records: Sequence[Record]) -> None:
        """``axes`` are packages that every record has."""
        self.axes = list(axes)
        self.versions = [sorted({version_of(one, axis) for one in records}) for axis in self.axes]

    def point(self, record: Record) -> Point:
        """Return the place of a record's versions in the order of each axis."""
        return tuple(
            known.index(version_of(record, axis)) for axis, known in zip(self.axes, self.versions, strict=True)
        )

    def windows(self, inside: list[Point], outside: list[Point]) -> list[Where]:
        """Return the fewest windows that hold every point of ``inside`` and none of ``outside``."""
        shape = [len(known) for known in self.versions]
        boxes = largest_boxes(shape, inside, outside)
        masks = [sum(1 << number for number, point in enumerate(inside) if contains(box, point)) for box in boxes]
        cover = smallest_cover(masks, [weight(box, shape) for box in boxes])
        return [self._where([point for point in inside if contains(boxes[one], point)]) for one in cover.columns]

    def _where(self, points: list[Point]) -> Where:
        hull: Box = tuple((min(ends), max(ends)) for ends in zip(*points, strict=True))
        where = []
        for axis, known, (low, high) in zip(self.axes, self.versions, hull, strict=True):
            whole = low == 0 and high == len(known) - 1
            if axis in WINDOW_AXES or not whole:
                where.append((axis, _specifier(known, low, high)))
        return tuple(where)


def _specifier(known: Sequence[Version], low: int, high: int) -> str:
    """Write an interval of versions; open where the newest that was measured still fails."""
    if high == len(known) - 1 and len(known) > 1:
        return f">={known[low]}"
    return f"=={known[low]}" if low == high else f">={known[low]},<={known[high]}"


def version_of(record: Record, package: str) -> Version:
    """Return the release of a package that a record was measured with, without a local label."""
    return Version(record.cell.versions[package].partition("+")[0])


Product = tuple[tuple[str, tuple[str, ...]], ...]

ADDED = {"device": "cpu", "dtype": "float32"}
"""Axes that the harness adds, with the values that go without saying."""


def declared(variant: Mapping[str, str]) -> dict[str, str]:
    """Return the axes of a variant that its case may have declared, without those that the harness adds."""
    return {axis: value for axis, value in variant.items() if axis not in ADDED}


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
