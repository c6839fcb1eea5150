"""What a worker is asked: the job of its process, and one cell after the other on its standard input.

Written outside, read inside a cell; nothing here needs more than the standard library.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any

from harness.contracts.record import CellFacts, Machine, cell_data, machine_data

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How a worker measures, whatever the cell.

    ``limit_s`` bounds one variant and ``import_limit_s`` what comes before the first, the import of peft and of the
    case files, in seconds (imports without byte code are slow). Without ``fork`` each case file gets a fresh process.
    ``examples`` is the budget of a property (None: the case's own), ``memory`` the folder that remembers failing
    examples, ``told`` the file in which the cells of a run tell each other theirs. ``weights`` maps families to real
    checkpoints.
    """

    limit_s: float
    device: str
    import_limit_s: float = 300.0
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
    """One cell: what goes first on the path, where its output goes, and the variants to measure.

    Inside the cell a variant is known by its place in ``requests``.
    """

    cell: CellFacts
    overlays: tuple[str, ...]
    log: str
    benchmarks: str
    scratch: str
    requests: tuple[Request, ...]


def job_data(job: Job) -> dict[str, Any]:
    """Return a job as JSON has it."""
    return {**asdict(job), "behind": list(job.behind), "machine": machine_data(job.machine)}


def cell_job_data(entry: CellJob) -> dict[str, Any]:
    """Return one cell's job as JSON has it."""
    requests = [asdict(request) for request in entry.requests]
    return {**asdict(entry), "cell": cell_data(entry.cell), "overlays": list(entry.overlays), "requests": requests}


def read_job(data: object) -> Job:
    """Return the job that :func:`job_data` wrote. Raises ``ValueError`` with the field that it did not write so."""
    job = _Object(data, "job", Job)
    machine = job.inner("machine", Machine, may_lack=("gpus", "cuda"))
    settings = job.inner("settings", Settings)
    weights = settings.inner("weights")
    return Job(
        root=job.text("root"),
        behind=job.texts("behind"),
        output=job.text("output"),
        run=job.text("run"),
        machine=Machine(
            cpu=machine.text("cpu"),
            cores=machine.value("cores", int, _NONE),
            gpu=machine.value("gpu", str, _NONE),
            platform=machine.text("platform"),
            gpus=machine.value("gpus", int, _NONE),
            cuda=machine.value("cuda", str, _NONE),
        ),
        settings=Settings(
            limit_s=settings.value("limit_s", float, int),
            device=settings.text("device"),
            import_limit_s=settings.value("import_limit_s", float, int),
            timed=settings.value("timed", bool),
            fork=settings.value("fork", bool),
            examples=settings.value("examples", int, _NONE),
            memory=settings.text("memory"),
            told=settings.text("told"),
            weights={family: weights.value(family, dict) for family in weights.values},
        ),
    )


def read_cell_job(data: object) -> CellJob:
    """Return what :func:`cell_job_data` wrote. Raises ``ValueError`` with the field that it did not write so."""
    entry = _Object(data, "cell job", CellJob)
    cell = entry.inner("cell", CellFacts, may_lack=("sources",))
    return CellJob(
        cell=CellFacts(
            id=cell.text("id"),
            python=cell.text("python"),
            packages=cell.text_map("packages"),
            matrix=cell.value("matrix", str, _NONE),
            lock=cell.value("lock", str, _NONE),
            sources=cell.text_map("sources") if "sources" in cell.values else {},
        ),
        overlays=entry.texts("overlays"),
        log=entry.text("log"),
        benchmarks=entry.text("benchmarks"),
        scratch=entry.text("scratch"),
        requests=tuple(
            Request(
                key=request.text("key"),
                case=request.text("case"),
                document=request.value("document", str, _NONE),
                variant=request.text_map("variant"),
                timing=request.value("timing", dict),
            )
            for request in entry.objects("requests", Request)
        ),
    )


_NONE = type(None)


class _Object:
    """An object of JSON whose values are taken by name and kind; ``where`` names it in errors."""

    def __init__(self, data: object, where: str, kind: type | None = None, may_lack: tuple[str, ...] = ()) -> None:
        """Check that ``data`` has the fields of the dataclass ``kind`` and no others, if one is given."""
        if not isinstance(data, dict):
            raise _refused(where, f"{type(data).__name__} instead of an object")
        self.values, self._where = data, where
        if kind is not None:
            names = {one.name for one in fields(kind)}
            for name in sorted(names - data.keys() - set(may_lack)):
                raise _refused(f"{where}.{name}", "missing")
            for name in sorted(data.keys() - names):
                raise _refused(f"{where}.{name}", "no such field")

    def value(self, name: str, *kinds: type) -> Any:
        """Return the value of a field, of one of these very types; None for one that is not there."""
        value = self.values.get(name)
        if type(value) not in kinds:
            expected = " or ".join("null" if kind is _NONE else kind.__name__ for kind in kinds)
            raise _refused(f"{self._where}.{name}", f"{type(value).__name__} instead of {expected}")
        return value

    def text(self, name: str) -> str:
        """Return a text."""
        return str(self.value(name, str))

    def texts(self, name: str) -> tuple[str, ...]:
        """Return a list of texts."""
        return tuple(_Object({name: one}, self._where).text(name) for one in self.value(name, list))

    def text_map(self, name: str) -> dict[str, str]:
        """Return an object whose values are all texts."""
        inner = self.inner(name)
        return {key: inner.text(key) for key in inner.values}

    def inner(self, name: str, kind: type | None = None, may_lack: tuple[str, ...] = ()) -> _Object:
        """Return the object in a field."""
        return _Object(self.value(name, dict), f"{self._where}.{name}", kind, may_lack)

    def objects(self, name: str, kind: type) -> list[_Object]:
        """Return the list of objects in a field."""
        return [
            _Object(one, f"{self._where}.{name}[{place}]", kind) for place, one in enumerate(self.value(name, list))
        ]


def _refused(where: str, words: str) -> ValueError:
    return ValueError(f"{where}: {words}; a job is written by harness.worker_client of the same version")
