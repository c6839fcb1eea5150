"""Carry pip's idea of where packages come from over to uv, which does not read it.

A mirror or a wheel folder that works for pip then works here too. Documented at
https://docs.astral.sh/uv/pip/compatibility/ (uv ignores pip.conf and ``PIP_*`` on purpose).
"""

from __future__ import annotations

import ast
import importlib.util
import os
import shutil
import subprocess
import sys
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_SETTINGS = {
    "find-links": "UV_FIND_LINKS",
    "index-url": "UV_DEFAULT_INDEX",
    "extra-index-url": "UV_INDEX",
    "cert": "SSL_CERT_FILE",
}
CARRIED = "PROMPT_BENCH_INDEX"
"""Is ``carried`` in an environment that has pip's settings under uv's names: asking pip takes half a second."""

_LISTS_WITH_COMMAS = {"UV_FIND_LINKS"}
_UNWANTED = ("PYTHONDONTWRITEBYTECODE", "PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP", "VIRTUAL_ENV")


def clean_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Copy an environment without what would leak from the caller's Python into a cell.

    ``PYTHONDONTWRITEBYTECODE`` alone makes every import of torch and transformers three times
    slower; ``PYTHONPATH`` would put other code in front of the packages under test. ``PYTEST_*`` are another pytest's:
    options that a cell's would take for its own, or a worker's name, with which pytest-benchmark times nothing.
    """
    return {name: value for name, value in environ.items() if name not in _UNWANTED and not name.startswith("PYTEST_")}


def uv_environment(environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment for a uv command: cleaned, with pip's settings under uv's names.

    What is already set under uv's own name wins.
    """
    result = clean_environment(os.environ if environ is None else environ)
    if result.get(CARRIED) != "carried":
        for name, value in translate(pip_settings()).items():
            result.setdefault(name, value)
    result.setdefault("UV_PYTHON_DOWNLOADS", "never")
    result["UV_NO_PROGRESS"] = "1"
    return result


def translate(settings: Mapping[str, str]) -> dict[str, str]:
    """Turn pip's settings (``{"find-links": "a b"}``) into uv's variables.

    pip looks at all its indexes as one, so with more than one uv is told to do the same.
    """
    result = {}
    for ours, theirs in _SETTINGS.items():
        if value := " ".join(settings.get(ours, "").split()):
            result[theirs] = value.replace(" ", ",") if theirs in _LISTS_WITH_COMMAS else value
    if "UV_INDEX" in result:
        result["UV_INDEX_STRATEGY"] = "unsafe-best-match"
    return result


@cache
def pip_settings() -> dict[str, str]:
    """Ask pip for its settings: files first, then ``PIP_*`` variables over them.

    Without a pip in this interpreter or on PATH only the variables count.
    """
    command = [sys.executable, "-m", "pip"] if importlib.util.find_spec("pip") else [shutil.which("pip") or ""]
    text = ""
    if command[0]:
        asked = subprocess.run([*command, "config", "list"], capture_output=True, text=True, check=False)  # noqa: S603
        text = asked.stdout if asked.returncode == 0 else ""
    variables = "\n".join(
        f":env:.{name[4:].lower().replace('_', '-')}={value!r}"
        for name, value in os.environ.items()
        if name.startswith("PIP_")
    )
    return parse_pip_config(f"{text}\n{variables}")


def parse_pip_config(text: str) -> dict[str, str]:
    """Read ``pip config list``: ``global.*``, then ``install.*``, then ``:env:.*``, the last one winning."""
    layers: dict[str, dict[str, str]] = {"global": {}, "install": {}, ":env:": {}}
    for line in text.splitlines():
        name, equals, value = line.partition("=")
        section, _, key = name.rpartition(".")
        if equals and section in layers:
            layers[section][key] = str(ast.literal_eval(value))
    return layers["global"] | layers["install"] | layers[":env:"]
