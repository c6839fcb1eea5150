"""What reports show of latency: rows with intervals, a small chart a row, and the plot of growth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness.latency.growth import ARMS, AXES, Curve, curves_of
from harness.latency.ratio import arms_of, cached_over_uncached, own_times
from harness.latency.statistics import FEWEST_PAIRS, level_of
from harness.report.plot import Plot, Scale, plot

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from harness.contracts.record import VariantRecord
    from harness.judge.summary import Summary
    from harness.latency.statistics import Ratio

CHART = 170
"""Pixels of the chart in a row."""

_LENGTH_LABELS = {"new_tokens": "new tokens", "virtual_tokens": "virtual tokens"}


@dataclass(frozen=True, kw_only=True)
class ArmRow:
    """One arm: median and interval in milliseconds (low and high are None below six samples), and its parts."""

    median_ms: float
    low_ms: float | None
    high_ms: float | None
    prefill_ms: float | None
    token_ms: float | None
    tokens_fed: int | None
    peak_mib: int | None

    @property
    def range_ms(self) -> str:
        """Write the interval."""
        return "" if self.low_ms is None else f"{self.low_ms:.1f} to {self.high_ms:.1f}"


@dataclass(frozen=True, kw_only=True)
class LatencyRow:
    """One timed variant in one cell. An arm that did not run is None."""

    case: str
    variant: str
    cell: str
    versions: str
    cached: ArmRow | None
    uncached: ArmRow | None
    ratio: Ratio | None
    samples: int
    counters: Mapping[str, Any]

    @property
    def arms(self) -> list[tuple[str, ArmRow]]:
        """List the arms that there are, with their names."""
        return [(name, arm) for name, arm in (("cached", self.cached), ("uncached", self.uncached)) if arm]


def latency_rows(summary: Summary) -> list[LatencyRow]:
    """List every variant that was timed, by case and variant, the cells in order of their versions."""
    rows = [row for one in summary.judged if one.record and (row := latency_row(one.record)) is not None]
    return sorted(rows, key=lambda row: (row.case, row.variant))


def newest_rows(cells: Iterable[str], rows: list[LatencyRow]) -> dict[str, list[LatencyRow]]:
    """Return the rows of each case in the first of the cells that has any of it."""
    ids = list(cells)
    found: dict[str, list[LatencyRow]] = {}
    for case in dict.fromkeys(row.case for row in rows):
        for cell in ids:
            if mine := [row for row in rows if row.case == case and row.cell == cell]:
                found[case] = mine
                break
    return found


def scale_of(rows: list[LatencyRow]) -> Scale:
    """Return the scale that the charts of some rows share, in milliseconds from 0 pixels to :data:`CHART`."""
    numbers = [x for row in rows for _, arm in row.arms for x in (arm.median_ms, arm.low_ms, arm.high_ms) if x]
    return Scale(low=min(numbers) / 1.1, high=max(numbers) * 1.1, start=4, end=CHART - 4)


@dataclass(frozen=True, kw_only=True)
class GrowthSection:
    """The growth of one variant in one cell: its plots, and a row for each curve."""

    title: str
    plots: tuple[Plot, ...]
    curves: tuple[Curve, ...]


def growth_sections(records: Iterable[VariantRecord]) -> list[GrowthSection]:
    """Draw the growth of each variant that has it, from the first record that has it."""
    sections: dict[str, GrowthSection] = {}
    for record in records:
        if "growth" not in record.counters:
            continue
        name = f"{record.case} {_name(record)}"
        if name not in sections and (curves := curves_of(record)):
            sections[name] = GrowthSection(
                title=f"{_name(record)}, {_versions(record)}", plots=tuple(_plots(curves)), curves=tuple(curves)
            )
    return list(sections.values())


def _plots(curves: list[Curve]) -> list[Plot]:
    drawn = []
    for axis in AXES:
        mine = [curve for curve in curves if curve.axis == axis]
        label = _LENGTH_LABELS[axis]
        if timed := [curve for curve in mine if curve.times_s]:
            drawn.append(plot(f"time by {label}", (label, "ms"), [_times(curve) for curve in timed]))
        if mine:
            series = [(one.arm, one.arm, [(x, y, y, y) for x, y in one.tokens]) for one in mine]
            drawn.append(plot(f"tokens fed by {label}", (label, "tokens fed"), series))
    return drawn


def _times(curve: Curve) -> tuple[str, str, list[tuple[float, float, float, float]]]:
    from statistics import median

    points = [
        (float(length), 1000 * median(samples), 1000 * min(samples), 1000 * max(samples))
        for length, samples in curve.times_s
    ]
    return curve.arm, curve.arm, points


def latency_row(record: VariantRecord) -> LatencyRow | None:
    """Return the row of a record; None where it was not timed."""
    if not record.latency or not (arms := arms_of(record)).keys() & set(ARMS):
        return None
    return LatencyRow(
        case=record.case,
        variant=_name(record),
        cell=record.cell.id,
        versions=_versions(record),
        cached=_arm(arms.get("cached")),
        uncached=_arm(arms.get("uncached")),
        ratio=cached_over_uncached(record),
        samples=max(len(arm["samples_s"]) for arm in arms.values()),
        counters=record.counters,
    )


def _arm(series: Mapping[str, Any] | None) -> ArmRow | None:
    if series is None:
        return None
    own = own_times(series)
    middle, low, high = level_of(own)
    calls, peak = series.get("forward_calls") or 0, (series.get("peak") or {}).get("host_bytes")
    decode = series.get("decode", {}).get("median_s")
    return ArmRow(
        median_ms=1000 * middle,
        low_ms=1000 * low if len(own) >= FEWEST_PAIRS else None,
        high_ms=1000 * high if len(own) >= FEWEST_PAIRS else None,
        prefill_ms=1000 * series["prefill"]["median_s"] if "prefill" in series else None,
        token_ms=1000 * decode / (calls - 1) if decode is not None and calls > 1 else None,
        tokens_fed=series.get("tokens_fed"),
        peak_mib=round(peak / (1 << 20)) if peak else None,
    )


def _name(record: VariantRecord) -> str:
    return " ".join(value for axis, value in record.variant.items() if axis not in {"device", "dtype", "aspect"})


def _versions(record: VariantRecord) -> str:
    versions = record.cell.packages
    return f"peft {versions.get('peft')}, transformers {versions.get('transformers')}"
