"""corners -> release -> commit: the flow of a bisect, top to bottom."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from harness.bisect.releases import Axis, AxisSearch, Found, make_axis
from harness.bisect.search import Answer, Conditions, Corner, conditions, corners, sentence
from harness.bisect.symptom import Symptom, fails, symptom_of
from harness.bisect.wording import boundary
from harness.contracts.record import VariantRecord
from harness.environments.locks import LockBook
from harness.environments.resolve import Lock
from harness.errors import ExitStatus
from harness.matrix.read import MATRICES, load_matrix
from harness.matrix.write import matrix_text

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from harness.bisect.commits import CommitAnswer
    from harness.bisect.probe import Locks, Prober
    from harness.bisect.question import Asking
    from harness.bisect.releases import Rule
    from harness.bisect.search import Find
    from harness.contracts.record import Record
    from harness.environments.releases import Release
    from harness.matrix.spec import Cell


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What is looked for on an axis: ends by version, a direction, and what counts as bad."""

    good: str | None = None
    bad: str | None = None
    find: Find | None = None
    any_failure: bool = False
    make_rule: Callable[[Record, Record], Rule] | None = None


@dataclass(frozen=True, kw_only=True)
class CornersFound:
    """The corners of two cells: their records, what they say, and the sentence."""

    packages: tuple[str, ...]
    cells: Mapping[Corner, Cell]
    records: Mapping[Corner, Record]
    answers: Mapping[Corner, Answer]
    conditions: Conditions
    symptom: Symptom | None
    sentence: str


@dataclass(kw_only=True)
class Result:
    """What a bisect came to."""

    corners: CornersFound | None = None
    axes: list[Found] = field(default_factory=list)
    commit: CommitAnswer | None = None
    refusals: list[str] = field(default_factory=list)

    def exit_status(self) -> ExitStatus:
        """Give 0 when something was found, 3 when nothing could be measured, else 1."""
        records = [record for one in self.axes for record in one.records.values()]
        records += self.corners.records.values() if self.corners else []
        if records and not any(isinstance(record, VariantRecord) for record in records):
            return ExitStatus.NOTHING_MEASURED
        found = any(one.finding.change for one in self.axes) or self.commit is not None
        only_corners = self.corners is not None and bool(self.corners.conditions.needed) and not self.axes
        return ExitStatus.AS_EXPECTED if (found or only_corners) else ExitStatus.NEEDS_A_PERSON


def search_axis(axis: Axis, wanted: Wanted, asking: Asking, prober: Prober) -> Found:
    """Search one axis. Raises :class:`harness.bisect.releases.NoEnds`."""
    search = AxisSearch(axis, asking, prober, make_rule=wanted.make_rule)
    good, bad = (None if one is None else axis.index(one) for one in (wanted.good, wanted.bad))
    return search.run(good=good, bad=bad, find=wanted.find, any_failure=wanted.any_failure)


def which_packages(good: Cell, bad: Cell) -> tuple[str, ...]:
    """List the packages in which two cells differ."""
    return tuple(
        sorted(name for name in good.pins.keys() | bad.pins.keys() if good.pins.get(name) != bad.pins.get(name))
    )


def search_corners(good: Cell, bad: Cell, asking: Asking, prober: Prober, *, any_failure: bool) -> CornersFound:
    """Measure every corner between two cells and say which packages it takes."""
    packages = which_packages(good, bad)
    cells = {corner: _corner_cell(good, bad, corner) for corner in corners(packages)}
    records: dict[Corner, Record] = {}
    symptom: Symptom | None = None
    for corner, cell in cells.items():
        known = prober.known(cell) if asking.is_new(cell.id) else None
        label = " ".join(f"{name} {cell.pins.get(name, '-')}" for name in packages)

        def measure(cell: Cell = cell) -> Record:
            return prober.measure(cell)

        records[corner] = asking.ask(cell.id, label, "corner", known=known, measure=measure)
        if symptom is None:
            if not fails(records[corner]):
                break
            symptom = symptom_of(records[corner], any_failure=any_failure)
    answers = {corner: _corner_answer(symptom, record) for corner, record in records.items()} if symptom else {}
    found = conditions(packages, answers)
    names = {name: f"{name} {bad.pins.get(name, '-')}" for name in packages}
    return CornersFound(
        packages=packages, cells=cells, records=records, answers=answers, conditions=found, symptom=symptom,
        sentence=sentence(found, names),
    )  # fmt: skip


def _corner_answer(symptom: Symptom, record: Record) -> Answer:
    """Return the answer of a corner: what fails of another cause says nothing of this one, and is not good."""
    answer = symptom.answer(record)
    return Answer.SKIP if answer is Answer.GOOD and fails(record) else answer


def bisect_corners(
    found: CornersFound,
    good: Cell,
    bad: Cell,
    *,
    candidates: Callable[[str], tuple[Release, ...]],
    asking: Asking,
    prober: Prober,
) -> tuple[CornersFound, list[Found]]:
    """Find for each package that is needed the release where its bad side begins; say it again with those.

    The other packages stand as in the first needed corner that has the package.
    """
    axes = []
    names = {name: f"{name} {bad.pins.get(name, '-')}" for name in found.packages}
    for package in found.packages:
        corner = next((one for one in found.conditions.needed if package in one), None)
        if corner is None or package not in good.pins or package not in bad.pins:
            continue
        axis = make_axis(package, candidates(package), _corner_cell(good, bad, corner))
        wanted = Wanted(
            good=good.pins[package],
            bad=bad.pins[package],
            any_failure=bool(found.symptom and found.symptom.any_failure),
        )
        one = search_axis(axis, wanted, asking, prober)
        axes.append(one)
        if (begins := boundary(one)) is not None:
            names[package] = f"{package} {begins}"
    return replace(found, sentence=sentence(found.conditions, names)), axes


def _corner_cell(good: Cell, bad: Cell, corner: Corner) -> Cell:
    pins = {**good.pins, **{name: version for name, version in bad.pins.items() if name in corner}}
    absent = {name for name in corner if name not in bad.pins}
    return replace(bad, pins={name: version for name, version in pins.items() if name not in absent})


def failing_cell(result: Result) -> Cell | None:
    """Return the cell that shows the defect next to the change, or the bad corner; None without one."""
    for found in result.axes:
        if (change := found.finding.change) is not None:
            return found.axis.cells[change.right if change.becomes is Answer.BAD else change.left]
    return next(iter(result.corners.cells.values())) if result.corners else None


def cell_and_matrix(cell: Cell, locks: Locks, folder: Path) -> tuple[str, str] | None:
    """Return the id of a cell and the name of a matrix that has it, with its lock.

    Where no kept matrix does, one is written to ``folder``: ``cell.toml``, and its lock beside it.
    What floated with a date is pinned there to what it was. None when the cell has no lock.
    """
    for path in sorted(MATRICES.glob("*.toml")):
        if any(one.id == cell.id for one in load_matrix(path.stem).cells):
            return cell.id, path.stem
    lock = locks.get(cell)
    if not isinstance(lock, Lock):
        return None
    pinned = replace(cell, pins={name: lock.versions[name] for name in cell.pins}, why="the failing end of a bisect")
    path = folder / "cell.toml"
    path.write_text(matrix_text("The failing end of a bisect", [pinned]), encoding="utf-8")
    LockBook(folder / "locks" / "cell.json").keep({pinned: lock})
    return pinned.id, str(path)
