"""Run a command that ends with whoever started it, and leaves nothing behind.

``python -I -S harness/cell/watched.py PARENT COMMAND...``, with any Python from 3.11 on: PARENT is the process id of
who starts it. The exit status is the command's own; when a signal ended the command, the same signal ends this process.
It stands between the two because a process that has threads, as the harness has, must not run code of its own between
fork and exec.
"""

from __future__ import annotations

import os
import resource
import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from harness.cell.children import die_with_parent, end_with_parent, kill_children


def main(parent: int, command: list[str]) -> int:
    """Run a command to its end and return its exit status; what it leaves running is killed."""
    end_with_parent(parent)
    # A person's Ctrl-C reaches the command as well, and its end is waited for.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    here = os.getpid()
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        die_with_parent(here)
        try:
            os.execv(command[0], command)  # noqa: S606 - no shell is wanted
        except OSError as error:
            print(f"{command[0]}: {error.strerror} (os error {error.errno})", file=sys.stderr, flush=True)
            os._exit(127)
    _, status = os.waitpid(child, 0)
    kill_children()
    if os.WIFSIGNALED(status):
        _end_by(os.WTERMSIG(status))
    return os.waitstatus_to_exitcode(status)


def _end_by(number: int) -> None:
    # Nobody wants the memory of this process where the command has left its own.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if number not in {signal.SIGKILL, signal.SIGSTOP}:
        signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)


if __name__ == "__main__":
    raise SystemExit(main(int(sys.argv[1]), sys.argv[2:]))
