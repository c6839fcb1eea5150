"""The pytest plugin that turns ``check(trial)`` into records.

With requests (from the worker) it runs just these variants and hands every result to the
worker. Without one (plain ``pytest cases``) it runs all of them and lets pytest report.
"""

from __future__ import annotations

import gc
import os
import sys
import time
import warnings
from typing import TYPE_CHECKING, Any, cast

import pytest

from harness.cell.baseline import Baseline
from harness.cell.events import Result
from harness.contracts.job import Request
from harness.interface import Outcome, variant_id, with_defaults
from harness.kit.outcomes import NoDevice, Unsupported, classify, message, traceback_tail
from harness.kit.trial import Timing, Trial

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping
    from pathlib import Path


def variants_of(module: Any, device: str) -> list[dict[str, str]]:
    """List the variants that a case module declares, on one device."""
    return [with_defaults(variant, device) for axes in module.VARIANTS for variant in axes]


class CasePlugin:
    """Parametrise ``check`` and observe what becomes of each call."""

    def __init__(
        self,
        requests: Mapping[int, Request] | None = None,
        started: Callable[[int], None] | None = None,
        finished: Callable[[int, Result], None] | None = None,
        *,
        interrupts: bool = True,
        **trial: Any,
    ) -> None:
        """``requests`` are the variants to run (None: all); the callables hear of each by its index.

        ``interrupts`` says that a ``KeyboardInterrupt`` is a person's; otherwise the code under test has raised it.
        ``trial`` are arguments of every :class:`Trial`.
        """
        self._requests = requests
        self._started = started
        self._finished = finished
        self._trial = trial
        self._interrupts = interrupts
        self._imported = 0
        self._baseline: Baseline | None = None

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Parametrise ``check`` with the variants."""
        if "trial" not in metafunc.fixturenames:
            return
        case = metafunc.module.__name__.rpartition(".")[2]
        params: list[tuple[int | None, Request]]
        if self._requests is None:
            device = _device_here(metafunc.config.getoption("--device", "auto"))
            variants = variants_of(metafunc.module, device)
            params = [(None, Request(key="", case=case, document=None, variant=variant)) for variant in variants]
        else:
            params = [(index, request) for index, request in self._requests.items() if request.case == case]
        ids = [variant_id(request.variant) for _, request in params]
        metafunc.parametrize("trial", params, indirect=True, ids=ids)

    @pytest.fixture
    def trial(self, request: pytest.FixtureRequest, tmp_path: Path) -> Trial:
        """Make the trial for this call's variant."""
        if self._baseline is None:
            self._baseline = Baseline()
        self._baseline.restore()
        self._settle()
        asked = cast("Request", request.param[1])
        name = f"{request.module.__name__.rpartition('.')[2]}-{variant_id(asked.variant)}"
        timing = Timing(**asked.timing)
        return Trial(variant=dict(asked.variant), scratch=tmp_path, name=name, timing=timing, **self._trial)

    def _settle(self) -> None:
        """Take what was imported since the last time out of the way of the garbage collector.

        The Trainer collects several times a run, and went through every module's objects each time: 0.2 s.
        """
        if len(sys.modules) != self._imported:
            gc.collect()
            gc.freeze()
            self._imported = len(sys.modules)

    @pytest.hookimpl(wrapper=True)
    def pytest_pyfunc_call(self, pyfuncitem: pytest.Function) -> Generator[None, object, object]:
        """Time the check and report what became of it."""
        index, _ = cast("tuple[int, Request]", pyfuncitem.callspec.params["trial"])
        if self._started is not None:
            self._started(index)
        trial = cast("Trial", pyfuncitem.funcargs["trial"])
        begin = time.perf_counter()
        error: BaseException | None = None
        try:
            with warnings.catch_warnings():
                # What the packages under test warn about is not what is measured here.
                warnings.simplefilter("ignore")
                result = yield
        except BaseException as raised:
            if self._interrupts and isinstance(raised, KeyboardInterrupt):
                raise
            error, result = raised, True
        outcome, signature = (Outcome.PASSED, None) if error is None else classify(error)
        if self._finished is not None:
            if error is not None:
                trial.evidence.setdefault("traceback", traceback_tail(error))
            self._finished(
                index,
                Result(
                    outcome=outcome,
                    signature=signature,
                    message=None if error is None else message(error),
                    evidence=trial.evidence,
                    counters=trial.counters,
                    latency=trial.latency,
                    duration_s=round(time.perf_counter() - begin, 4),
                ),
            )
            return result
        if isinstance(error, Unsupported | NoDevice):
            pytest.skip(f"{outcome}: {message(error)}")
        if error is not None:
            raise error
        return result


def _device_here(wanted: str) -> str:
    if wanted != "auto":
        return wanted
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def one_thread() -> None:
    """Compute on one thread, as cells do, unless ``OMP_NUM_THREADS`` says otherwise; call it before torch is imported.

    Tiny models gain nothing from more, and beside another busy process two threads that wait for each other took seven
    times as long.
    """
    os.environ.setdefault("OMP_NUM_THREADS", "1")


def quiet_environment() -> None:
    """Keep the packages under test off the network and out of the log."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("WANDB_DISABLED", "true")
    os.environ.setdefault("USE_TF", "0")
    os.environ.setdefault("USE_FLAX", "0")
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
