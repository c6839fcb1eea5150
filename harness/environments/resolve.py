"""Resolve a cell into a lock with ``uv pip compile``.

A lock is a list of exact pins and the identity of the cell. The local label of a torch build
(``2.13.0+cpu``) and the CUDA packages that other builds need are left out: they differ from
index to index, and the machine of a record says which build it was.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import cache
from typing import TYPE_CHECKING

from packaging.version import Version

from harness.environments.machine_failures import machine_failed
from harness.environments.scratch import scratch_folder
from harness.environments.uv import run_uv
from harness.errors import EnvironmentFailure
from harness.interface import CellState
from harness.matrix.source import Unreachable, fix, is_source, redact
from harness.matrix.spec import NEWEST, is_newest
from harness.packages import LAYER_PACKAGES, OVERLAY_PACKAGES

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Sequence

    from harness.matrix.spec import Cell

COMPANIONS = ("accelerate", "safetensors", "tokenizers")
"""What a user of every document has installed beside the pins; the newest of the day."""

_CUDA = (
    *("cublas", "cuda-crt", "cuda-cupti", "cuda-nvcc", "cuda-nvrtc", "cuda-runtime", "cudnn-cu13", "cufft", "cufile"),
    *("curand", "cusolver", "cusparse", "cusparselt-cu13", "nccl-cu13", "nvjitlink", "nvshmem-cu13", "nvtx", "nvvm"),
)
TORCH_NEEDS = (
    *("torch", "setuptools", "sympy", "typing-extensions"),
    *("cuda-bindings", "cuda-pathfinder", "cuda-toolkit", "triton", *(f"nvidia-{name}" for name in _CUDA)),
)
"""Exempt from a cut-off date: torch is pinned, and may be younger than the rest of its cell. A build for CUDA pins the
second row, which a lock leaves out."""

_PLATFORM_PACKAGES = re.compile(r"(nvidia-|cuda-|triton\b|pytorch-triton)")
_WORDS_LIMIT = 3000
_PIN = re.compile(r"^([A-Za-z0-9._-]+)(==| @ )([^\s;]+)")


@dataclass(frozen=True, kw_only=True)
class Lock:
    """The exact versions of a cell. ``pins`` are sorted lines, ``name==version`` or ``name @ source``."""

    pins: tuple[str, ...]

    @property
    def versions(self) -> dict[str, str]:
        """Map each package to its version; what comes from a source has none before it is installed."""
        return dict(pin.split("==", 1) for pin in self.pins if "==" in pin)

    @property
    def sources(self) -> dict[str, str]:
        """Map each package that is no release to its commit, or to the digest of its files, without credentials."""
        return dict(redact(pin).split(" @ ", 1) for pin in self.pins if " @ " in pin)

    @property
    def digest(self) -> str:
        """Identify the lock: ``sha256:`` and 64 hexadecimal digits. Credentials of a source are no part of it."""
        return "sha256:" + hashlib.sha256(redact("\n".join(self.pins)).encode()).hexdigest()

    @property
    def base_pins(self) -> tuple[str, ...]:
        """List the pins of the base: everything but overlays and layers."""
        return tuple(pin for pin in self.pins if name_of(pin) not in {*OVERLAY_PACKAGES, *LAYER_PACKAGES})

    @property
    def overlay_pins(self) -> tuple[str, ...]:
        """List the pins that go into overlays."""
        return tuple(pin for pin in self.pins if name_of(pin) in OVERLAY_PACKAGES)

    @property
    def layer_pins(self) -> tuple[str, ...]:
        """List the pins that go into layers."""
        return tuple(pin for pin in self.pins if name_of(pin) in LAYER_PACKAGES)


@dataclass(frozen=True, kw_only=True)
class Unresolved:
    """Why a cell has no lock: it cannot exist (``unsatisfiable``), or a source is ``unreachable``."""

    state: CellState
    words: str


def name_of(pin: str) -> str:
    """Return the package of a line of a lock."""
    return re.split(r"==| @ ", pin, maxsplit=1)[0]


def requirements(cell: Cell) -> tuple[str, ...]:
    """List what a cell asks the resolver for, as it is written: floating pins are still floating."""
    pinned = [_requirement(name, pin) for name, pin in sorted(cell.pins.items())]
    return (*pinned, *(name for name in COMPANIONS if name not in cell.pins))


def _requirement(name: str, pin: str) -> str:
    if is_source(pin):
        return f"{name} @ {pin}"
    if is_newest(pin):
        return name if pin == NEWEST else f"{name} {pin}"
    return f"{name}=={pin}"


def question(cell: Cell) -> str:
    """Write what the resolver is asked for a cell, on one line."""
    dated = cell.as_of.isoformat() if cell.as_of else "today"
    return f"python {cell.python}, as of {dated}: {' '.join(requirements(cell))}"


def resolve(cell: Cell, *, prefer: Lock | None = None) -> Lock | Unresolved:
    """Ask uv for the lock of a cell; where it may choose, it keeps to what ``prefer`` has.

    Raises :class:`EnvironmentFailure` when there is no uv, or when it answers what nobody understands: that says
    nothing about the cell, nor does ``unreachable``.
    """
    try:
        return _resolve(cell, prefer)
    except (Unreachable, OSError) as error:
        return Unresolved(state=CellState.UNREACHABLE, words=redact(str(error)))


def _resolve(cell: Cell, prefer: Lock | None) -> Lock | Unresolved:
    fixed = {name: _fixed(name, pin, cell.python) for name, pin in cell.pins.items()}
    sources = {name: pin for name, pin in fixed.items() if is_source(pin)}
    options = ["--python-version", cell.python]
    if cell.as_of:
        # The day itself counts, in UTC wherever this runs.
        options += ["--exclude-newer", (cell.as_of + timedelta(days=1)).isoformat() + "T00:00:00Z"]
        for name in TORCH_NEEDS:
            options += ["--exclude-newer-package", f"{name}=false"]
    asked = requirements(replace(cell, pins=fixed))
    done = _compile(asked, options if sources else [*options, "--no-build"], prefer=prefer)
    if done.returncode == 0:
        lock = parse_lock(done.stdout)
        # uv leaves the digest of a checkout out of its answer.
        kept = [pin for pin in lock.pins if name_of(pin) not in sources]
        return Lock(pins=tuple(sorted([*kept, *(f"{name} @ {source}" for name, source in sources.items())])))
    words = redact(" ".join(done.stderr.split()))
    if machine_failed(done.returncode, words):
        return Unresolved(state=CellState.UNREACHABLE, words=words[-_WORDS_LIMIT:])
    if "No solution found" in words or "unsatisfiable" in words:
        return Unresolved(state=CellState.UNSATISFIABLE, words=reason_first(words))
    message = (
        f"uv could not resolve {cell.id}: {words[-600:]}; check the package index (UV_DEFAULT_INDEX) and run again"
    )
    raise EnvironmentFailure(message)


def reason_first(words: str) -> str:
    """Turn the resolver's answer round: why there is no solution, and then that there is none."""
    found = re.match(r"(?P<none>.*?No solution found.*?dependencies)\W*(?:cause\W*)?(?P<why>Because\b.*)", words)
    return f"{found['why']} ({found['none'].strip()})" if found else words


def _fixed(name: str, pin: str, python: str) -> str:
    if is_source(pin):
        return fix(pin)
    back = pin.removeprefix(f"{NEWEST}-")
    return newest_minor(name, int(back), python) if back != pin else pin


@cache
def newest_minor(name: str, back: int, python: str) -> str:
    """Return the last release of a package's minor that is ``back`` minors before the newest.

    Raises :class:`EnvironmentFailure` when there are not that many, and :class:`Unreachable` when the index cannot
    be asked.
    """
    version = ""
    for _ in range(back + 1):
        # No release is older than the first pre-release of its minor.
        bound = "<{0.major}.{0.minor}.dev0".format(Version(version)) if version else ""
        done = _compile([f"{name}{bound}"], ["--python-version", python, "--no-build", "--no-deps"])
        version = parse_lock(done.stdout).versions.get(name, "")
        if not version:
            words = redact(" ".join(done.stderr.split()))
            message = f"no {name} {NEWEST}-{back} in the package index: {words[-300:]}"
            if machine_failed(done.returncode, words):
                raise Unreachable(message)
            raise EnvironmentFailure(message)
    return version


def _compile(
    asked: Sequence[str], options: Sequence[str], *, prefer: Lock | None = None
) -> subprocess.CompletedProcess[str]:
    with scratch_folder("resolve") as folder:
        wanted = folder / "requirements.in"
        wanted.write_text("\n".join(asked), encoding="utf-8")
        command = ["pip", "compile", str(wanted), "--no-header", "--no-annotate", *options]
        if prefer:
            # uv keeps to the versions of the file that it is to write.
            before = folder / "requirements.txt"
            before.write_text("\n".join(prefer.pins), encoding="utf-8")
            command += ["--output-file", str(before)]
        return run_uv(*command, cwd=folder)


def parse_lock(text: str) -> Lock:
    """Read pins out of ``uv pip compile``'s output or a kept lock, as :class:`Lock` describes."""
    pins = set()
    for line in text.splitlines():
        if (pin := _PIN.match(line)) and not _PLATFORM_PACKAGES.match(pin[1]):
            name = re.sub(r"[-_.]+", "-", pin[1]).lower()
            pins.add(f"{name}{pin[2]}{pin[3].partition('+')[0] if name == 'torch' and pin[2] == '==' else pin[3]}")
    return Lock(pins=tuple(sorted(pins)))
