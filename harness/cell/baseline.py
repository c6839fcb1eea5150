"""What a process has only one of: put back before each variant, so that none begins in what an earlier one left.

Attributes that a case patches are not among it. They stay until the process ends, which is with the case file.
"""

from __future__ import annotations

import os
import random
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

_SEED = 0


class Baseline:
    """The state of this process when the object was made: folder, environment, torch's switches."""

    def __init__(self) -> None:
        """Take the state as it is. Imports torch."""
        self._folder = Path.cwd()
        self._environ = dict(os.environ)
        self._switches = [(value, put_back, value()) for value, put_back in _switches()]

    def restore(self) -> None:
        """Put it back, and seed the random numbers of Python, numpy and torch, on whatever devices are in use."""
        os.chdir(self._folder)
        if os.environ != self._environ:
            for name in set(os.environ) - set(self._environ):
                del os.environ[name]
            os.environ.update(self._environ)
        # A process begins with random numbers of its own; a fixed seed repeats in the next run, too.
        random.seed(_SEED)
        sys.modules["torch"].manual_seed(_SEED)
        if numpy := sys.modules.get("numpy"):
            numpy.random.seed(_SEED)
        for value, put_back, before in self._switches:
            # Setting is not free of effects: use_deterministic_algorithms imports torch._inductor.
            if value() != before:
                put_back(before)


def _switches() -> list[tuple[Callable[[], Any], Callable[[Any], Any]]]:
    """Pair the question for each of torch's global settings with what sets it. Touches no device."""
    import torch

    def deterministic() -> tuple[bool, bool]:
        return torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()

    def set_deterministic(value: tuple[bool, bool]) -> None:
        torch.use_deterministic_algorithms(value[0], warn_only=value[1])

    def cudnn() -> tuple[bool, bool]:
        return torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic

    def set_cudnn(value: tuple[bool, bool]) -> None:
        torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic = value

    return [
        (torch.get_default_dtype, torch.set_default_dtype),
        (torch.is_grad_enabled, torch.set_grad_enabled),
        (torch.is_anomaly_enabled, torch.autograd.set_detect_anomaly),
        (torch.get_num_threads, torch.set_num_threads),
        (torch.get_float32_matmul_precision, torch.set_float32_matmul_precision),
        (deterministic, set_deterministic),
        (cudnn, set_cudnn),
    ]
