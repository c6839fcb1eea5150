"""Record which lines of the package around this file each test runs; for a traced copy of peft alone.

The copy has this file in it, imports it last and calls :func:`start`. Under ``lines`` beside the package, each process
writes a file: a line ``T name`` when pytest goes to another test, ``path:number`` for each line that runs there for the
first time. Needs the standard library alone. A release that is measured never has it.
"""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from types import CodeType, FrameType

_PACKAGE = os.path.dirname(os.path.abspath(__file__)) + os.sep  # noqa: PTH100, PTH120 - run for every call
_FOLDER = Path(_PACKAGE).parent / "lines"


class Recorder:
    """What ``sys.settrace`` calls."""

    def __init__(self) -> None:
        """Begin with no test."""
        self._test: str | None = None
        self._seen: set[tuple[CodeType, int]] = set()
        self._inside: dict[CodeType, str | None] = {}
        self._pid, self._file = 0, -1

    def call(self, frame: FrameType, event: str, _argument: Any) -> Any:
        """Follow the lines of this package's code, and of no other."""
        code = frame.f_code
        try:
            inside = self._inside[code]
        except KeyError:
            path = code.co_filename
            inside = self._inside[code] = path[len(_PACKAGE) :] if path.startswith(_PACKAGE) else None
        if inside is None or event != "call":
            return None
        test = os.environ.get("PYTEST_CURRENT_TEST", "").rpartition(" (")[0]
        if test != self._test or self._pid != os.getpid():
            self._begin(test)
        return self.line

    def line(self, frame: FrameType, event: str, _argument: Any) -> Any:
        """Write a line down when it is new in its test."""
        if event == "line":
            place = (frame.f_code, frame.f_lineno)
            if place not in self._seen:
                self._seen.add(place)
                self._write(f"{self._inside[frame.f_code]}:{frame.f_lineno}\n")
        return self.line

    def _begin(self, test: str) -> None:
        if self._pid != os.getpid():
            self._pid = os.getpid()
            _FOLDER.mkdir(exist_ok=True)
            self._file = os.open(_FOLDER / f"{self._pid}.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        self._test = test
        self._seen.clear()
        self._write(f"T {test}\n")

    def _write(self, text: str) -> None:
        os.write(self._file, text.encode())


def start() -> None:
    """Trace this thread and those that it starts."""
    recorder = Recorder()
    threading.settrace(recorder.call)
    sys.settrace(recorder.call)
