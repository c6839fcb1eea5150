"""What tests with a real environment share."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

import pytest
from click.testing import Result
from hypothesis import HealthCheck, settings

from harness.environments.build import Environment, build
from harness.environments.resolve import Lock, resolve
from harness.matrix.spec import Cell

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

# A busy machine draws examples slowly; that says nothing about what is tested.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")

OLD_CELL = Cell(python="3.11", pins={"peft": "0.13.0", "transformers": "4.45.1", "torch": "2.13.0"})


@pytest.fixture(scope="session", autouse=True)
def _no_caller() -> None:
    """Keep what a caller's nox run has set out of the commands that tests start."""
    for name in [name for name in os.environ if name.startswith("PROMPT_BENCH_") and name != "PROMPT_BENCH_CACHE"]:
        del os.environ[name]


@pytest.fixture(scope="session")
def old_environment() -> Environment:
    """Build (or find) the environment of a real old release."""
    lock = resolve(OLD_CELL)
    assert isinstance(lock, Lock)
    return build(lock, OLD_CELL.python)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(call: pytest.CallInfo[None]) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show with a failing test what the programs that it had started have printed."""
    report = yield
    if call.excinfo is not None and report.failed:
        # A set by the order: an exception and the frame that raised it may hold the same.
        report.sections += dict.fromkeys(one for one in outputs_of(call.excinfo) if one[1])
    return report


def outputs_of(failure: pytest.ExceptionInfo[BaseException]) -> Iterator[tuple[str, str]]:
    """Iterate over the outputs of programs that a failure, or a variable on the way to it, holds: title and text."""
    held = {id(value): value for entry in failure.traceback for value in entry.locals.values()}
    for value in [failure.value, *held.values()]:
        match value:
            case subprocess.CompletedProcess(args=command, stdout=output, stderr=errors):
                pass
            case subprocess.CalledProcessError(cmd=command, stdout=output, stderr=errors):
                pass
            case subprocess.TimeoutExpired(cmd=command, stdout=output, stderr=errors):
                pass
            case Result(output=output):
                command, errors = "the command", ""
            case _:
                continue
        yield f"output of {command}", as_text(output)
        yield f"errors of {command}", as_text(errors)


def as_text(output: str | bytes | None) -> str:
    """Return what a program has printed as text, nothing where it was not captured."""
    return output.decode(errors="replace") if isinstance(output, bytes) else output or ""
