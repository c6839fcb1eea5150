"""What a worker is asked: the job of its process, and one cell after the other on its standard input.

Written outside, read inside a cell; nothing here needs more than the standard library.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from harness.contracts.record import SCHEMA, CellFacts, Machine, cell_data, machine_data

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How a worker measures, whatever the cell.

    ``limit_s`` bounds one variant, in seconds; without ``fork`` each cell gets a fresh process. ``examples`` is the
    budget of a property (None: the case's own), ``memory`` the folder that remembers failing examples, ``told`` the
    file in which the cells of a run tell each other theirs. ``weights`` maps families to real checkpoints.
    """

    limit_s: float
    device: str
    timed: bool = False
    fork: bool = True
    examples: int | None = None
    memory: str = ""
    told: str = ""
    weights: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Job:
    """What holds for a worker's whole life: where it reads code and writes records, and how it measures.

    ``root`` is the folder of ``cases`` and ``harness``; ``behind`` goes to the end of the path; ``output`` takes
    the records of the run ``run``.
    """

    root: str
    behind: tuple[str, ...]
    output: str
    run: str
    machine: Machine
    settings: Settings


@dataclass(frozen=True, kw_only=True)
class Request:
    """One variant to measure: its key, its case and axes, and how it is timed (see ``Timing`` of the kit)."""

    key: str
    case: str
    document: str | None
    variant: Mapping[str, str]
    timing: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class CellJob:
    """One cell: what goes first on the path, where its output goes, and the variants to measure."""

    cell: CellFacts
    overlays: tuple[str, ...]
    log: str
    benchmarks: str
    scratch: str
    requests: tuple[Request, ...]


def job_data(job: Job) -> dict[str, Any]:
    """Return a job as JSON has it."""
    header = {"schema": SCHEMA, "run": job.run, "machine": machine_data(job.machine)}
    return {
        "root": job.root,
        "behind": list(job.behind),
        "output": job.output,
        **asdict(job.settings),
        "header": header,
    }


def cell_job_data(entry: CellJob) -> dict[str, Any]:
    """Return one cell's job as JSON has it; each variant carries its place in the list as ``index``."""
    return {
        "cell": cell_data(entry.cell),
        "overlays": list(entry.overlays),
        "log": entry.log,
        "benchmarks": entry.benchmarks,
        "scratch": entry.scratch,
        "variants": [{**asdict(one), "index": index} for index, one in enumerate(entry.requests)],
    }
