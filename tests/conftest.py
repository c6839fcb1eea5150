"""What tests with a real environment share."""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, settings

from harness.environments.build import Environment, build
from harness.environments.resolve import Lock, resolve
from harness.matrix.spec import Cell

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
