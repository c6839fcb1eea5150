"""One pytest session over the variants of a job, in a process that may import peft."""

from __future__ import annotations

import gc
import importlib
import importlib.metadata
import os
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest

from harness.cell.events import CollectFailed, Device, Event, Finished, Ready, Refused, Result, Started
from harness.cell.plugin import CasePlugin
from harness.interface import Outcome
from harness.kit.models import use_weights
from harness.kit.outcomes import message
from harness.packages import PACKAGES

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping

    from harness.contracts.job import CellJob, Job, Request, Settings
    from harness.contracts.record import CellFacts

    Tell = Callable[[Event], None]


class JobPlugin(CasePlugin):
    """The case plugin that also tells of what went wrong before a check: at import, or in setting up a variant."""

    def __init__(self, requests: Mapping[int, Request], tell: Tell, **trial: Any) -> None:
        """``tell`` takes the events that the worker understands; ``trial`` is as in :class:`CasePlugin`."""
        super().__init__(
            requests,
            started=lambda index: tell(Started(index)),
            finished=lambda index, result: tell(Finished(index, result)),
            interrupts=False,
            **trial,
        )
        self._tell = tell

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Make records of a failed import of a case file."""
        if report.failed:
            lines = [line for line in str(report.longrepr).splitlines() if line.strip()]
            result = Result(outcome=Outcome.ERROR, signature=lines[-1], message=f"the case file: {lines[-1]}")
            self._tell(CollectFailed(Path(report.nodeid).stem, result))

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Function, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Make a record of a variant whose trial could not be set up: it was not measured."""
        report = yield
        if call.when == "setup" and call.excinfo is not None:
            index, _ = cast("tuple[int, Request]", item.callspec.params["trial"])
            words = f"the trial could not be set up: {message(call.excinfo.value)}"
            self._tell(Finished(index, Result(outcome=Outcome.NOT_RUN, message=words)))
        return report


def prepare(settings: Settings, cell: CellFacts, tell: Tell) -> bool:
    """Import peft and tell what was really imported, or what refused; return whether variants can run.

    Touches no device: CUDA cannot be used in the forks of a process that has.
    """
    try:
        imported = verify_imports(cell.packages)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - a cell that cannot be imported is a result
        traceback.print_exc()
        tell(Refused(message(error)))
        return False
    use_weights(settings.weights)
    # What is imported by now stays: without this each collection would go through all of it.
    gc.freeze()
    tell(Ready(imported))
    return True


def run_variants(job: Job, entry: CellJob, requests: Mapping[int, Request], tell: Tell) -> int:
    """Run variants under pytest, in a process that is prepared; return 0, or pytest's status when it could not go on.

    ``requests`` are those of ``entry`` that are left, by their places in it.
    """
    if device := device_facts(job.settings.device):
        tell(device)
    cases = Path(job.root) / "cases"
    # Plugins are named below: what else is installed in a cell must not load itself.
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    files = sorted({str(cases / f"{request.case}.py") for request in requests.values()})
    arguments = [*files, "-q", "-p", "pytest_benchmark.plugin", "-c", str(cases / "pytest.ini")]
    arguments += [f"--rootdir={cases}", f"--basetemp={entry.scratch}", "--tb=short"]
    arguments += ["--continue-on-collection-errors", f"--benchmark-json={entry.benchmarks}"]
    plugin = JobPlugin(requests, tell, **trial_settings(job.settings, entry.cell.id))
    status = pytest.main(arguments, plugins=[plugin])
    return int(status) if status in {pytest.ExitCode.INTERRUPTED, pytest.ExitCode.INTERNAL_ERROR} else 0


def trial_settings(settings: Settings, cell_id: str) -> dict[str, Any]:
    """Return what a job says of all its trials, as arguments of :class:`Trial`; each cell has a memory of its own."""
    return {
        "timed": settings.timed,
        **({} if settings.examples is None else {"examples": settings.examples}),
        **({"memory": Path(settings.memory) / cell_id} if settings.memory else {}),
        **({"told": Path(settings.told)} if settings.told else {}),
    }


def verify_imports(planned: Mapping[str, str]) -> dict[str, str]:
    """Import peft and return the versions that are really active.

    Raises ``ImportError`` when one of them is not the planned one: a record under a wrong
    version would be worse than none.
    """
    importlib.import_module("peft")
    active = {}
    for name in PACKAGES:
        try:
            active[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    for name, version in active.items():
        if name in planned and version.partition("+")[0] != planned[name].partition("+")[0]:
            text = f"{name} {version} is active where {planned[name]} was planned"
            raise ImportError(text)
    return active


def device_facts(device: str) -> Device | None:
    """Return the GPUs that the variants will run on; None on CPU or without one."""
    torch = importlib.import_module("torch")
    if device == "cpu" or not torch.cuda.is_available():
        return None
    return Device(gpu=torch.cuda.get_device_name(0), gpus=torch.cuda.device_count(), cuda=torch.version.cuda)
