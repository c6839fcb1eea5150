"""Child processes that are watched until they end, and of which nothing is left.

A child leads a process group of its own. It is over when the process ends, whatever it has closed or left behind:
Linux tells through a pidfd. Then its group is killed. What has left the group (a daemon, a session of its own) comes
to this process when its parent dies, because this process is a subreaper (prctl(2)), and is killed as well.

When the parent of a watching process dies, Linux sends it SIGTERM (``PR_SET_PDEATHSIG``); it kills what is below it
and ends. So a whole tree goes with its root, whichever process of it was killed.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import selectors
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_POLL_S = 0.05
"""How often a child is looked at where the system has no pidfd."""

_SWEEP_LIMIT_S = 10.0
_SWEEP_POLL_S = 0.002
_CHUNK = 1 << 16
_LAST_CHUNKS = 64
"""A pipe holds one chunk; what another process still writes into it need not be read for ever."""


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a child ended: its wait status, and whether it was killed here or by the kernel for lack of memory."""

    status: int
    timed_out: bool
    out_of_memory: bool

    def describe(self) -> str:
        """Say in a few words how the process ended."""
        if os.WIFSIGNALED(self.status):
            return f"the process died by {_signal_name(os.WTERMSIG(self.status))}"
        return f"the process exited with {os.waitstatus_to_exitcode(self.status)}"

    def signature(self) -> str:
        """Name the signal or the exit status."""
        if os.WIFSIGNALED(self.status):
            return _signal_name(os.WTERMSIG(self.status))
        return f"exit {os.waitstatus_to_exitcode(self.status)}"


def watch(pid: int, pipe: int, take: Callable[[bytes], None], deadline: Callable[[], float]) -> Ended:
    """Hand on what a child writes until it ends, or kill it at its deadline; leave nothing of it.

    ``deadline`` is asked again after whatever was read; it is a time of ``time.monotonic``. Closes ``pipe``.
    """
    memory_kills = _oom_kills()
    timed_out = False
    pidfd = _open_pidfd(pid)
    with selectors.DefaultSelector() as selector:
        selector.register(pipe, selectors.EVENT_READ)
        if pidfd is not None:
            selector.register(pidfd, selectors.EVENT_READ)
        while not _has_ended(pid):
            remaining = deadline() - time.monotonic()
            if remaining <= 0:
                timed_out = True
                break
            for key, _ in selector.select(remaining if pidfd is not None else min(remaining, _POLL_S)):
                if key.fd == pipe:
                    if data := os.read(pipe, _CHUNK):
                        take(data)
                    else:
                        # The child may close it and go on; its end and its limit are seen without it.
                        selector.unregister(pipe)
    # Nobody has waited for the child yet, so its number still means its group and nobody else's.
    _kill_group(pid)
    _, status = os.waitpid(pid, 0)
    kill_children()
    _drain(pipe, take)
    os.close(pipe)
    if pidfd is not None:
        os.close(pidfd)
    return Ended(status=status, timed_out=timed_out, out_of_memory=_killed(status) and _oom_kills() > memory_kills)


def adopt_orphans() -> None:
    """Become the parent of every process below that loses its own, so that it can be found and killed."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def die_with_parent(parent: int | None = None) -> None:
    """Be killed when the parent dies: for a process that runs the code under test.

    ``parent`` is the process that should be the parent; when it has died already, this process ends at once.
    """
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if parent is not None and os.getppid() != parent:
        os._exit(1)


def end_with_parent(parent: int | None = None) -> None:
    """When the parent dies, or on SIGTERM, kill everything below and end: for a process that watches children."""
    adopt_orphans()
    signal.signal(signal.SIGTERM, _end)
    _prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if parent is not None and os.getppid() != parent:
        os._exit(1)


def lead_group() -> None:
    """Lead a process group of this process's own."""
    os.setpgid(0, 0)


def kill_children() -> int:
    """Kill all children of this process, and the orphans that become its children thereby; return how many."""
    killed: set[int] = set()
    deadline = time.monotonic() + _SWEEP_LIMIT_S
    while (children := _children()) and time.monotonic() < deadline:
        for child in children:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                if os.getpgid(child) == child:
                    os.killpg(child, signal.SIGKILL)
                os.kill(child, signal.SIGKILL)
        killed |= children
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG) != (0, 0):
                pass
        time.sleep(_SWEEP_POLL_S)
    return len(killed)


def _end(number: int, _: object) -> None:
    kill_children()
    os._exit(128 + number)


def _kill_group(leader: int) -> None:
    # Before the child has become its group's leader there is no such group.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, signal.SIGKILL)
    with contextlib.suppress(ProcessLookupError):
        os.kill(leader, signal.SIGKILL)


def _has_ended(pid: int) -> bool:
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _open_pidfd(pid: int) -> int | None:
    try:
        return os.pidfd_open(pid)
    except (AttributeError, OSError):
        return None


def _drain(pipe: int, take: Callable[[bytes], None]) -> None:
    os.set_blocking(pipe, False)
    for _ in range(_LAST_CHUNKS):
        try:
            data = os.read(pipe, _CHUNK)
        except BlockingIOError:
            return
        if not data:
            return
        take(data)


def _children() -> set[int]:
    """List this process's children, of all its threads; empty where the system does not say."""
    children = set()
    for path in Path("/proc/self/task").glob("*/children"):
        with contextlib.suppress(OSError):
            children |= {int(word) for word in path.read_text(encoding="ascii").split()}
    return children


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, value)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _killed(status: int) -> bool:
    return os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL


def _oom_kills() -> int:
    """Count the kernel's out-of-memory kills so far; 0 where it does not say."""
    try:
        text = Path("/proc/vmstat").read_text(encoding="ascii")
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in text.splitlines() if line.startswith("oom_kill ")), 0)
