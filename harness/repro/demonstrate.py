"""Hold scripts against records: does what somebody pastes into an issue show what was measured?"""

from __future__ import annotations

import itertools
import re
import time
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.contracts.records import place, place_of, read_run, variants_in
from harness.environments.uv import run_uv
from harness.errors import EnvironmentFailure
from harness.interface import Outcome, variant_id
from harness.judge.verdicts import expectation_for
from harness.matrix.plan import Selection
from harness.repro.choose import lock_of
from harness.repro.execute import read_verdict
from harness.repro.script import script
from harness.run.pipeline import How, run_matrix

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from harness.contracts.record import VariantRecord
    from harness.matrix.cases import Case
    from harness.matrix.expected import Expectation
    from harness.matrix.spec import Cell, Matrix
    from harness.run.runs import Run

_SHOWN = (Outcome.ERROR, Outcome.WRONG)
_LIMIT_S = 600


@dataclass(frozen=True, kw_only=True)
class Window:
    """One place to look at: a variant in a cell, and what is expected there (None: that it holds)."""

    case: Case
    variant: dict[str, str]
    cell: Cell
    expectation: Expectation | None

    @property
    def name(self) -> str:
        """Name the place as a person would."""
        return f"{self.case.name}:{variant_id(self.variant)}"


@dataclass(frozen=True, kw_only=True)
class Shown:
    """What a script showed, beside the record of the same place."""

    window: Window
    record: VariantRecord
    outcome: str
    signature: str | None
    words: str
    status: int
    seconds: float
    size: tuple[int, int]
    """Lines, and bytes."""

    @property
    def same(self) -> bool:
        """Return whether script and record agree in outcome, signature and words without numbers, and status."""
        known = self.record
        status = {"passed": 0, "wrong": 1, "error": 1}.get(known.outcome, 2)
        told = (self.outcome, self.signature, self.status)
        agrees = known.message is None or _wordless(known.message) == _wordless(self.words)
        return agrees and told == (known.outcome, known.signature, status)


def windows(matrix: Matrix, cases: Sequence[Case], count: int) -> list[Window]:
    """Choose up to ``count`` expectations, turn by turn from each case, each where no other was looked at so far.

    After them comes one place for each case where the variant of its first window is expected to pass.
    """
    queues = [_failing(matrix, case) for case in cases]
    turns = itertools.chain.from_iterable(itertools.zip_longest(*queues))
    failing: list[Window] = []
    seen: Counter[str] = Counter()
    for places in itertools.islice((one for one in turns if one), count):
        failing.append(min(places, key=lambda one: seen[one.cell.id]))
        seen[failing[-1].cell.id] += 1
    first = {window.case.name: window for window in reversed(failing)}
    return [*failing, *(good for window in first.values() if (good := _passing(matrix, window)))]


def _failing(matrix: Matrix, case: Case) -> list[list[Window]]:
    """List for each expectation of a defect all places that it is the first to cover."""
    found: dict[int, list[Window]] = {id(one): [] for one in case.expectations if one.outcome in _SHOWN}
    for cell, variant in itertools.product(matrix.cells, case.variants):
        expectation = _expected(case, cell, variant)
        if expectation is not None and id(expectation) in found:
            found[id(expectation)].append(Window(case=case, variant=variant, cell=cell, expectation=expectation))
    return [places for places in found.values() if places]


def _passing(matrix: Matrix, window: Window) -> Window | None:
    cells = (cell for cell in reversed(matrix.cells) if _expected(window.case, cell, window.variant) is None)
    cell = next(cells, None)
    return Window(case=window.case, variant=window.variant, cell=cell, expectation=None) if cell else None


def _expected(case: Case, cell: Cell, variant: dict[str, str]) -> Expectation | None:
    return expectation_for(case, {**cell.pins, "python": cell.python}, variant)


def demonstrate(matrix: Matrix, chosen: Sequence[Window], run: Run) -> Iterator[Shown]:
    """Measure each window where that is not known, then run its script with ``uv run``."""
    folder = run.folder / "repro"
    for index, window in enumerate(chosen):
        selection = Selection(cells=(window.cell.id,), case=window.name)
        run_matrix(matrix, (window.case,), selection, run, How(jobs=1))
        variant = {**window.variant, "device": "cpu", "dtype": "float32"}
        wanted = place(window.cell.id, window.case.name, variant)
        record = next((one for one in variants_in(read_run(run.folder)) if place_of(one) == wanted), None)
        if record is None:
            message = f"{window.name} in {window.cell.id} has no record; its cell is not ready: see {run.folder}"
            raise EnvironmentFailure(message)
        text = script(window.case, variant, lock_of(matrix, window.cell), window.cell.python)
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{index:02d}_{window.case.name}.py"
        path.write_text(text, encoding="utf-8")
        yield show(path, window, record)


def show(path: Path, window: Window, record: VariantRecord) -> Shown:
    """Run one script with ``uv run`` and read what it says."""
    begin = time.monotonic()
    done = run_uv("run", "--no-project", str(path), cwd=path.parent, limit_s=_LIMIT_S)
    path.with_suffix(".log").write_text(done.stdout + done.stderr, encoding="utf-8")
    text = path.read_text(encoding="utf-8")
    outcome, signature, words = read_verdict(done.stdout)
    return Shown(
        window=window,
        record=record,
        outcome=outcome,
        signature=signature,
        words=words,
        status=done.returncode,
        seconds=time.monotonic() - begin,
        size=(len(text.splitlines()), len(text)),
    )


def _wordless(message: str) -> str:
    """Take numbers and paths out of a message: another machine rounds otherwise, and installs elsewhere."""
    return re.sub(r"[\d.e+-]*\d|\S*/\S*", "", message)
