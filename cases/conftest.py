"""Plain ``pytest cases``: every case in the environment that is active now."""

from __future__ import annotations

from harness.cell.plugin import CasePlugin, one_thread, quiet_environment

quiet_environment()
one_thread()


def pytest_addoption(parser):
    """Add ``--device``."""
    parser.addoption("--device", default="auto", choices=("cpu", "cuda", "auto"), help="where to run (default: auto)")


def pytest_configure(config):
    """Register the plugin, unless a worker brought its own."""
    if not any(isinstance(plugin, CasePlugin) for plugin in config.pluginmanager.get_plugins()):
        config.pluginmanager.register(CasePlugin(), "cases")
