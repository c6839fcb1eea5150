"""Time the arms of a comparison, interleaved, through pytest-benchmark."""

from __future__ import annotations

import contextlib
import os
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, Self

import torch

from harness.kit.counters import ForwardCounter
from harness.kit.oracles import greedy_by_generate
from harness.kit.turns import Over, Turns

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from harness.kit.trial import Timing

    Arm = Callable[[], object]
    Lengths = Sequence[tuple[int, int]]


_MOST = 1_000_000
_WARM_UPS = 3


@dataclass(frozen=True, kw_only=True)
class _Turn:
    """One call to be timed: which arm, under which label, slowed by which share of its own time."""

    arm: str
    label: str
    plant: float = 0.0


_Taken = tuple[_Turn, float, "Phases"]
"""A turn, its wall time in seconds, and its parts."""


def generating_arms(
    model: Any, ids: torch.Tensor, mask: torch.Tensor, *, new_tokens: int, **inputs: Any
) -> dict[str, Arm]:
    """Return the arms ``cached`` and ``uncached``: greedy ``generate`` of exactly ``new_tokens`` tokens."""

    def arm(*, use_cache: bool) -> Arm:
        options = {"min_new_tokens": new_tokens, "use_cache": use_cache, **inputs}
        return lambda: greedy_by_generate(model, ids, mask, new_tokens=new_tokens, **options)

    return {"cached": arm(use_cache=True), "uncached": arm(use_cache=False)}


def interleave(
    benchmark: Any, arms: Mapping[str, Arm], *, model: Any, device: torch.device, timing: Timing
) -> dict[str, Any]:
    """Time arms in turn and return their samples and medians, in seconds.

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
    """Time calls in the given order of names; return ``samples_s`` and ``waited_s`` of each, in seconds."""
    with PhaseClock(None, device) as clock:
        taken = _run(benchmark, calls, (_Turn(arm=name, label=name) for name in order), clock) or []
    series: dict[str, dict[str, list[float]]] = {}
    for turn, seconds, phases in taken:
        mine = series.setdefault(turn.label, {"samples_s": [], "waited_s": []})
        mine["samples_s"].append(round(seconds, 7))
        mine["waited_s"].append(round(phases.waited_s, 7))
    return series


def _run(benchmark: Any, arms: Mapping[str, Arm], turns: Iterator[_Turn], clock: PhaseClock) -> list[_Taken] | None:
    """Let pytest-benchmark time turns until they end; return them with their seconds, None where it is disabled."""
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
    """Add a line for each arm in pytest-benchmark's files, so that its ``compare`` holds like to like."""
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


_RESET_PEAK = "5"
"""Written to /proc/self/clear_refs: the highest resident size counts from now on (Linux, proc(5))."""


@dataclass(frozen=True, kw_only=True)
class Phases:
    """One call, in seconds. ``prefill_s`` is None when there was no second forward.

    ``waited_s`` is how long the thread was ready to run and another one had the core: the machine's part of the wall
    time, not the code's. 0 where the system does not say.
    """

    waited_s: float
    prefill_s: float | None


class PhaseClock:
    """Splits each timed call at the model's second forward: what is before it gave the first token.

    A context manager around calls of ``model``'s generate. :meth:`call` runs one; ``phases`` then has one entry more.
    On CUDA the split is between events on the stream, and :meth:`call` returns only after the kernels have ended.
    """

    def __init__(self, model: Any, device: torch.device) -> None:
        """Observe ``model``, the base model inside a PEFT model, from when the context is entered; None: no phases."""
        self._model, self._cuda = model, device if device.type == "cuda" else None
        self._forwards = 0
        self._split: Any = None
        self.phases: list[Phases] = []

    def __enter__(self) -> Self:
        """Attach to the model's forward."""
        self._hook = self._model.register_forward_pre_hook(self._observe) if self._model else None
        self._queue = RunQueue()
        return self

    def __exit__(self, *_: object) -> None:
        """Detach."""
        if self._hook is not None:
            self._hook.remove()
        self._queue.close()

    def call(self, arm: Callable[[], object], *, plant: float = 0.0) -> None:
        """Run one call and wait for its kernels; then keep the core busy for the share ``plant`` of what it took.

        A share of its own time, as slower code would.
        """
        self._forwards, self._split = 0, None
        queued, start, begin = self._queue.waited_s(), self._own_s(), self._now()
        arm()
        if self._cuda is not None:
            torch.cuda.synchronize(self._cuda)
        if plant:
            end = self._own_s()
            while self._own_s() < end + plant * (end - start):
                pass
        waited = self._queue.waited_s() - queued
        prefill = None
        if self._split is not None:
            prefill = self._split - begin if self._cuda is None else begin.elapsed_time(self._split) / 1000
        self.phases.append(Phases(waited_s=waited, prefill_s=prefill))

    def _observe(self, *_: object) -> None:
        self._forwards += 1
        if self._forwards == 2:  # noqa: PLR2004 - the second forward is fed the first new token
            self._split = self._now()

    def _own_s(self) -> float:
        return time.perf_counter() - self._queue.waited_s()

    def _now(self) -> Any:
        if self._cuda is None:
            return self._own_s()
        event = torch.cuda.Event(enable_timing=True)
        event.record(torch.cuda.current_stream(self._cuda))
        return event


class RunQueue:
    """How long this thread has been ready to run while another had its core (Linux, sched-stats.rst).

    Sleeping and waiting for a disk or a lock do not count: that is the code's own time.
    """

    def __init__(self) -> None:
        """Open this thread's statistics, where there are any."""
        self._file = -1
        with contextlib.suppress(OSError):
            self._file = os.open("/proc/thread-self/schedstat", os.O_RDONLY | os.O_CLOEXEC)

    def waited_s(self) -> float:
        """Return the seconds so far; always 0 where the system does not say."""
        return int(os.pread(self._file, 96, 0).split()[1]) / 1e9 if self._file >= 0 else 0.0

    def close(self) -> None:
        """Close the file."""
        if self._file >= 0:
            os.close(self._file)


def peak_memory(call: Callable[[], object], device: torch.device) -> dict[str, int]:
    """Run ``call`` and return its peak memory in bytes: the process's resident size, and the device's on CUDA.

    The resident size is the whole process's, torch included. Where the kernel does not say it is left out.
    """
    resettable = False
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text(_RESET_PEAK, encoding="ascii")
        resettable = True
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    call()
    peak = {}
    if resettable and (resident := _highest_resident()) is not None:
        peak["host_bytes"] = resident
    if device.type == "cuda":
        peak["device_bytes"] = int(torch.cuda.max_memory_allocated(device))
    return peak


def _highest_resident() -> int | None:
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return None


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
