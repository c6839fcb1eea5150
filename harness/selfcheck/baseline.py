"""The same work without this harness: one nox session for each cell, with uv or with pip.

What a matrix costs is only worth knowing beside what it would cost otherwise. Each session
installs the cell's lock into an environment of its own and runs the cases with `here`. The
records are compared with the run's own, so that the baseline cannot be quick by doing less.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.contracts.record import VariantRecord
from harness.contracts.records import read_run
from harness.environments.build import TOOLS
from harness.environments.index import uv_environment
from harness.environments.uv import find_uv
from harness.errors import EnvironmentFailure
from harness.paths import ROOT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.contracts.record import Record
    from harness.environments.resolve import Lock
    from harness.matrix.plan import PlannedCell

BACKENDS = {"uv": "uv", "pip": "virtualenv"}
"""How nox makes environments and installs into them: the name that we print, and nox's own."""

_NOXFILE = """
import json
import pathlib

import nox

HERE = pathlib.Path(__file__).parent
WORK = json.loads((HERE / "work.json").read_text(encoding="utf-8"))


@nox.session(allow_parallel=True)
@nox.parametrize("cell", [nox.param(index, id=one["id"]) for index, one in enumerate(WORK["cells"])])
def cell(session, cell):
    one = WORK["cells"][cell]
    session.install(*one["pins"], *WORK["tools"])
    session.chdir(WORK["root"])
    reports = {"PROMPT_BENCH_REPORTS": str(HERE / "reports" / one["id"])}
    arguments = ["--case", one["case"], "--device", "cpu", "--no-latency"]
    session.run("python", "-m", "harness", "here", *arguments, env=reports, success_codes=range(256))
"""


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """``seconds`` of wall time for ``cells`` sessions; ``differing`` places gave another outcome than the run."""

    backend: str
    cells: int
    seconds: float
    compared: int
    differing: int

    @property
    def seconds_a_cell(self) -> float:
        """Return the wall time of one cell, in seconds."""
        return self.seconds / self.cells


def measure_baseline(
    work: Sequence[tuple[PlannedCell, Lock]], known: Sequence[Record], *, backend: str, jobs: int
) -> Baseline:
    """Run one nox session for each cell, ``jobs`` at a time, and compare outcomes with ``known`` records.

    Raises :class:`EnvironmentFailure` when nox itself failed.
    """
    with tempfile.TemporaryDirectory(prefix="prompt-bench-baseline-") as name:
        folder = Path(name)
        (folder / "noxfile.py").write_text(_NOXFILE, encoding="utf-8")
        cells = [{"id": one.cell.id, "pins": lock.pins, "case": ",".join(one.cell.cases)} for one, lock in work]
        text = json.dumps({"root": str(ROOT), "tools": TOOLS, "cells": cells})
        (folder / "work.json").write_text(text, encoding="utf-8")
        command = [find_uv(), "tool", "run", "--quiet", "--from", "nox[uv]>=2026.8.10", "nox"]
        subprocess.run([*command, "--version"], env=uv_environment(), capture_output=True, check=False)  # noqa: S603
        command += ["-f", str(folder / "noxfile.py"), "--default-venv-backend", BACKENDS[backend], "-j", str(jobs)]
        begin = time.monotonic()
        done = subprocess.run(  # noqa: S603
            command, env=_plain_environment(), cwd=folder, capture_output=True, text=True, check=False
        )
        seconds = time.monotonic() - begin
        if done.returncode != 0:
            message = f"nox failed: {(done.stdout + done.stderr)[-1500:]}"
            raise EnvironmentFailure(message)
        seen = {
            (path.parents[1].name, *_place(record)): record.outcome
            for path in (folder / "reports").glob("*/runs/*")
            for record in read_run(path)
            if isinstance(record, VariantRecord)
        }
    wanted = {one.cell.id for one, _ in work}
    expected = {
        (r.cell.id, *_place(r)): r.outcome for r in known if r.cell.id in wanted and isinstance(r, VariantRecord)
    }
    differing = sum(seen.get(place) != outcome for place, outcome in expected.items())
    return Baseline(backend=backend, cells=len(work), seconds=seconds, compared=len(expected), differing=differing)


def _place(record: VariantRecord) -> tuple[Any, ...]:
    return (record.case, *sorted(record.variant.items()))


def _plain_environment() -> dict[str, str]:
    """Return what a person's shell would: nothing that another nox has set."""
    return {
        name: value for name, value in uv_environment(os.environ).items() if not name.startswith(("NOX", "PROMPT_"))
    }
