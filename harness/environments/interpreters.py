"""The Pythons that cells need: found, or fetched as uv does by itself, before anything else is prepared."""

from __future__ import annotations

import os
import re
from functools import cache
from typing import TYPE_CHECKING

from harness.environments.index import uv_environment
from harness.environments.uv import run_uv
from harness.errors import EnvironmentFailure, MachineError

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterable

_ALLOWED = frozenset({"automatic", "true"})
"""Values of ``UV_PYTHON_DOWNLOADS`` with which uv fetches what it needs; the first is its default. With ``manual`` it
waits for ``uv python install``, and with ``never`` or ``false`` it fetches nothing."""

_OLDEST = (3, 11)
"""What the harness itself and the cases need."""

_MINORS = re.compile(r"^cpython-3\.(\d+)\.\d+-", re.MULTILINE)


_NONE = re.compile("no interpreter found", re.IGNORECASE)

_BROKEN = re.compile(r"Failed to inspect Python interpreter.*?`([^`]+)`", re.DOTALL)
"""What uv says of a program that does not start, such as a shim of pyenv for a version that is not chosen."""


class MissingPython(EnvironmentFailure):
    """An interpreter that cells need is neither here nor to be had; the message names the ways out."""

    def __init__(self, python: str, why: str, others: Iterable[str]) -> None:
        """``why`` says why it was not fetched; ``others`` are minor versions that are here."""
        here = [one for one in others if tuple(map(int, one.split("."))) >= _OLDEST]
        instead = f", or measure with what is here: --python {here[-1]}" if here else ""
        super().__init__(f"Python {python} is not on this machine ({why}); run: uv python install {python}{instead}")


def ensure_pythons(pythons: Iterable[str]) -> None:
    """See to it that each minor version can be found: fetch what is missing, where uv may. Raises MissingPython."""
    for python in sorted(set(pythons)):
        _ensure(python)


@cache
def _ensure(python: str) -> None:
    if _find(python):
        return
    setting = os.environ.get("UV_PYTHON_DOWNLOADS", "automatic").lower()
    if setting not in _ALLOWED:
        raise MissingPython(python, f"UV_PYTHON_DOWNLOADS is {setting}", pythons_here())
    done = _uv("python", "install", python)
    if done.returncode != 0 or not _find(python):
        words = " ".join(done.stderr.split()).rpartition("cause: ")[2][:200] or "uv found none"
        raise MissingPython(python, f"fetching it failed: {words}", pythons_here())


def pythons_here() -> list[str]:
    """List the minor versions of CPython that uv finds on this machine, ascending."""
    listed = _uv("python", "list", "--only-installed", "--offline").stdout
    return [f"3.{minor}" for minor in sorted({int(minor) for minor in _MINORS.findall(listed)})]


def _find(python: str) -> bool:
    """Return whether uv finds a Python.

    Raises :class:`MissingPython` when the one it finds does not start, :class:`MachineError` when it cannot look.
    """
    done = _uv("python", "find", "--system", "--no-project", python)
    if (broken := _BROKEN.search(done.stderr)) is not None:
        why = f"{broken[1]} does not start; put a working one before it in PATH"
        raise MissingPython(python, why, [one for one in pythons_here() if one != python])
    if done.returncode != 0 and not _NONE.search(done.stderr):
        words = " ".join(done.stderr.split())[-300:]
        message = f"uv cannot look for Python {python} ({words}); make room, or look at its rights and limits"
        raise MachineError(message)
    return done.returncode == 0


def _uv(*arguments: str) -> subprocess.CompletedProcess[str]:
    # Here the person's own setting counts; everywhere else a download would come as a surprise.
    environ = {name: value for name, value in uv_environment().items() if name != "UV_PYTHON_DOWNLOADS"}
    if arguments[1] != "install":
        environ["UV_PYTHON_DOWNLOADS"] = "never"
    return run_uv(*arguments, environ=environ)
