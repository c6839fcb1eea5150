"""Advise (pure): which measured cells work for a use, how the others fail, and the nearest that works."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from packaging.specifiers import SpecifierSet
from packaging.version import Version

from harness.contracts.record import StateRecord, VariantRecord
from harness.explain.table import kind_of, label_of, releases_of
from harness.interface import Outcome
from harness.judge.windows import ADDED
from harness.packages import EXPLAINED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from harness.contracts.record import CellFacts, Record
    from harness.explain.filters import Where

_WORST_FIRST = (Outcome.WRONG, Outcome.CRASHED, Outcome.ERROR, Outcome.TIMEOUT, Outcome.OUT_OF_MEMORY)
_FAR = 10_000
_ASKED_FOR = {"model", "method", *ADDED}


@dataclass(frozen=True, kw_only=True, eq=False)
class Measured:
    """What was measured in one cell of what is asked for.

    ``asked`` counts the variants that are asked for, of which this cell may have fewer records;
    ``state`` is None when the cell was ready.
    """

    facts: CellFacts
    records: tuple[VariantRecord, ...]
    asked: int
    state: StateRecord | None = None

    @property
    def releases(self) -> dict[str, str]:
        """Return the releases in the cell, python among them."""
        return releases_of(self.facts)

    @property
    def tried(self) -> int:
        """Count the variants that can exist in these versions and were measured."""
        return sum(record.outcome != Outcome.UNSUPPORTED for record in self.records)

    @property
    def works(self) -> bool:
        """Return whether all that is asked for was measured, and all of it passed that can exist here."""
        return self.passed_what_was_tried and len(self.records) == self.asked

    @property
    def passed_what_was_tried(self) -> bool:
        """Return whether something was tried, and all of it passed: more may be asked for than was measured."""
        return self.tried > 0 and not self.failures()

    def failures(self) -> list[Record]:
        """List what failed: records, or the state of a cell that never was ready.

        That a variant cannot exist in these versions is a failure only where none can.
        """
        if self.state is not None:
            return [self.state]
        harmless = {Outcome.PASSED, Outcome.UNSUPPORTED} if self.tried else {Outcome.PASSED}
        return [one for one in self.records if one.outcome not in harmless]

    def newness(self) -> tuple[Version, ...]:
        """Return what cells are ordered by."""
        return tuple(Version(self.releases.get(package, "0")) for package in EXPLAINED)


@dataclass(frozen=True, kw_only=True, eq=False)
class Failure:
    """One way of failing, and the cells that fail so, the newest first. ``defect`` is its cause, "" if unknown."""

    outcome: str
    words: str
    cells: tuple[Measured, ...]
    defect: str = ""


@dataclass(frozen=True, kw_only=True, eq=False)
class Nearest:
    """A cell that works outside the bounds: what has to change, and by how many releases.

    ``steps`` is None when no known release is within a bound, so that nothing can be counted.
    """

    cell: Measured
    changed: tuple[str, ...]
    steps: int | None


@dataclass(frozen=True, kw_only=True, eq=False)
class Use:
    """One thing to do, ``CASE`` or ``CASE / aspect``, within the bounds. Cells stand newest first.

    ``nearest`` is looked for when nothing within the bounds works.
    """

    name: str
    cells: tuple[Measured, ...]
    failures: tuple[Failure, ...]
    nearest: Nearest | None

    @property
    def working(self) -> tuple[Measured, ...]:
        """Return the cells that work for all of it."""
        return tuple(cell for cell in self.cells if cell.works)

    @property
    def promising(self) -> tuple[Measured, ...]:
        """Return the cells that passed what was measured there, which is not all that is asked for."""
        return tuple(cell for cell in self.cells if cell.passed_what_was_tried and not cell.works)


@dataclass(frozen=True, kw_only=True, eq=False)
class Advice:
    """The answer: each use alone, and all of them together. ``rests_on`` are the cells within the bounds."""

    rests_on: tuple[Measured, ...]
    uses: tuple[Use, ...]
    together: Use

    @property
    def works(self) -> bool:
        """Return whether a cell within the bounds works for everything that is asked for."""
        return bool(self.together.working)


def advise(
    records: Iterable[Record],
    where: Where,
    asked: Callable[[VariantRecord], bool],
    releases: Mapping[str, Sequence[str]],
    cause: Callable[[Record], str] = lambda _: "",
) -> Advice | None:
    """Answer from measured cells only; None when nothing was measured of what is asked for, anywhere.

    ``where`` has the bounds, ``asked`` tells whether a record is of a case and variant that is
    meant, and ``releases`` are the known ones, in which the way to the nearest cell is counted. ``cause`` gives the
    defect that accounts for a record, "" where none is known.
    """
    known = [record for record in records if label_of(record) is not None]
    mine = [
        record for record in known if isinstance(record, VariantRecord) and where.fits(record.variant) and asked(record)
    ]
    if not mine:
        return None
    names = sorted({_use(record) for record in mine})
    uses = []
    for name in names:
        own = [record for record in mine if _use(record) == name]
        uses.append(_of_use(name, _cells(own, known), where, releases, cause))
    everything = _cells(mine, known)
    together = _of_use("all of it", everything, where, releases, cause)
    return Advice(rests_on=together.cells, uses=tuple(uses), together=together)


def _use(record: VariantRecord) -> str:
    rest = [value for axis, value in record.variant.items() if axis not in _ASKED_FOR]
    return " / ".join([record.case, *rest])


def _cells(mine: Sequence[VariantRecord], known: Sequence[Record]) -> list[Measured]:
    """Gather records by cell, with the cells of the same matrices that never were ready; newest first."""
    by_cell: dict[tuple[str | None, str], list[VariantRecord]] = defaultdict(list)
    for record in mine:
        by_cell[record.cell.matrix, record.cell.id].append(record)
    asked = len({(record.case, tuple(sorted(record.variant.items()))) for record in mine})
    cells = [Measured(facts=found[0].cell, records=tuple(found), asked=asked) for found in by_cell.values()]
    matrices = {matrix for matrix, _ in by_cell}
    cells += [
        Measured(facts=record.cell, records=(), asked=asked, state=record)
        for record in known
        if isinstance(record, StateRecord)
        and record.cell.matrix in matrices
        and (record.cell.matrix, record.cell.id) not in by_cell
    ]
    return sorted(cells, key=lambda cell: (cell.newness(), cell.facts.id), reverse=True)


def _of_use(
    name: str,
    cells: Sequence[Measured],
    where: Where,
    releases: Mapping[str, Sequence[str]],
    cause: Callable[[Record], str],
) -> Use:
    within = tuple(cell for cell in cells if where.in_bounds(cell.facts))
    working = [cell for cell in cells if cell.works] or [cell for cell in cells if cell.passed_what_was_tried]
    works = any(cell.works for cell in within)
    nearest = None if works else _nearest(working, cells, where, releases)
    return Use(name=name, cells=within, failures=_failures(within, cause), nearest=nearest)


def _failures(cells: Sequence[Measured], cause: Callable[[Record], str]) -> tuple[Failure, ...]:
    """Gather cells by how they fail: by defect where it is known, else by words."""
    found: dict[tuple[str, str, str], list[Measured]] = defaultdict(list)
    words: dict[tuple[str, str, str], str] = {}
    for cell in cells:
        ways: dict[tuple[str, str, str], str] = {}
        for record in cell.failures():
            label, kind, defect = label_of(record), kind_of(record), cause(record)
            ways.setdefault((label.outcome if label else "", defect, "" if defect else kind), kind)
        for key, kind in ways.items():
            found[key].append(cell)
            words.setdefault(key, kind)
    failures = [
        Failure(outcome=key[0], defect=key[1], words=words[key], cells=tuple(own)) for key, own in found.items()
    ]
    return tuple(sorted(failures, key=lambda one: (_rank(one.outcome), -len(one.cells), one.words)))


def _rank(outcome: str) -> int:
    return _WORST_FIRST.index(Outcome(outcome)) if outcome in _WORST_FIRST else len(_WORST_FIRST)


def _nearest(
    working: Sequence[Measured], cells: Sequence[Measured], where: Where, releases: Mapping[str, Sequence[str]]
) -> Nearest | None:
    """Choose the cell with the fewest packages out of bounds, then the fewest releases away, then the newest."""
    best: tuple[tuple[int, int], Nearest] | None = None
    for cell in working:
        changed = tuple(
            package for package in where.versions if not _within(cell.releases.get(package), where.versions[package])
        )
        steps = 0
        for package in changed:
            measured = {one.releases[package] for one in cells if package in one.releases}
            ladder = sorted({*map(Version, measured), *map(Version, releases.get(package, ()))})
            steps += _steps(cell.releases.get(package), where.versions[package], ladder)
        rank = (len(changed), steps)
        if best is None or rank < best[0]:
            counted = steps if steps < _FAR else None
            best = (rank, Nearest(cell=cell, changed=changed, steps=counted))
    return best[1] if best else None


def _within(version: str | None, specifier: str) -> bool:
    return version is not None and SpecifierSet(specifier).contains(version, prereleases=True)


def _steps(version: str | None, specifier: str, ladder: Sequence[Version]) -> int:
    """Count releases from a version to the nearest one within the bounds."""
    allowed = [number for number, one in enumerate(ladder) if _within(str(one), specifier)]
    if version is None or not allowed:
        return _FAR
    here = ladder.index(Version(version))
    return min(abs(number - here) for number in allowed)


def pip_command(facts: CellFacts) -> str:
    """Write the pip command for the versions that a record's cell names."""
    pins = {name: version for name, version in releases_of(facts).items() if name != "python"}
    ordered = [*(name for name in EXPLAINED if name in pins), *(name for name in pins if name not in EXPLAINED)]
    return "pip install " + " ".join(f"{name}=={pins[name]}" for name in ordered)
