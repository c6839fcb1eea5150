"""Draft the windows that account for a set of records (pure).

Boxes over versions come from the learner of `explain`; here they are drawn in to the measured
failures, and variants that fail in the same cells share a window.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from packaging.version import Version

from harness.explain.boxes import contains, largest_boxes, weight
from harness.explain.cover import smallest_cover
from harness.explain.variants import ADDED, products
from harness.judge import versions_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from harness.explain.boxes import Box, Point
    from harness.records import Record

AXES = ("peft", "transformers")
"""Named in every window."""

MORE_AXES = ("sentence-transformers", "torch", "accelerate", "numpy", "python")
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
    failing: Sequence[Record], others: Sequence[Record], variants: Iterable[Mapping[str, str]]
) -> list[Draft]:
    """Give windows that cover every record of ``failing`` and none of ``others``.

    ``variants`` are all that the case has: an axis whose every value fails is not named.
    Raises :class:`Inseparable`.
    """
    inside, outside = _by_variant(failing), _by_variant(others)
    groups: dict[Where, list[Variant]] = defaultdict(list)
    for variant, records in inside.items():
        for where in _windows(records, outside.get(variant, [])):
            groups[where].append(variant)
    known = [{axis: value for axis, value in one.items() if axis not in ADDED} for one in variants]
    return [
        Draft(where=where, only=_shortened(product, known))
        for where, members in groups.items()
        for product in products([dict(one) for one in members])
    ]


def _by_variant(records: Iterable[Record]) -> dict[Variant, list[Record]]:
    found: dict[Variant, list[Record]] = defaultdict(list)
    for record in records:
        found[tuple((axis, value) for axis, value in record["variant"].items() if axis not in ADDED)].append(record)
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


def _windows(failing: Sequence[Record], others: Sequence[Record]) -> list[Where]:
    """Give the fewest boxes of versions, as specifiers."""
    axes = list(AXES)
    for more in (*MORE_AXES, None):
        table = _Table(axes, [*failing, *others])
        inside, outside = {table.point(one) for one in failing}, {table.point(one) for one in others}
        if not inside & outside:
            return table.windows(sorted(inside), sorted(outside))
        if more and all(more in versions_of(one["cell"]) for one in [*failing, *others]):
            axes.append(more)
    message = f"the versions of {failing[0]['cell']['id']} fail and do not fail"
    raise Inseparable(message)


class _Table:
    """Versions in order on each axis."""

    def __init__(self, axes: Sequence[str], records: Sequence[Record]) -> None:
        self.axes = list(axes)
        self.versions = [sorted({_version(one, axis) for one in records}) for axis in self.axes]

    def point(self, record: Record) -> Point:
        return tuple(known.index(_version(record, axis)) for axis, known in zip(self.axes, self.versions, strict=True))

    def windows(self, inside: list[Point], outside: list[Point]) -> list[Where]:
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
            if axis in AXES or not whole:
                where.append((axis, _specifier(known, low, high)))
        return tuple(where)


def _specifier(known: Sequence[Version], low: int, high: int) -> str:
    """Write an interval of versions; open where the newest that was measured still fails."""
    if high == len(known) - 1 and len(known) > 1:
        return f">={known[low]}"
    return f"=={known[low]}" if low == high else f">={known[low]},<={known[high]}"


def _version(record: Record, package: str) -> Version:
    return Version(versions_of(record["cell"])[package].partition("+")[0])
