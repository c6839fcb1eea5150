"""Cost by length: exact counts and times of ``generate`` along two axes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from harness.cell.counters import ForwardCounter
from harness.cell.latency import generating_arms, time_in_turn

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import torch

    Lengths = Sequence[tuple[int, int]]

_SHORT = 64
_PAIRS, _PAIRS_OF_LONG = 4, 2


@dataclass(kw_only=True)
class Growth:
    """What goes into a record: ``growth`` lists a point for each axis, length and arm."""

    counters: dict[str, Any] = field(default_factory=dict)
    latency: dict[str, Any] = field(default_factory=dict)


def grow(
    benchmark: Any,
    model_with: Callable[[int], Any],
    inputs: tuple[torch.Tensor, torch.Tensor],
    *,
    device: torch.device,
    new_tokens: Lengths,
    virtual_tokens: Lengths,
    timed: bool,
) -> Growth:
    """Count, and time, both arms at each length; lengths are pairs of new tokens and virtual tokens.

    ``model_with`` makes the model for a number of virtual tokens; ``inputs`` are ids and mask, ``(1, length)``.
    """
    points: list[dict[str, Any]] = []
    calls: dict[str, Callable[[], object]] = {}
    order: list[str] = []
    per_call: list[int] = []
    for axis, lengths in (("new_tokens", new_tokens), ("virtual_tokens", virtual_tokens)):
        for new, virtual in lengths:
            model = model_with(virtual)
            arms = generating_arms(model, *inputs, new_tokens=new)
            for name, arm in arms.items():
                with ForwardCounter(model.get_base_model(), use_cache=name == "cached") as counter:
                    arm()
                summary = counter.summary()
                if name == "cached" and len(summary["tokens_per_call"]) > len(per_call):
                    per_call = summary["tokens_per_call"]
                point = {"axis": axis, "arm": name, "new_tokens": new, "virtual_tokens": virtual}
                points.append({**point, **{key: summary[key] for key in ("forward_calls", "tokens_fed")}})
                calls[f"{name} {axis} {new} {virtual}"] = arm
            both = [f"{name} {axis} {new} {virtual}" for name in arms]
            for index in range(_PAIRS if new <= _SHORT else _PAIRS_OF_LONG):
                order.extend(both if index % 2 == 0 else both[::-1])
    # The longest cached answer stands for the record: a lost cache shows there as everywhere else.
    counters = {"use_cache": True, "tokens_per_call": per_call, "growth": points}
    if not timed:
        return Growth(counters=counters)
    samples = time_in_turn(benchmark, calls, order, device=device)
    timed_points = [
        {**{key: point[key] for key in ("axis", "arm", "new_tokens", "virtual_tokens")}, **samples[label]}
        for point, label in zip(points, calls, strict=True)
        if label in samples
    ]
    return Growth(counters=counters, latency={"growth": timed_points})
