"""Time the arms of a comparison, interleaved, through pytest-benchmark."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

ROUNDS = 4
"""Blocks of A-B-B-A; each gives two samples an arm."""


def interleave(
    benchmark: Any, arms: Mapping[str, Callable[[], object]], *, device: torch.device, rounds: int = ROUNDS
) -> dict[str, Any]:
    """Time two arms in the order A-B-B-A and give their samples and medians, in seconds.

    One pytest-benchmark run times all of it: ``setup`` picks the arm of each round, so a slow
    moment of the machine falls on both. CUDA kernels are waited for inside the timed call. The
    result maps each arm to ``{"samples_s": [...], "median_s": float}``, and ``ratio`` is the
    first arm's median over the second's. Where an arm cannot run at all nothing is timed, and
    the result says why under ``not_timed``.
    """
    first, second = arms
    order = [first, second, second, first] * rounds

    def pick() -> tuple[tuple[Callable[[], object]], dict[str, object]]:
        return (arms[next(turn)],), {}

    def timed(arm: Callable[[], object]) -> None:
        arm()
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    for name, arm in arms.items():
        try:
            timed(arm)
        except Exception as error:  # noqa: BLE001 - an arm that fails is a variant of its own, with its own outcome
            return {"not_timed": f"{name}: {type(error).__name__}: {str(error)[:200]}"}
    turn = iter(order)
    benchmark.pedantic(timed, setup=pick, rounds=len(order), iterations=1, warmup_rounds=0)
    if benchmark.stats is None:
        return {"not_timed": "pytest-benchmark is disabled"}
    samples: dict[str, list[float]] = {first: [], second: []}
    for arm_name, seconds in zip(order, benchmark.stats.stats.data, strict=True):
        samples[arm_name].append(round(seconds, 7))
    result: dict[str, Any] = {
        name: {"samples_s": values, "median_s": median(values)} for name, values in samples.items()
    }
    result["ratio"] = round(result[first]["median_s"] / result[second]["median_s"], 4)
    benchmark.extra_info["order"] = order
    return result
