"""Measure both sides side by side, the quick ring first, ask again what flipped, and tell the difference."""

from __future__ import annotations

import time
from collections import defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING

from harness.against.difference import Difference, difference, place_of
from harness.against.question import LIMIT_S, expression, quick_ring, shown, sides_of
from harness.against.told import EVERY, QUICK, Told
from harness.contracts.record import VariantRecord
from harness.contracts.records import read_run
from harness.environments.locks import LockBook, lock_book
from harness.environments.resolve import Lock
from harness.errors import UsageError
from harness.latency.sides import Sides, timed_variants
from harness.latency.turns import abba
from harness.latency.verdicts import rows_of
from harness.matrix.plan import plan_run
from harness.matrix.read import parse_matrix
from harness.matrix.source import redact
from harness.matrix.write import matrix_text
from harness.paths import cache_folder
from harness.program import PROGRAM
from harness.run.pipeline import How, resolve_all, run_matrix
from harness.run.runs import Run

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from harness.against.question import Question
    from harness.contracts.record import Record
    from harness.latency.verdicts import Row
    from harness.matrix.cases import Case
    from harness.matrix.plan import Selection
    from harness.matrix.spec import Cell

TIMED = "generate_with_cache:*-cached"
"""What is timed when a budget is given."""

_EVERYWHERE = ("torch", "sentence-transformers")
"""What stands in every cell of a comparison."""

NAME = "against"
"""Of the matrix that a comparison writes beside its records."""


class Against:
    """A question whose rings are measured one after the other into one run."""

    def __init__(
        self, question: Question, cases: tuple[Case, ...], selection: Selection, run: Run, *, jobs: int | None = None
    ) -> None:
        """Write the matrix of both sides into the run's folder, from where any command can take it.

        Raises :class:`UsageError` when both sides are the same.
        """
        self._question, self._cases, self._selection, self._run = question, cases, selection, run
        self._how = How(jobs=jobs)
        self._begin = time.monotonic()
        run.folder.mkdir(parents=True, exist_ok=True)
        self.path = run.folder / f"{NAME}.toml"
        self.path.write_text(matrix_text(question.title, sides_of(question), limit_s=LIMIT_S), encoding="utf-8")
        self.matrix = parse_matrix(self.path.read_text(encoding="utf-8"), self.path)
        cells = iter(self.matrix.cells)
        self.pairs = {
            companion_words(one.pins, question.package): (one, other) for one, other in zip(cells, cells, strict=True)
        }

    def measure(self, *, quick: bool, whole: str = "") -> Told:
        """Measure a ring, ask again what flipped, and return the difference.

        ``whole`` is a case expression that the quick ring has every variant of.
        """
        selection = self._selection
        if quick:
            planned = plan_run(self.matrix, self._cases, selection)
            ring = quick_ring([one for cell in planned for one in cell.variants])
            selection = replace(selection, case=",".join(filter(None, (ring, whole))))
        self._resolve()
        run_matrix(self.matrix, self._cases, selection, self._run, self._how)
        found = self._difference(self._run)
        if wanted := self._wanted(found):
            found = found.without(self._ask_again(wanted))
        return Told(
            package=self._question.package,
            before=shown(self._question.before),
            after=shown(self._question.after),
            ring=QUICK if quick else EVERY,
            whole=whole if quick else "",
            difference=found,
            seconds=time.monotonic() - self._begin,
            run=self._run.id,
            matrix=str(self.path),
            pairs={name: (one.id, other.id) for name, (one, other) in self.pairs.items()},
            sides={name: self._words(one) for name, (one, _) in self.pairs.items()},
            also=self._also(),
        )

    def _resolve(self) -> None:
        """Resolve every cell, once for all rings; what was resolved today, and does not float, is not asked again.

        The run gets the locks as well, so that any other command finds them beside its matrix.
        """
        if self._how.locks:
            return
        day = time.strftime("%Y%m%d", time.gmtime())
        today = LockBook(cache_folder() / "against-locks" / f"{day}.json")
        cells = list(self.matrix.cells)
        answers = dict(zip(cells, resolve_all(cells, today, relock=False), strict=True))
        lock_book(self.matrix).keep({cell: one for cell, one in answers.items() if isinstance(one, Lock)})
        self._how = replace(self._how, locks=answers)

    def timed(self, budget_s: float) -> tuple[Row, ...]:
        """Time what is cached on both sides, call by call in turn, as ``compare`` does; corrected over all of it."""
        book = lock_book(self.matrix)
        device = self._selection.device
        variants = timed_variants(TIMED, device)
        rows: list[Row] = []
        for pair in self.pairs.values():
            with Sides(run=self._run, cells=pair, book=book, matrix=NAME, device=device) as sides:
                share = budget_s / len(variants) / len(self.pairs)
                pairs = [sides.measure(case, variant, abba("cached"), budget_s=share) for case, variant in variants]
            rows += rows_of(pairs)
        return tuple(rows)

    def _difference(self, run: Run) -> Difference:
        by_cell: dict[str, list[Record]] = defaultdict(list)
        for record in read_run(run.folder):
            by_cell[record.cell.id].append(record)
        whole = Difference()
        for name, (before, after) in self.pairs.items():
            whole += difference(by_cell[before.id], by_cell[after.id], name)
        return whole

    def _wanted(self, found: Difference) -> dict[str, list[tuple[str, Mapping[str, str]]]]:
        """List the variants to ask again, by companion; a cell that never became ready is not among them."""
        wanted: dict[str, list[tuple[str, Mapping[str, str]]]] = defaultdict(list)
        for one in found.flips:
            if one.variant:
                wanted[one.companion].append((one.case, one.variant))
        return wanted

    def _ask_again(
        self, wanted: Mapping[str, Sequence[tuple[str, Mapping[str, str]]]]
    ) -> set[tuple[str, tuple[str, ...]]]:
        """Measure what flipped once more on both sides; return what did not come out alike on one of them."""
        run = Run(id=f"{self._run.id}-again")
        first = _by_place(read_run(self._run.folder))
        flaky = set()
        for name, variants in wanted.items():
            cells = tuple(cell.id for cell in self.pairs[name])
            selection = replace(self._selection, cells=cells, case=expression(variants))
            run_matrix(self.matrix, self._cases, selection, run, replace(self._how, fresh=True))
            for (cell, place), record in _by_place(read_run(run.folder)).items():
                before = first.get((cell, place))
                if cell in cells and before and _decisive(before) != _decisive(record):
                    flaky.add((name, place))
        return flaky

    def _words(self, cell: Cell) -> str:
        """Write the arguments that ask for both sides beside the companion of a cell; sources without credentials."""
        asked = self._question
        words = [redact(asked.before), redact(asked.after)]
        words += [f"--package {asked.package}"] if asked.package != "peft" else []
        rest = {name: pin for name, pin in cell.pins.items() if name not in {asked.package, *_EVERYWHERE}}
        words.append("--with " + ",".join(f"{name}=={redact(pin)}" for name, pin in rest.items()))
        words += [f"--as-of {asked.as_of.isoformat()}"] if asked.as_of else []
        return " ".join(words)

    def _also(self) -> dict[str, str]:
        """Say in which other packages the two sides of a pair differ."""
        versions: dict[str, dict[str, str]] = {}
        for record in read_run(self._run.folder):
            if isinstance(record, VariantRecord):
                versions.setdefault(record.cell.id, dict(record.cell.packages))
        told = {}
        for name, (before, after) in self.pairs.items():
            one, other = versions.get(before.id, {}), versions.get(after.id, {})
            differ = [
                f"{package} {one[package]} | {other[package]}"
                for package in one
                if package != self._question.package and package in other and one[package] != other[package]
            ]
            if differ:
                told[name] = ", ".join(differ)
        return told


def companion_words(pins: Mapping[str, str], package: str) -> str:
    """Name what stands beside both sides: its pins but the package's own, and but those that every cell has."""
    words = [f"{name} {shown(pin)}" for name, pin in pins.items() if name not in {package, *_EVERYWHERE}]
    return ", ".join(words)


def _by_place(records: Iterable[Record]) -> dict[tuple[str, tuple[str, ...]], VariantRecord]:
    return {(one.cell.id, place_of(one)): one for one in records if isinstance(one, VariantRecord)}


def _decisive(record: VariantRecord) -> tuple[str, str]:
    return str(record.outcome), record.signature or ""


def of_runs(before: Run, after: Run) -> Told:
    """Hold two runs against each other: cells by their pins where both have them, else their only cells.

    Raises :class:`UsageError` when the runs have no cell in common and more than one each.
    """
    begin = time.monotonic()
    sides = []
    for run in (before, after):
        by_cell: dict[str, list[Record]] = defaultdict(list)
        for record in read_run(run.folder):
            by_cell[record.cell.id].append(record)
        sides.append(by_cell)
    old, new = sides
    common = [cell for cell in new if cell in old]
    pairs = {cell: (cell, cell) for cell in common}
    if not common and len(old) == len(new) == 1:
        (one,), (other,) = old, new
        pairs = {f"{one} | {other}": (one, other)}
    if not pairs:
        message = f"runs {before.id} and {after.id} have no cell in common; list their cells with: {PROGRAM} report RUN"
        raise UsageError(message)
    whole = Difference()
    for name, (one, other) in pairs.items():
        whole += difference(old[one], new[other], name)
    alone = [
        f"only in {run.id}: {cell}"
        for run, here, there in ((before, old, new), (after, new, old))
        for cell in here
        if common and cell not in there
    ]
    return Told(
        package="run", before=before.id, after=after.id, ring="what both runs have", difference=whole,
        seconds=time.monotonic() - begin, run=after.id, pairs=pairs, skipped=tuple(alone),
    )  # fmt: skip
