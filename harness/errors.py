"""Every way in which the harness itself can refuse, with its exit status and the next action."""

from __future__ import annotations

import errno
from enum import IntEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

from harness.escape import printable


class ExitStatus(IntEnum):
    """What the exit status of a command says."""

    AS_EXPECTED = 0
    NEEDS_A_PERSON = 1
    BAD_USAGE = 2
    NOTHING_MEASURED = 3


class HarnessError(Exception):
    """A failure of the harness or of its input, never of the code under test.

    ``str()`` is the one clear line that a person sees; it ends with what to do next. What it quotes is made printable.
    """

    exit_status = ExitStatus.BAD_USAGE

    def __str__(self) -> str:
        """Return the message, fit for a terminal."""
        return printable(super().__str__())


class UsageError(HarnessError):
    """The command line names something that is not there."""


MOST_TOLD = 50
"""Mistakes of one file that are listed; a person mends these first."""


class MatrixError(HarnessError):
    """A matrix file has mistakes; they are listed, each with its line."""

    def __init__(self, path: str, problems: list[tuple[int | None, str]]) -> None:
        """``problems`` pairs a 1-based line (None: the whole file) with a sentence."""
        self.problems = sorted(problems, key=lambda problem: problem[0] or 0)
        lines = [f"{path}:{line}: {text}" if line else f"{path}: {text}" for line, text in self.problems]
        if len(lines) > MOST_TOLD:
            lines[MOST_TOLD:] = [f"{path}: and {len(lines) - MOST_TOLD} more mistakes"]
        super().__init__("\n".join(lines))


class DataError(HarnessError):
    """A file of expectations, claims or defects has mistakes; all of them are listed, each with its line."""

    def __init__(self, path: Path, problems: list[tuple[int | None, str]]) -> None:
        """``problems`` pairs a 1-based line (None: the whole file) with a sentence."""
        self.problems = sorted(problems, key=lambda problem: problem[0] or 0)
        where = "/".join(path.parts[-3:])
        super().__init__(
            "\n".join(f"{where}:{line}: {text}" if line else f"{where}: {text}" for line, text in self.problems)
        )


class InputError(HarnessError):
    """A file holds something else than it should: a record, a plan, a lock."""

    def __init__(self, where: str, problem: str) -> None:
        """``where`` names the file and line, ``problem`` says what is wrong there, with the path of the value."""
        super().__init__(f"{where}: {problem}")


class MachineError(HarnessError):
    """The machine refused something that a command needs: it says nothing about any package."""

    exit_status = ExitStatus.NOTHING_MEASURED

    @classmethod
    def of(cls, error: OSError) -> MachineError | None:
        """Put the system's refusal in one line with what to do next; None for what is not the machine's fault."""
        if error.errno not in _MACHINES_FAULTS:
            return None
        where = f"{error.filename}: " if error.filename else ""
        advice = "make room" if error.errno in _FULL else "look at its rights and limits"
        return cls(f"{where}{error.strerror}; {advice}, and run it again: what was measured is kept")


_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_MACHINES_FAULTS = _FULL | {
    errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOMEM,
}  # fmt: skip


class CaseError(HarnessError):
    """A case file's declarations cannot be read."""


class NoDeviceHere(HarnessError):
    """The machine lacks the device that was asked for: nothing can be measured."""

    exit_status = ExitStatus.NOTHING_MEASURED


class EnvironmentFailure(HarnessError):
    """The machine lacks something that the harness needs (uv, an interpreter, a writable cache)."""
