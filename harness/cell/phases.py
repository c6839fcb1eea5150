"""Where the time of one ``generate`` goes: to the first token (prefill), or to the others (decode)."""

from __future__ import annotations

import contextlib
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import torch

if TYPE_CHECKING:
    from collections.abc import Callable

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
        """Give the seconds so far; always 0 where the system does not say."""
        return int(os.pread(self._file, 96, 0).split()[1]) / 1e9 if self._file >= 0 else 0.0

    def close(self) -> None:
        """Let go of the file."""
        if self._file >= 0:
            os.close(self._file)


def peak_memory(call: Callable[[], object], device: torch.device) -> dict[str, int]:
    """Run ``call`` and give its peak memory in bytes: the process's resident size, and the device's on CUDA.

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
