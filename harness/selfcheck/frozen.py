"""Adapters and answers that other releases gave: what is kept, and the program that makes it in those releases."""

from __future__ import annotations

import ast
import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from harness.environments.build import build
from harness.environments.locks import lock_book
from harness.environments.resolve import Lock
from harness.errors import UsageError
from harness.matrix.plan import Selection, plan_run
from harness.paths import ROOT
from harness.repro.execute import run_scripts
from harness.run.pipeline import resolve_all

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from harness.matrix.cases import Case
    from harness.matrix.spec import Matrix

PROGRAM = ROOT / "cases" / "adapters" / "make.py"
"""Runs inside of a cell, and needs what is installed there."""

BASE, IDS = "base", "ids"
"""What a file has beside the methods: the base model's own answer, and the text."""


@dataclass(frozen=True, kw_only=True)
class Kept:
    """The answers of one family that one pair of releases gave.

    ``made`` are its versions by package; ``shapes`` has dtype and shape of each tensor by name.
    """

    path: Path
    family: str
    made: Mapping[str, str]
    shapes: Mapping[str, tuple[str, tuple[int, ...]]]

    @property
    def methods(self) -> tuple[str, ...]:
        """Name the methods that have an answer."""
        return tuple(name for name in sorted(self.shapes) if name not in {BASE, IDS})


def kept() -> list[Kept]:
    """Read the heads of the files of answers: eight bytes with the length of the JSON behind them (safetensors)."""
    found = []
    for path in sorted(PROGRAM.parent.glob("*/*/answers.safetensors")):
        data = path.read_bytes()
        head = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        made = json.loads(head.pop("__metadata__")["made"])
        shapes = {name: (one["dtype"], tuple(one["shape"])) for name, one in head.items()}
        found.append(Kept(path=path, family=path.parent.name, made=made, shapes=shapes))
    return found


def cells() -> tuple[str, ...]:
    """Read the cells that write from the program, which is not imported: it needs torch."""
    for node in ast.parse(PROGRAM.read_text(encoding="utf-8")).body:
        match node:
            case ast.Assign(targets=[ast.Name(id="CELLS")], value=value):
                return tuple(ast.literal_eval(value))
    message = f"{PROGRAM} names no CELLS"
    raise UsageError(message)


def run_program(
    matrix: Matrix, cases: tuple[Case, ...], wanted: Sequence[str], *, write: bool
) -> Iterator[tuple[str, int, str]]:
    """Run the program in cells of a matrix; yield the id of each, the exit status, and what was printed.

    With ``write`` the files are written, otherwise they are held against the committed ones: status 1 where they
    differ. Raises as :func:`run_in` does.
    """
    text = f"import sys\nfrom cases.adapters.make import main\nsys.exit(main(write={write}))\n"
    for cell in wanted:
        yield run_in(matrix, cases, cell, text)


def run_in(matrix: Matrix, cases: tuple[Case, ...], cell: str, text: str) -> tuple[str, int, str]:
    """Run a script in the one cell of a matrix that ``cell`` matches; return its id, the status, and what was printed.

    Raises :class:`UsageError` where the cell cannot be resolved.
    """
    (planned,) = plan_run(matrix, cases, Selection(cells=(cell,)))
    (lock,) = resolve_all([planned.cell], lock_book(matrix), relock=False)
    if not isinstance(lock, Lock):
        message = f"{planned.cell.id} cannot be resolved: {lock.words}; name another cell"
        raise UsageError(message)
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "script.py"
        script.write_text(text, encoding="utf-8")
        (status,) = run_scripts([script], build(lock, planned.cell.python))
        said = [script.with_suffix(f".py.{end}").read_text(encoding="utf-8") for end in ("out", "err")]
    return planned.cell.id, status, "".join(said)
