"""Time the arms of a comparison, interleaved, through pytest-benchmark."""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Any

from harness.cell.counters import ForwardCounter
from harness.cell.oracles import greedy_by_generate
from harness.cell.phases import PhaseClock, Phases, peak_memory
from harness.cell.turns import Over, Turns

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    import torch

    from harness.cell.trial import Timing

    Arm = Callable[[], object]

_MOST = 1_000_000
_WARM_UPS = 3


@dataclass(frozen=True, kw_only=True)
class _Turn:
    """One call to be timed: which arm, under which label, slowed by which share of its own time."""

    arm: str
    label: str
    plant: float = 0.0


_Taken = tuple[_Turn, float, Phases]
"""A turn, its wall time in seconds, and its parts."""


def generating_arms(
    model: Any, ids: torch.Tensor, mask: torch.Tensor, *, new_tokens: int, **inputs: Any
) -> dict[str, Arm]:
    """Give the arms ``cached`` and ``uncached``: greedy ``generate`` of exactly ``new_tokens`` tokens."""

    def arm(*, use_cache: bool) -> Arm:
        options = {"min_new_tokens": new_tokens, "use_cache": use_cache, **inputs}
        return lambda: greedy_by_generate(model, ids, mask, new_tokens=new_tokens, **options)

    return {"cached": arm(use_cache=True), "uncached": arm(use_cache=False)}


def interleave(
    benchmark: Any, arms: Mapping[str, Arm], *, model: Any, device: torch.device, timing: Timing
) -> dict[str, Any]:
    """Time arms in turn and give their samples and medians, in seconds.

    One pytest-benchmark run times all of it: ``setup`` picks the arm of each round, so a slow moment of the machine
    falls on all. The collector of garbage is off in each timed call (``--benchmark-disable-gc``), and CUDA kernels
    are waited for in it. ``model`` is the base model, whose forwards tell prefill from decode. The result maps each arm
    to ``samples_s``, wall times; ``waited_s``, the part of each that was spent on the run queue; and ``median_s`` of
    what is left; to ``prefill`` and ``decode`` of what is left; to exact counts and its peak memory. ``ratio`` is the
    first arm's median over the second's. An arm that cannot run at all is left out, and the result says why under
    ``not_timed``.
    """
    about: dict[str, dict[str, Any]] = {}
    result: dict[str, Any] = {}
    for name, arm in arms.items():
        try:
            with ForwardCounter(model) as counter:
                peak = peak_memory(arm, device)
        except Exception as error:  # noqa: BLE001 - an arm that fails is a variant of its own, with its own outcome
            result["not_timed"] = f"{name}: {type(error).__name__}: {str(error)[:200]}"
            continue
        fed = counter.summary()
        about[name] = {"forward_calls": fed["forward_calls"], "tokens_fed": fed["tokens_fed"], "peak": peak}
    arms = {name: arm for name, arm in arms.items() if name in about}
    if not arms:
        return result
    with PhaseClock(model, device) as clock, ExitStack() as stack:
        if timing.turns:
            hello = {"name": timing.name, "call_s": {name: _warm(clock, arm) for name, arm in arms.items()}}
            turns = _given(stack.enter_context(Turns(timing.turns, hello)))
        else:
            turns = _in_order(list(arms), timing.pairs)
        clock.phases.clear()
        taken = _run(benchmark, arms, turns, clock)
    if taken is None:
        return {"not_timed": "pytest-benchmark is disabled"}
    for label in dict.fromkeys(turn.label for turn, *_ in taken):
        mine = [one for one in taken if one[0].label == label]
        # Without the time on the run queue, which is the machine's and not the code's.
        own = [(seconds - phases.waited_s, phases.prefill_s) for _, seconds, phases in mine]
        result[label] = {
            "samples_s": [round(seconds, 7) for _, seconds, _ in mine],
            "waited_s": [round(phases.waited_s, 7) for _, _, phases in mine],
            "median_s": median(total for total, _ in own),
            **about[mine[0][0].arm],
        }
        split = [(prefill, total - prefill) for total, prefill in own if prefill is not None]
        if split:
            result[label] |= {"prefill": _series([p for p, _ in split]), "decode": _series([d for _, d in split])}
    if len(arms) > 1 and all(name in result for name in arms):
        first, second = list(arms)[:2]
        result["ratio"] = round(result[first]["median_s"] / result[second]["median_s"], 4)
    return result


def time_in_turn(
    benchmark: Any, calls: Mapping[str, Arm], order: Sequence[str], *, device: torch.device
) -> dict[str, dict[str, list[float]]]:
    """Time calls in an order, which names them; gives ``samples_s`` and ``waited_s`` of each, in seconds."""
    with PhaseClock(None, device) as clock:
        taken = _run(benchmark, calls, (_Turn(arm=name, label=name) for name in order), clock) or []
    series: dict[str, dict[str, list[float]]] = {}
    for turn, seconds, phases in taken:
        mine = series.setdefault(turn.label, {"samples_s": [], "waited_s": []})
        mine["samples_s"].append(round(seconds, 7))
        mine["waited_s"].append(round(phases.waited_s, 7))
    return series


def _run(benchmark: Any, arms: Mapping[str, Arm], turns: Iterator[_Turn], clock: PhaseClock) -> list[_Taken] | None:
    """Let pytest-benchmark time turns until they are over; gives them with their seconds, None where it is disabled."""
    taken: list[_Turn] = []

    def pick() -> tuple[tuple[_Turn], dict[str, object]]:
        taken.append(next(turns))
        return (taken[-1],), {}

    def timed(turn: _Turn) -> None:
        clock.call(arms[turn.arm], plant=turn.plant)

    try:
        benchmark.pedantic(timed, setup=pick, rounds=_MOST, iterations=1, warmup_rounds=0)
    except (StopIteration, Over):
        # The end of a series whose length nobody knew before is no error of the benchmark.
        benchmark.has_error = False
    if benchmark.stats is None:
        return None
    seconds = benchmark.stats.stats.data
    result = list(zip(taken, seconds, clock.phases, strict=True))
    _one_benchmark_an_arm(benchmark, result)
    return result


def _one_benchmark_an_arm(benchmark: Any, taken: list[_Taken]) -> None:
    """Give each arm a line of its own in pytest-benchmark's files, so that its ``compare`` holds like to like."""
    labels = list(dict.fromkeys(turn.label for turn, *_ in taken))
    benchmark.extra_info["order"] = [turn.label for turn, *_ in taken]
    lines = [benchmark.stats]
    # The fixture makes one line itself, and in this way.
    lines += [benchmark._make_stats(1) for _ in labels[1:]]  # noqa: SLF001
    for label, line in zip(labels, lines, strict=False):
        line.name, line.fullname = f"{line.name}-{label}", f"{line.fullname}-{label}"
        line.stats.data = [seconds for turn, seconds, _ in taken if turn.label == label]
    if not taken:
        # A line without samples cannot be written.
        benchmark.has_error = True


def _in_order(names: list[str], pairs: int) -> Iterator[_Turn]:
    for index in range(pairs):
        for name in names if index % 2 == 0 else reversed(names):
            yield _Turn(arm=name, label=name)


def _given(turns: Turns) -> Iterator[_Turn]:
    while True:
        turn = turns.wait()
        yield _Turn(arm=turn["arm"], label=turn["label"], plant=turn["plant"])


def _warm(clock: PhaseClock, arm: Arm) -> float:
    seconds = []
    for _ in range(_WARM_UPS):
        begin = time.perf_counter()
        clock.call(arm)
        seconds.append(time.perf_counter() - begin)
    return median(seconds)


def _series(samples: list[float]) -> dict[str, Any]:
    return {"samples_s": [round(one, 7) for one in samples], "median_s": median(samples)}
