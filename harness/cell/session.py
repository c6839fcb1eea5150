"""One pytest session over the variants of a job, in a process that may import peft."""

from __future__ import annotations

import contextlib
import gc
import importlib
import importlib.metadata
import io
import os
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest

from harness.cell.plugin import CasePlugin
from harness.interface import Outcome
from harness.kit.models import use_weights
from harness.kit.outcomes import message
from harness.packages import PACKAGES

if TYPE_CHECKING:
    from collections.abc import Callable, Generator


class JobPlugin(CasePlugin):
    """The case plugin that also tells of what went wrong before a check: at import, or in setting up a variant."""

    def __init__(self, variants: list[dict[str, Any]], tell: Callable[[dict[str, Any]], None], **settings: Any) -> None:
        """``tell`` takes the events that the worker understands."""
        super().__init__(
            variants,
            started=lambda index: tell({"started": index}),
            finished=lambda index, result: tell({"finished": index, "result": result}),
            **settings,
        )
        self._tell = tell

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Make records of a failed import of a case file."""
        if report.failed:
            lines = [line for line in str(report.longrepr).splitlines() if line.strip()]
            result = {"outcome": str(Outcome.ERROR), "signature": lines[-1], "message": f"the case file: {lines[-1]}"}
            self._tell({"collect": Path(report.nodeid).stem, "result": result})

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Function, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Make a record of a variant whose trial could not be set up: it was not measured."""
        report = yield
        if call.when == "setup" and call.excinfo is not None:
            index, *_ = cast("tuple[int, Any, Any]", item.callspec.params["trial"])
            words = f"the trial could not be set up: {message(call.excinfo.value)}"
            self._tell({"finished": index, "result": {"outcome": str(Outcome.NOT_RUN), "message": words}})
        return report


def prepare(job: dict[str, Any], entry: dict[str, Any], tell: Callable[[dict[str, Any]], None]) -> bool:
    """Import peft and tell what was really imported, or what refused; return whether variants can run.

    Touches no device: CUDA cannot be used in the forks of a process that has.
    """
    try:
        imported = verify_imports(entry["cell"]["packages"])
    except (Exception, SystemExit) as error:  # noqa: BLE001 - a cell that cannot be imported is a result
        traceback.print_exc()
        tell({"refused": message(error)})
        return False
    use_weights(job.get("weights", {}))
    # What is imported by now stays: without this each collection would go through all of it.
    gc.freeze()
    tell({"ready": imported})
    return True


def run_variants(
    job: dict[str, Any],
    entry: dict[str, Any],
    variants: list[dict[str, Any]],
    tell: Callable[[dict[str, Any]], None],
    *,
    attended: bool = False,
) -> int:
    """Run variants under pytest, in a process that is prepared; return 0, or pytest's status when it could not go on.

    ``attended`` is for a person at a terminal: pytest's own output is dropped, because the caller prints what it is
    told, and Ctrl-C ends the session.
    """
    tell({"device": device_facts(job["device"])})
    root = Path(job["root"])
    # Plugins are named below: what else is installed in a cell must not load itself.
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    files = sorted({str(root / "cases" / f"{one['case']}.py") for one in variants})
    arguments = [*files, "-q", "-p", "pytest_benchmark.plugin", "-c", str(root / "cases" / "pytest.ini")]
    arguments += [f"--rootdir={root / 'cases'}", f"--basetemp={entry['scratch']}", "--tb=short"]
    arguments += ["--continue-on-collection-errors", f"--benchmark-json={entry['benchmarks']}"]
    with contextlib.ExitStack() as redirections:
        if attended:
            redirections.enter_context(contextlib.redirect_stdout(io.StringIO()))
            redirections.enter_context(contextlib.redirect_stderr(io.StringIO()))
        plugin = JobPlugin(variants, tell, interrupts=attended, **trial_settings(job, entry))
        status = pytest.main(arguments, plugins=[plugin])
    return int(status) if status in {pytest.ExitCode.INTERRUPTED, pytest.ExitCode.INTERNAL_ERROR} else 0


def trial_settings(job: dict[str, Any], entry: dict[str, Any]) -> dict[str, Any]:
    """Return the settings that a job gives to all its trials, as arguments of :class:`Trial`."""
    settings: dict[str, Any] = {"timed": job.get("timed", True)}
    if job.get("examples") is not None:
        settings["examples"] = job["examples"]
    if "memory" in job:
        settings["memory"] = Path(job["memory"]) / entry["cell"]["id"]
    if "told" in job:
        settings["told"] = Path(job["told"])
    return settings


def verify_imports(planned: dict[str, str]) -> dict[str, str]:
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


def device_facts(device: str) -> dict[str, Any]:
    """Describe the GPU that the variants will run on; empty on CPU or without one."""
    torch = importlib.import_module("torch")
    if device == "cpu" or not torch.cuda.is_available():
        return {}
    return {"gpu": torch.cuda.get_device_name(0), "gpus": torch.cuda.device_count(), "cuda": torch.version.cuda}
