"""Resolve a cell into a lock with ``uv pip compile``.

A lock is a list of exact pins and the identity of the cell. The local label of a torch build
(``2.13.0+cpu``) and the CUDA packages that other builds need are left out: they differ from
index to index, and the machine of a record says which build it was.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import EnvironmentFailure
from harness.index import uv_environment
from harness.spec import LAYER_PACKAGES, NEWEST, OVERLAY_PACKAGES

if TYPE_CHECKING:
    from harness.spec import Cell

COMPANIONS = ("accelerate", "safetensors", "tokenizers")
"""What a user of every document has installed beside the pins; the newest of the day."""

TORCH_NEEDS = ("torch", "setuptools", "sympy", "typing-extensions")
"""Exempt from a cut-off date: torch is pinned, and may be younger than the rest of its cell."""

_PLATFORM_PACKAGES = re.compile(r"(nvidia-|cuda-|triton\b|pytorch-triton)")
_PIN = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;]+)")


@dataclass(frozen=True, kw_only=True)
class Lock:
    """The exact versions of a cell. ``pins`` are sorted ``name==version`` lines."""

    pins: tuple[str, ...]

    @property
    def versions(self) -> dict[str, str]:
        """Map each package to its version."""
        return dict(pin.split("==", 1) for pin in self.pins)

    @property
    def digest(self) -> str:
        """Identify the lock: ``sha256:`` and 64 hexadecimal digits."""
        return "sha256:" + hashlib.sha256("\n".join(self.pins).encode()).hexdigest()

    @property
    def base_pins(self) -> tuple[str, ...]:
        """List the pins of the base: everything but overlays and layers."""
        return tuple(pin for pin in self.pins if pin.split("==")[0] not in {*OVERLAY_PACKAGES, *LAYER_PACKAGES})

    @property
    def overlay_pins(self) -> tuple[str, ...]:
        """List the pins that go into overlays."""
        return tuple(pin for pin in self.pins if pin.split("==")[0] in OVERLAY_PACKAGES)

    @property
    def layer_pins(self) -> tuple[str, ...]:
        """List the pins that go into layers."""
        return tuple(pin for pin in self.pins if pin.split("==")[0] in LAYER_PACKAGES)


@dataclass(frozen=True, kw_only=True)
class Unsatisfiable:
    """The resolver's words for why a cell cannot exist."""

    words: str


def requirements(cell: Cell) -> tuple[str, ...]:
    """List what a cell asks the resolver for."""
    pinned = [name if version == NEWEST else f"{name}=={version}" for name, version in sorted(cell.pins.items())]
    return (*pinned, *(name for name in COMPANIONS if name not in cell.pins))


def question(cell: Cell) -> str:
    """Write what the resolver is asked for a cell, on one line."""
    dated = cell.as_of.isoformat() if cell.as_of else "today"
    return f"python {cell.python}, as of {dated}: {' '.join(requirements(cell))}"


def resolve(cell: Cell) -> Lock | Unsatisfiable:
    """Ask uv for the lock of a cell.

    Raises :class:`EnvironmentFailure` when uv could not answer (no uv, no index): that says
    nothing about the cell.
    """
    with tempfile.TemporaryDirectory() as folder:
        wanted = Path(folder) / "requirements.in"
        wanted.write_text("\n".join(requirements(cell)), encoding="utf-8")
        command = [find_uv(), "pip", "compile", str(wanted), "--no-build", "--no-header", "--no-annotate"]
        command += ["--python-version", cell.python]
        if cell.as_of:
            # The day itself counts, in UTC wherever this runs.
            command += ["--exclude-newer", (cell.as_of + timedelta(days=1)).isoformat() + "T00:00:00Z"]
            for name in TORCH_NEEDS:
                command += ["--exclude-newer-package", f"{name}=false"]
        done = subprocess.run(command, capture_output=True, text=True, env=uv_environment(), cwd=folder, check=False)  # noqa: S603
    if done.returncode == 0:
        return parse_lock(done.stdout)
    words = " ".join(done.stderr.split())
    if "No solution found" in words or "unsatisfiable" in words:
        return Unsatisfiable(words=words)
    message = (
        f"uv could not resolve {cell.id}: {words[-600:]}; check the package index (UV_DEFAULT_INDEX) and run again"
    )
    raise EnvironmentFailure(message)


def parse_lock(text: str) -> Lock:
    """Read pins out of ``uv pip compile``'s output or a kept lock, as :class:`Lock` describes."""
    pins = set()
    for line in text.splitlines():
        if (pin := _PIN.match(line)) and not _PLATFORM_PACKAGES.match(pin[1]):
            name = re.sub(r"[-_.]+", "-", pin[1]).lower()
            pins.add(f"{name}=={pin[2].partition('+')[0] if name == 'torch' else pin[2]}")
    return Lock(pins=tuple(sorted(pins)))


def find_uv() -> str:
    """Give the path of uv: beside this interpreter, or on PATH. Raises :class:`EnvironmentFailure`."""
    beside = Path(sys.executable).parent / "uv"
    found = str(beside) if beside.is_file() else shutil.which("uv")
    if found is None:
        message = "uv is not installed; run: pip install 'nox[uv]'"
        raise EnvironmentFailure(message)
    return found
