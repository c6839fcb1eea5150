"""What a record's latencies say (pure): own times, and the ratio of two arms with its interval."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness.latency.statistics import FEWEST_PAIRS, Ratio, ratio_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.contracts.record import VariantRecord


def own_times(series: Mapping[str, Any]) -> list[float]:
    """Return the samples of an arm in seconds, less the time in which another process had its core.

    Where that was not measured it is 0, and what is left is the wall time.
    """
    samples = series["samples_s"]
    # A clock of microseconds beside one of nanoseconds: what is left is never 0.
    return [max(s - w, 1e-7) for s, w in zip(samples, series.get("waited_s") or [0.0] * len(samples), strict=True)]


def arms_of(record: VariantRecord) -> dict[str, Mapping[str, Any]]:
    """Return the arms of a record that were timed and have their samples."""
    return {name: one for name, one in record.latency.items() if isinstance(one, dict) and one.get("samples_s")}


def cached_over_uncached(record: VariantRecord) -> Ratio | None:
    """Return the ratio of the arms ``cached`` and ``uncached``; None where either was not timed often enough.

    A record without its samples (a published one) brings the interval that it was published with.
    """
    arms = arms_of(record)
    if {"cached", "uncached"} <= arms.keys():
        cached, uncached = own_times(arms["cached"]), own_times(arms["uncached"])
        if len(cached) == len(uncached) >= FEWEST_PAIRS:
            return ratio_of(uncached, cached)
    known = record.latency.get("interval")
    return Ratio(**known) if known else None
