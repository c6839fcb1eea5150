"""The numbers of a record that are computed with: their shape, checked where records are read.

``latency`` and ``counters`` hold whatever a case writes; of these names the reports and statistics take numbers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping

_Seconds = Annotated[float, msgspec.Meta(ge=0, le=1e9)]
_Count = Annotated[int, msgspec.Meta(ge=0, le=1 << 62)]
_Length = Annotated[int, msgspec.Meta(ge=1, le=1 << 62)]
_Samples = Annotated[list[_Seconds], msgspec.Meta(min_length=1)]


class _Peak(msgspec.Struct):
    host_bytes: _Count | None = None


class _Part(msgspec.Struct):
    median_s: _Seconds


class _Arm(msgspec.Struct):
    """One way of calling that was timed. A published record has the median of its samples, and not the samples."""

    samples_s: list[_Seconds] = []
    waited_s: list[_Seconds] | None = None
    median_s: _Seconds | None = None
    forward_calls: _Count | None = None
    tokens_fed: _Count | None = None
    peak: _Peak | None = None
    prefill: _Part | msgspec.UnsetType = msgspec.UNSET
    decode: _Part | msgspec.UnsetType = msgspec.UNSET

    def __post_init__(self) -> None:
        _refuse_unpaired(self.samples_s, self.waited_s)


class _Point(msgspec.Struct):
    """One length of one arm, whose tokens were counted."""

    axis: str
    arm: str
    new_tokens: _Length
    virtual_tokens: _Length
    tokens_fed: _Length


class _TimedPoint(msgspec.Struct):
    axis: str
    arm: str
    new_tokens: _Length
    virtual_tokens: _Length
    samples_s: _Samples | msgspec.UnsetType = msgspec.UNSET
    waited_s: list[_Seconds] | None = None

    def __post_init__(self) -> None:
        if self.samples_s is not msgspec.UNSET:
            _refuse_unpaired(self.samples_s, self.waited_s)


class _Interval(msgspec.Struct, forbid_unknown_fields=True):
    estimate: float
    low: float
    high: float
    pairs: int


class _Counters(msgspec.Struct):
    use_cache: bool | None = None
    tokens_per_call: list[_Count] | None = None
    growth: list[_Point] | None = None


def check_numbers(latency: Mapping[str, Any], counters: Mapping[str, Any]) -> None:
    """Raise ``ValueError`` with the path of the first number that is none, or is out of its range."""
    _check(_Counters, counters, "$.counters")
    for name, value in latency.items():
        match name, value:
            case "growth", _:
                _check(list[_TimedPoint] | None, value, "$.latency.growth")
            case "interval", _:
                _check(_Interval | None, value, "$.latency.interval")
            case _, dict():
                _check(_Arm, value, f"$.latency.{name}")


def _check(kind: Any, value: Any, path: str) -> None:
    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        message = f"{error} (below `{path}`)"
        raise ValueError(message) from None


def _refuse_unpaired(samples: list[float], waited: list[float] | None) -> None:
    if waited and len(waited) != len(samples):
        message = f"{len(waited)} times of waiting beside {len(samples)} samples"
        raise ValueError(message)
