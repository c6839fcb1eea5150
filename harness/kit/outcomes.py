"""From an exception to an outcome, a signature and a message."""

from __future__ import annotations

import re
import traceback
from pathlib import Path

from harness.interface import Outcome
from harness.packages import MODULES_UNDER_TEST

_NORMALISE = (
    (re.compile(r"0x[0-9a-fA-F]+"), "<address>"),
    (re.compile(r"(?<![\w.])(?:[A-Za-z]:)?(?:/[\w.+@~-]+){2,}/?"), "<path>"),
    (re.compile(r"\b\d+(?:x\d+)+\b"), "<shape>"),
    (re.compile(r"(?<![A-Za-z_\d])\d+(?:\.\d+)*(?:e[+-]?\d+)?"), "<n>"),
)
_MESSAGE_LIMIT = 2_000
_FOLDER = re.compile(r"/[^\s'\"()]*/(?:site-packages|(?:overlays|layers|tools)/[^/\s]+)/")
"""Where a package is installed, which differs from machine to machine."""


class WrongAnswer(AssertionError):
    """The code ran and the oracle disagrees with what it gave."""


class Unsupported(Exception):
    """The variant cannot exist in these versions; the message says why."""


class NoDevice(Exception):
    """The variant needs a device that this machine does not have."""


def normalise(message: str) -> str:
    """Replace addresses, paths and numbers, so that equal faults have equal texts."""
    text = " ".join(message.split())
    for pattern, name in _NORMALISE:
        text = pattern.sub(name, text)
    return text[:_MESSAGE_LIMIT]


def innermost_frame(error: BaseException) -> str:
    """Name the deepest frame inside a package under test, as ``module:function``.

    Line numbers are left out: they move with every release, the function rarely does.
    Returns an empty string when the traceback touches none of the packages.
    """
    for frame, _ in reversed(list(traceback.walk_tb(error.__traceback__))):
        module = frame.f_globals.get("__name__", "")
        if module.partition(".")[0] in MODULES_UNDER_TEST:
            return f"{module}:{frame.f_code.co_qualname}"
    return ""


def signature(error: BaseException) -> str:
    """Return the type, normalised message and innermost frame of an error, on one line."""
    text = f"{type(error).__name__}: {normalise(_words(error))}"
    frame = innermost_frame(error)
    return f"{text} @ {frame}" if frame else text


def message(error: BaseException) -> str:
    """Return what happened in one line, with the numbers left in."""
    text = _FOLDER.sub("", " ".join(_words(error).split()))
    if isinstance(error, WrongAnswer | Unsupported | NoDevice):
        return text[:_MESSAGE_LIMIT]
    return f"{type(error).__name__}: {text}"[:_MESSAGE_LIMIT]


def _words(error: BaseException) -> str:
    """Return the text of an error, whatever its ``__str__`` does."""
    try:
        return str(error)
    except BaseException as raised:  # noqa: BLE001 - the code under test wrote it
        return f"its __str__ raised {type(raised).__name__}"


def classify(error: BaseException) -> tuple[Outcome, str | None]:
    """Return the outcome that an exception stands for, and its signature when it is an error."""
    match error:
        case WrongAnswer():
            return Outcome.WRONG, None
        case Unsupported():
            return Outcome.UNSUPPORTED, None
        case NoDevice():
            return Outcome.NO_DEVICE, None
        case MemoryError():
            return Outcome.OUT_OF_MEMORY, signature(error)
        case _ if type(error).__name__ == "OutOfMemoryError":
            # torch.cuda.OutOfMemoryError has moved twice; its name has not.
            return Outcome.OUT_OF_MEMORY, signature(error)
        case _:
            return Outcome.ERROR, signature(error)


def traceback_tail(error: BaseException, *, frames: int = 6) -> list[str]:
    """List the last frames as ``package/file.py:line function``, without this machine's paths."""
    lines = []
    for frame in traceback.extract_tb(error.__traceback__)[-frames:]:
        parts = Path(frame.filename).parts
        short = "/".join(parts[parts.index("site-packages") + 1 :] if "site-packages" in parts else parts[-2:])
        lines.append(f"{short}:{frame.lineno} {frame.name}")
    return lines
