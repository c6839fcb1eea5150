"""Coordinates of a plot with logarithmic axes (pure); the template draws them as SVG."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, floor, log, log10
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

WIDTH, HEIGHT = 520, 320
_LEFT, _RIGHT, _TOP, _BOTTOM = 62, 12, 14, 44
_STEPS = ((1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 7, 8, 9), (1, 1.5, 2, 3, 5, 7), (1, 2, 5), (1,))
_MOST_TICKS = 8


@dataclass(frozen=True, kw_only=True)
class Line:
    """One curve in pixels: its points, and the ends of the bar at each of them (equal where there is no spread)."""

    label: str
    kind: str
    points: tuple[tuple[float, float], ...]
    bars: tuple[tuple[float, float, float], ...]

    @property
    def path(self) -> str:
        """Return the points as an SVG list of coordinates."""
        return " ".join(f"{x:.1f},{y:.1f}" for x, y in self.points)


@dataclass(frozen=True, kw_only=True)
class Plot:
    """A plot in pixels. Ticks are (position, label)."""

    title: str
    x_label: str
    y_label: str
    x_ticks: tuple[tuple[float, str], ...]
    y_ticks: tuple[tuple[float, str], ...]
    lines: tuple[Line, ...]
    width: int = WIDTH
    height: int = HEIGHT
    left: int = _LEFT
    right: int = WIDTH - _RIGHT
    top: int = _TOP
    bottom: int = HEIGHT - _BOTTOM


def plot(
    title: str,
    labels: tuple[str, str],
    series: Sequence[tuple[str, str, Sequence[tuple[float, float, float, float]]]],
) -> Plot:
    """Lay out a plot. Each series is a label, a kind (a CSS class) and its (x, y, low, high), all above 0."""
    xs = [x for _, _, points in series for x, *_ in points]
    ys = [y for _, _, points in series for _, *values in points for y in values]
    across = Scale(low=min(xs), high=max(xs), start=_LEFT, end=WIDTH - _RIGHT)
    up = Scale(low=min(ys) / 1.15, high=max(ys) * 1.15, start=HEIGHT - _BOTTOM, end=_TOP)
    lines = [
        Line(
            label=label,
            kind=kind,
            points=tuple((across.at(x), up.at(y)) for x, y, _, _ in points),
            bars=tuple((across.at(x), up.at(low), up.at(high)) for x, _, low, high in points),
        )
        for label, kind, points in series
    ]
    return Plot(
        title=title,
        x_label=labels[0],
        y_label=labels[1],
        x_ticks=tuple((across.at(x), f"{x:g}") for x in sorted(set(xs))),
        y_ticks=tuple((up.at(y), f"{y:,g}".replace(",", " ")) for y in nice_ticks(up.low, up.high)),
        lines=tuple(lines),
    )


@dataclass(frozen=True, kw_only=True)
class Scale:
    """A logarithmic scale from values (``low`` to ``high``, above 0) to pixels (``start`` to ``end``)."""

    low: float
    high: float
    start: float
    end: float

    def at(self, value: float) -> float:
        """Return the pixel of a value; one value alone stands in the middle."""
        if self.high <= self.low:
            return (self.start + self.end) / 2
        return self.start + (self.end - self.start) * log(value / self.low) / log(self.high / self.low)


def nice_ticks(low: float, high: float) -> list[float]:
    """List round numbers between two numbers above 0: fine steps where they are near, powers of ten where far."""
    powers = range(floor(log10(low)), ceil(log10(high)) + 1)
    for steps in _STEPS:
        inside = [
            round(step * 10.0**power, 12) for power in powers for step in steps if low <= step * 10.0**power <= high
        ]
        if len(inside) <= _MOST_TICKS:
            return inside
    return inside
