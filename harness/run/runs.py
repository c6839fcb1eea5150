"""Where a run lives: ``reports/runs/RUN`` with its plan, records, logs and benchmarks."""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from harness.errors import UsageError
from harness.matrix.source import redact
from harness.paths import file_name, reports_folder
from harness.program import PROGRAM

if TYPE_CHECKING:
    from pathlib import Path

    from harness.matrix.plan import PlannedCell


@dataclass(frozen=True, kw_only=True)
class Run:
    """A run by its id. The folder's ``plan.json`` lists all that was asked for.

    Raises :class:`UsageError` for an id that is no plain name: it becomes part of a path.
    """

    id: str

    def __post_init__(self) -> None:
        """Check the id, once, where it is made into a path."""
        file_name(self.id, "run id")

    @property
    def folder(self) -> Path:
        """Give the folder of the run."""
        return reports_folder() / "runs" / self.id

    @property
    def plan_path(self) -> Path:
        """Give the path of the plan."""
        return self.folder / "plan.json"

    def plan(self) -> dict[str, Any]:
        """Read what was asked for: ``matrix``, ``title``, ``device`` and a list of ``cells``."""
        if not self.plan_path.is_file():
            message = f"no run {self.id!r} in {reports_folder() / 'runs'}; measure one with: {PROGRAM} run documented"
            raise UsageError(message)
        plan: dict[str, Any] = json.loads(self.plan_path.read_text(encoding="utf-8"))
        return plan

    def mark_unfinished(self) -> None:
        """Leave a mark until :meth:`mark_finished`: after a kill, the next run takes the records in."""
        (self.folder / f"unfinished-{os.getpid()}").touch()

    def mark_finished(self) -> None:
        """Take away the mark of this process."""
        (self.folder / f"unfinished-{os.getpid()}").unlink(missing_ok=True)

    def add_plan(self, head: dict[str, Any], cells: tuple[PlannedCell, ...]) -> None:
        """Write the plan, or add cells to it: sessions of one run each plan their part."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with FileLock(self.folder / "plan.lock"):
            known = self.plan() if self.plan_path.is_file() else {**head, "cells": []}
            for name in ("matrix", "device"):
                if known[name] != head[name]:
                    message = f"run {self.id} has {name} {known[name]!r}, not {head[name]!r}; start a new run"
                    raise UsageError(message)
            merged = {one["id"]: one for one in known["cells"]}
            for planned in cells:
                asked = [{"case": case.name, "variant": variant} for case, variant in planned.variants]
                facts = {
                    "id": planned.cell.id,
                    "base": planned.cell.base_id,
                    "python": planned.cell.python,
                    "pins": {name: redact(pin) for name, pin in planned.cell.pins.items()},
                    "as_of": planned.cell.as_of.isoformat() if planned.cell.as_of else None,
                    "why": planned.cell.why,
                    "state": planned.cell.state,
                    "says": planned.cell.says,
                    "asked": asked,
                }
                add_cell(merged, facts)
            partial = self.plan_path.with_suffix(f".{os.getpid()}")
            partial.write_text(
                json.dumps({**known, "cells": list(merged.values())}, ensure_ascii=False), encoding="utf-8"
            )
            partial.replace(self.plan_path)


def new_run(name: str) -> Run:
    """Name a new run after its matrix and this second."""
    return Run(id=f"{name}-{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}")


def add_cell(cells: dict[str, dict[str, Any]], facts: dict[str, Any]) -> None:
    """Add a planned cell to others, by id; what both ask of one cell is joined, each variant once."""
    before = cells.get(facts["id"], {}).get("asked", [])
    cells[facts["id"]] = {**facts, "asked": before + [one for one in facts["asked"] if one not in before]}


def unfinished_runs() -> list[Run]:
    """List the runs that a process was at when it was killed, or is at now."""
    marks = (reports_folder() / "runs").glob("*/unfinished-*")
    return [Run(id=name) for name in sorted({mark.parent.name for mark in marks}) if not name.startswith(".")]


def find_run(name: str | None) -> Run:
    """Find a run by id, or the newest one. Raises :class:`UsageError` when there is none."""
    if name is not None:
        run = Run(id=name)
        run.plan()
        return run
    folder = reports_folder() / "runs"
    plans = sorted(folder.glob("[!.]*/plan.json"), key=lambda path: path.stat().st_mtime)
    if not plans:
        message = f"nothing was run yet; start with: {PROGRAM} run documented"
        raise UsageError(message)
    return Run(id=plans[-1].parent.name)
