"""Build environments once: a base, a thin overlay with peft before it, a layer with torch behind it.

Everything lives under one cache folder and is named by the digest of what is in it. A folder
counts only once its marker is written, which happens last: a build that was killed or that ran
out of disk is thrown away by the next one.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import platform
import shutil
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from filelock import FileLock

from harness.environments.machine_failures import machine_failed
from harness.environments.resolve import name_of
from harness.environments.successive import install_from_neighbour
from harness.environments.uv import run_uv
from harness.interface import CellState
from harness.matrix.source import redact
from harness.paths import cache_folder, write_whole

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from harness.environments.resolve import Lock

TOOLS = ("pytest>=8.3,<9", "pytest-benchmark>=5.1,<6", "hypothesis>=6.100,<7")
"""What runs the cases, on the path behind the packages under test: it can shadow none of them."""

_MARKER = "complete.json"


class InstallFailed(Exception):
    """An environment could not be built; the message is uv's, or the system's.

    ``state`` is ``install-failed``, or ``unreachable`` when this machine failed (no index, no space, no permission):
    that says nothing about the versions.
    """

    def __init__(self, words: str, state: CellState = CellState.INSTALL_FAILED) -> None:
        """``words`` may quote a source; credentials in it are left out."""
        self.state = state
        super().__init__(redact(words))


@dataclass(frozen=True, kw_only=True)
class Environment:
    """A cell's environment: the base's interpreter, and what goes before and after it on the path."""

    python: Path
    overlays: tuple[Path, ...]
    behind: tuple[Path, ...]


def digest_of(kind: str, python: str, pins: Sequence[str]) -> str:
    """Name a folder by what will be in it: pins, interpreter, platform, and where torch comes from."""
    source = [os.environ.get("UV_TORCH_BACKEND", ""), platform.machine(), platform.system(), python]
    return hashlib.sha256("\n".join([kind, *source, *sorted(pins)]).encode()).hexdigest()[:20]


def base_folder(lock: Lock, python: str) -> Path:
    """Return the folder of a lock's base, built or not."""
    return cache_folder() / "bases" / digest_of("base", python, lock.base_pins)


def overlay_folder(pin: str, python: str) -> Path:
    """Return the folder of one overlay, built or not."""
    return cache_folder() / "overlays" / f"{_label(pin)}-{digest_of('overlay', python, [pin])}"


def marker_of(folder: Path) -> Path:
    """Return the file whose presence says that a folder is whole, and whose date when it was last used."""
    return folder / _MARKER


def is_complete(folder: Path) -> bool:
    """Return whether a folder was built to its end."""
    return marker_of(folder).is_file()


def use_of(folder: Path) -> Path:
    """Return the file that a process locks, shared, while it uses a folder or builds it."""
    return folder.with_name(f"{folder.name}.use")


def build(lock: Lock, python: str) -> Environment:
    """Build what is missing of a lock's environment. Raises :class:`InstallFailed`."""
    return Environment(
        python=build_base(lock.base_pins, python) / "bin" / "python",
        overlays=tuple(build_overlay(pin, python) for pin in lock.overlay_pins),
        behind=(*(build_layer(pin, python) for pin in lock.layer_pins), build_tools(python)),
    )


def build_full(lock: Lock, python: str) -> Environment:
    """Build a lock's environment the plain way, all in one, to hold the layered one against.

    Raises :class:`InstallFailed`.
    """
    folder = build_base(lock.pins, python, follow=True)
    return Environment(python=folder / "bin" / "python", overlays=(), behind=(build_tools(python),))


def build_base(pins: Sequence[str], python: str, *, follow: bool = False) -> Path:
    """Build a virtual environment from pins unless it is there.

    With ``follow`` dependencies are installed, too: a torch build for CUDA needs libraries that
    a lock leaves out.
    """
    folder = cache_folder() / "bases" / digest_of("full" if follow else "base", python, pins)
    with _building(folder) as needed:
        if needed:
            _uv("venv", "--python", python, "--no-project", str(folder))
            wanted = folder / "pins.txt"
            wanted.write_text("\n".join(pins), encoding="utf-8")
            # No --compile-bytecode: a quarter of the files is ever imported, and the first import
            # of each leaves its byte code behind.
            options = [] if follow else ["--no-deps"]
            _uv("pip", "install", "--python", str(folder), *_building_allowed(pins), *options, "-r", str(wanted))
            # Credentials of a source were needed until now.
            wanted.write_text(redact("\n".join(pins)), encoding="utf-8")
    return folder


def build_layer(pin: str, python: str) -> Path:
    """Install one package with its dependencies into a folder of its own, unless it is there."""
    folder = cache_folder() / "layers" / f"{_label(pin)}-{digest_of('layer', python, [pin])}"
    with _building(folder) as needed:
        if needed:
            _install_into(folder, python, "--no-build", pin)
    return folder


def build_overlay(pin: str, python: str) -> Path:
    """Install one package alone into a folder of its own, unless it is there."""
    folder = overlay_folder(pin, python)
    with _building(folder) as needed:
        if needed and not install_from_neighbour(folder, pin):
            _install_into(folder, python, "--no-deps", *_building_allowed([pin]), pin)
    return folder


def build_tools(python: str) -> Path:
    """Install pytest and its plugins into a folder of their own, unless they are there."""
    folder = cache_folder() / "tools" / digest_of("tools", python, TOOLS)
    with _building(folder) as needed:
        if needed:
            _install_into(folder, python, "--no-build", *TOOLS)
    return folder


def _label(pin: str) -> str:
    """Begin a folder's name with what a person looks for: ``peft-0.13.2``, or ``peft`` for a source."""
    return name_of(pin) if " @ " in pin else pin.replace("==", "-")


def _building_allowed(pins: Sequence[str]) -> list[str]:
    """Give uv's options: releases come as wheels, a source has to be built, and never from a stale cache."""
    sources = [name_of(pin) for pin in pins if " @ " in pin]
    return [word for name in sources for word in ("--refresh-package", name)] or ["--no-build"]


def _install_into(folder: Path, python: str, *arguments: str) -> None:
    _uv("pip", "install", "--python", python, "--target", str(folder), *arguments)


@contextmanager
def _building(folder: Path) -> Iterator[bool]:
    try:
        with _locked(folder) as needed:
            yield needed
    except OSError as error:
        # A full disk, a folder that may not be written: uv's own failures have become InstallFailed before.
        raise InstallFailed(str(error), CellState.UNREACHABLE) from None


@contextmanager
def _locked(folder: Path) -> Iterator[bool]:
    folder.parent.mkdir(parents=True, exist_ok=True)
    _hold(folder)
    if is_complete(folder):
        os.utime(marker_of(folder))
        yield False
        return
    with FileLock(f"{folder}.lock"):
        if is_complete(folder):
            yield False
            return
        shutil.rmtree(folder, ignore_errors=True)
        begin = time.monotonic()
        yield True
        facts = {"seconds": round(time.monotonic() - begin, 2)}
        write_whole(marker_of(folder), json.dumps(facts))


_held: dict[Path, int] = {}
_holding = threading.Lock()


def _hold(folder: Path) -> None:
    """Say until the end of this process that a folder is in use, so that nobody removes it."""
    with _holding:
        if folder not in _held:
            _held[folder] = os.open(use_of(folder), os.O_RDWR | os.O_CREAT, 0o644)
            fcntl.flock(_held[folder], fcntl.LOCK_SH)


def _uv(*arguments: str) -> None:
    done = run_uv(*arguments, "--quiet")
    if done.returncode != 0:
        words = " ".join(done.stderr.split())[-3000:]
        state = CellState.UNREACHABLE if machine_failed(done.returncode, words) else CellState.INSTALL_FAILED
        raise InstallFailed(words or f"uv ended with {done.returncode} and said nothing", state)
