"""Plain ``pytest cases``: every case in the environment that is active now."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.cell.plugin import CasePlugin, one_thread, quiet_environment

if TYPE_CHECKING:
    import pytest

quiet_environment()
one_thread()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--device``."""
    parser.addoption("--device", default="auto", choices=("cpu", "cuda", "auto"), help="where to run (default: auto)")


def pytest_configure(config: pytest.Config) -> None:
    """Register the plugin, unless a worker brought its own."""
    if not any(isinstance(plugin, CasePlugin) for plugin in config.pluginmanager.get_plugins()):
        config.pluginmanager.register(CasePlugin(), "cases")
