"""The key of a measurement: a digest of everything that can change its outcome."""

from __future__ import annotations

import hashlib
import json
import os
from functools import cache
from typing import TYPE_CHECKING

from harness.paths import ROOT

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.contracts.record import Machine
    from harness.matrix.cases import Case


def key_of(
    *,
    lock: str,
    python: str,
    case: Case,
    variant: Mapping[str, str],
    machine: Machine,
    timed: bool = True,
    examples: int | None = None,
) -> str:
    """Name a measurement by all that can change it: versions, code, variant and machine."""
    about = {
        "lock": lock,
        "python": python,
        "case": case.digest,
        "harness": incell_digest(),
        "variant": dict(variant),
        **({} if timed else {"timed": False}),
        **({} if examples is None else {"examples": examples}),
        "machine": [machine.cpu, machine.platform, machine.gpu, os.environ.get("UV_TORCH_BACKEND", "")],
    }
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:24]


@cache
def incell_digest() -> str:
    """Digest what runs beside every case: ``harness.cell``, its interface, and the committed weights."""
    digest = hashlib.sha256()
    for pattern in (
        "harness/cell/*.py",
        "harness/kit/*.py",
        "harness/interface.py",
        "cases/conftest.py",
        "cases/pytest.ini",
        "cases/checkpoints/*.safetensors",
        "cases/adapters/*/*/*",
    ):
        for path in sorted(ROOT.glob(pattern)):
            digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]
