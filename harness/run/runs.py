"""Where a run lives: ``reports/runs/RUN`` with its plan, records, logs and benchmarks."""

from __future__ import annotations

import json
import os
import time
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from harness.contracts.plan import AskedCell, AskedVariant, Plan, plan_text, read_plan
from harness.errors import InputError, UsageError
from harness.matrix.source import redact
from harness.paths import file_name, reports_folder, write_whole
from harness.program import PROGRAM

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
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
        """Return the folder of the run."""
        return reports_folder() / "runs" / self.id

    @property
    def plan_path(self) -> Path:
        """Return the path of the plan."""
        return self.folder / "plan.json"

    def plan(self) -> Plan:
        """Read what was asked for. Raises :class:`UsageError` where there is no such run."""
        self.expect_plan()
        return read_plan(self.plan_path)

    def expect_plan(self) -> None:
        """Raise :class:`UsageError` where there is no such run."""
        if not self.plan_path.is_file():
            message = f"no run {self.id!r} in {reports_folder() / 'runs'}; measure one with: {PROGRAM} run documented"
            raise UsageError(message)

    def keep_locks(self, part: str, locks: Mapping[str, Sequence[str]]) -> None:
        """Write the pins of cells, by id, that one session of the run measured with."""
        write_whole(self.folder / "locks" / f"{part}.json", json.dumps(locks, indent=1) + "\n")

    def locks(self) -> dict[str, list[str]]:
        """Return the pins with which each cell was measured, by its id; a cell without a lock has none.

        Raises :class:`InputError` for a file that holds something else.
        """
        found: dict[str, list[str]] = {}
        for path in sorted((self.folder / "locks").glob("*.json")):
            try:
                data = json.loads(path.read_text(encoding="utf-8"))
                found |= {str(cell): [str(pin) for pin in pins] for cell, pins in data.items()}
            except (ValueError, TypeError, AttributeError) as error:
                raise InputError(str(path), f"not the locks of a run: {error}") from None
        return found

    @contextmanager
    def hold(self, bases: Iterable[str]) -> Iterator[None]:
        """Keep other processes from measuring these bases under this id, which would measure everything twice.

        The locks end with the process, however that ends. Raises :class:`UsageError` when one is held.
        """
        folder = self.folder / "held"
        folder.mkdir(exist_ok=True)
        with ExitStack() as stack:
            for base in sorted(set(bases)):
                try:
                    stack.enter_context(FileLock(folder / f"{base}.lock", timeout=0))
                except Timeout:
                    message = (
                        f"run {self.id}: another process measures {base}; wait for its end, or give another --run-id"
                    )
                    raise UsageError(message) from None
            yield

    def mark_unfinished(self) -> None:
        """Leave a mark until :meth:`mark_finished`: after a kill, the next run takes the records in."""
        (self.folder / f"unfinished-{os.getpid()}").touch()

    def mark_finished(self) -> None:
        """Take away the mark of this process."""
        (self.folder / f"unfinished-{os.getpid()}").unlink(missing_ok=True)

    def mark_unreadable(self) -> None:
        """Turn the marks of killed processes into others, so that no later run stumbles over the records again."""
        for mark in self.folder.glob("unfinished-*"):
            mark.replace(mark.with_name(mark.name.replace("unfinished", "unreadable")))

    def add_plan(self, head: Plan, cells: Iterable[PlannedCell]) -> None:
        """Write the plan, or add cells to it: sessions of one run each plan their part.

        Raises :class:`UsageError` when the run is of another matrix or device.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with FileLock(self.folder / "plan.lock"):
            known = self.plan() if self.plan_path.is_file() else head
            for name, before, now in (("matrix", known.matrix, head.matrix), ("device", known.device, head.device)):
                if before != now:
                    message = f"run {self.id} has {name} {before!r}, not {now!r}; start a new run"
                    raise UsageError(message)
            write_whole(self.plan_path, plan_text(known.with_cells(map(asked_cell, cells))))


def asked_cell(planned: PlannedCell) -> AskedCell:
    """Return a planned cell as a plan has it."""
    cell = planned.cell
    return AskedCell(
        id=cell.id,
        base=cell.base_id,
        python=cell.python,
        pins={name: redact(pin) for name, pin in cell.pins.items()},
        as_of=cell.as_of.isoformat() if cell.as_of else None,
        why=cell.why,
        state=cell.state,
        says=cell.says,
        asked=tuple(AskedVariant(case=case.name, variant=variant) for case, variant in planned.variants),
    )


def new_run(name: str) -> Run:
    """Name a new run after its matrix and this second, and make its folder; of two in one second one gets a number."""
    first = f"{name}-{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}"
    for number in count(1):
        run = Run(id=first if number == 1 else f"{first}-{number}")
        with suppress(FileExistsError):
            run.folder.parent.mkdir(parents=True, exist_ok=True)
            run.folder.mkdir()
            break
    return run


def unfinished_runs() -> list[Run]:
    """List the runs that a process was at when it was killed, or is at now."""
    marks = (reports_folder() / "runs").glob("*/unfinished-*")
    return [Run(id=name) for name in sorted({mark.parent.name for mark in marks}) if not name.startswith(".")]


def find_run(name: str | None) -> Run:
    """Find a run by id, or the newest one. Raises :class:`UsageError` when there is none."""
    if name is not None:
        run = Run(id=name)
        run.expect_plan()
        return run
    folder = reports_folder() / "runs"
    plans = sorted(folder.glob("[!.]*/plan.json"), key=lambda path: path.stat().st_mtime)
    if not plans:
        message = f"nothing was run yet; start with: {PROGRAM} run documented"
        raise UsageError(message)
    return Run(id=plans[-1].parent.name)
