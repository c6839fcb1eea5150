"""Short scripts of every live defect: which of them show it, run in the cells that the records came from."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from packaging.version import Version

from harness.contracts.record import VariantRecord
from harness.environments.build import build
from harness.environments.resolve import Lock
from harness.interface import Outcome, variant_id
from harness.judge.defects import Status, load_defects, with_seen
from harness.judge.reference import published, read_reference
from harness.judge.verdicts import defect_of
from harness.matrix.cases import load_cases
from harness.matrix.read import MATRICES, load_matrix
from harness.repro.choose import lock_of
from harness.repro.execute import Seen, run_scripts, seen_of_short
from harness.repro.short import MOST_LINES, SEEDS, short_script

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from harness.matrix.spec import Cell, Matrix

ENOUGH = 0.8
"""The share of live defects that a short script has to show."""

_TRIED = 4
"""Records of a defect whose short form is tried: the newest ones, each of another case or method."""

_SHOWN = frozenset({Outcome.WRONG, Outcome.ERROR})
_CONTROL = "lora"


@dataclass(frozen=True, kw_only=True)
class Place:
    """A published record of a defect that a short script can be written for; ``matrix`` has its cell."""

    defect: str
    matrix: str
    record: VariantRecord

    @property
    def newest(self) -> tuple[Version, Version]:
        """Return what places are ordered by: the releases of transformers and of peft."""
        versions = self.record.cell.versions
        return Version(versions["transformers"]), Version(versions["peft"])


@dataclass(frozen=True, kw_only=True)
class Shown:
    """What the short scripts of a place showed: the first seed's that agrees with the record, else the first one's.

    ``control`` is what the same script shows with LoRA in the place of the prompt.
    """

    place: Place
    text: str
    seen: Seen
    control: Seen

    @property
    def same(self) -> bool:
        """Return whether the script shows the record's outcome, and for an error its signature."""
        record = self.place.record
        return (self.seen.outcome, self.seen.signature) == (record.outcome, record.signature)

    @property
    def variant(self) -> str:
        """Name the variant, without what all have."""
        variant = self.place.record.variant
        return variant_id({axis: value for axis, value in variant.items() if axis not in {"device", "dtype"}})

    @property
    def command(self) -> str:
        """Return the command that writes the script."""
        record = self.place.record
        where = f"--matrix {self.place.matrix} --cell {record.cell.id}"
        return f"prompt-bench repro {record.case} {where} --variant {self.variant}"

    @property
    def lines(self) -> int:
        """Count the script's lines."""
        return len(self.text.splitlines())


def live_defects() -> list[str]:
    """List the defects that are live in the newest releases that were measured, by id."""
    found = load_defects().values()
    return sorted(one.id for one in found if one.kept is not None and one.kept.status is Status.LIVE)


def places() -> dict[str, list[Place]]:
    """Return for each live defect the places to try, newest first: of other cases or methods, each once.

    A defect is absent where none of its places has a short form.
    """
    cases, live = {case.name: case for case in load_cases()}, set(live_defects())
    found: dict[str, list[Place]] = defaultdict(list)
    for name in published():
        if not (MATRICES / f"{name}.toml").is_file():
            continue
        cells = {cell.id for cell in load_matrix(name).cells}
        for record in read_reference(name):
            if not isinstance(record, VariantRecord) or record.cell.id not in cells or record.outcome not in _SHOWN:
                continue
            if record.case not in cases:
                continue
            defect = defect_of(cases[record.case], record)
            if defect in live and record.variant.get("device", "cpu") == "cpu":
                found[defect].append(Place(defect=defect, matrix=name, record=record))
    spread = {one: _spread(sorted(them, key=lambda place: place.newest, reverse=True)) for one, them in found.items()}
    return {defect: them for defect, them in spread.items() if them}


def _spread(ordered: Sequence[Place]) -> list[Place]:
    cases = {case.name: case for case in load_cases()}
    tried: dict[tuple[str, ...], Place] = {}
    for one in ordered:
        record = one.record
        key = (record.case, record.variant.get("method", ""), str(record.outcome))
        if key not in tried and short_script(cases[record.case], record.variant, Lock(pins=()), "3.11") is not None:
            tried[key] = one
        if len(tried) == _TRIED:
            break
    return list(tried.values())


def show_all(tried: Mapping[str, Sequence[Place]], folder: Path) -> Iterator[Shown]:
    """Run short scripts, cell by cell: the first place of each defect, then the next one of those not shown yet."""
    folder.mkdir(parents=True, exist_ok=True)
    left = {defect: list(them) for defect, them in tried.items()}
    while left:
        cells: dict[tuple[str, str], list[Place]] = defaultdict(list)
        for them in left.values():
            one = them.pop(0)
            cells[one.matrix, one.record.cell.id].append(one)
        for (name, cell_id), them in cells.items():
            matrix = load_matrix(name)
            cell = next(one for one in matrix.cells if one.id == cell_id)
            for shown in _in_cell(matrix, cell, them, folder):
                yield shown
                if shown.same:
                    del left[shown.place.defect]
        left = {defect: them for defect, them in left.items() if them}


def _in_cell(matrix: Matrix, cell: Cell, them: Sequence[Place], folder: Path) -> Iterator[Shown]:
    """Run one script a place, with another seed where an answer that should be wrong was right; then the controls."""
    lock = lock_of(matrix, cell)
    environment = build(lock, cell.python)
    cases = {case.name: case for case in load_cases()}

    def run(wanted: Sequence[tuple[Place, int]], method: str = "") -> list[tuple[str, Seen]]:
        paths, texts = [], []
        for one, seed in wanted:
            variant = {**one.record.variant, **({"method": method} if method else {})}
            text = short_script(cases[one.record.case], variant, lock, cell.python, seed=seed) or ""
            path = folder / f"{one.defect}-{one.record.case}-{cell.id}-{method or 'prompt'}-{seed}.py"
            path.write_text(text, encoding="utf-8")
            path.with_suffix(".py.raised").unlink(missing_ok=True)
            paths.append(path)
            texts.append(text)
        statuses = run_scripts(paths, environment)
        seen = [seen_of_short(path, status) for path, status in zip(paths, statuses, strict=True)]
        return list(zip(texts, seen, strict=True))

    best: dict[str, tuple[Place, int, str, Seen]] = {}
    for seed in SEEDS:
        wanted = [
            (one, seed)
            for one in them
            if one.defect not in best or (one.record.outcome, best[one.defect][3].outcome) == ("wrong", "passed")
        ]
        if wanted:
            for (one, _), (text, seen) in zip(wanted, run(wanted), strict=True):
                best[one.defect] = (one, seed, text, seen)
    chosen = list(best.values())
    controls = run([(one, seed) for one, seed, _, _ in chosen], _CONTROL)
    for (one, _, text, seen), (_, control) in zip(chosen, controls, strict=True):
        yield Shown(place=one, text=text, seen=seen, control=control)


def shortest(shown: Sequence[Shown]) -> dict[str, Shown]:
    """Return for each defect the shortest script that shows it, or the shortest of all where none does."""
    best: dict[str, Shown] = {}
    for one in shown:
        known = best.get(one.place.defect)
        if known is None or (not one.same, one.lines) < (not known.same, known.lines):
            best[one.place.defect] = one
    return best


def keep_commands(best: Mapping[str, Shown]) -> None:
    """Write into the file of each defect the command of the script that shows it."""
    known = load_defects()
    for defect, one in best.items():
        kept = known[defect].kept
        if one.same and kept is not None:
            path = known[defect].path
            path.write_text(with_seen(path, replace(kept, repro=one.command)), encoding="utf-8")


def table(best: Mapping[str, Shown], wanted: Sequence[str]) -> tuple[str, float]:
    """Write the table of live defects in Markdown; return it, and the share of those that a script shows."""
    lines = [
        "| defect | case and variant | matrix and cell | shows | lines | with LoRA |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    good = 0
    for defect in wanted:
        chosen = best.get(defect)
        if chosen is None:
            lines.append(f"| {defect} | - | - | no short form | - | - |")
            continue
        good += chosen.same
        record = chosen.place.record
        told = f"{chosen.seen.outcome}: {(chosen.seen.signature or chosen.seen.words)[:70]}".replace("|", "/")
        told = told if chosen.same else f"NO ({told})"
        where = f"{chosen.place.matrix} {record.cell.id}"
        cells = [defect, f"{record.case} {chosen.variant}", where, told, str(chosen.lines), chosen.control.outcome]
        lines.append(f"| {' | '.join(cells)} |")
    count = len(wanted)
    share = f"{good} of {count} live defects ({good / count:.0%})"
    lines += ["", f"{share} have a script of at most {MOST_LINES} lines that shows them."]
    return "\n".join(lines) + "\n", good / count


def page(text: str) -> str:
    """Write the page of the docs around the table."""
    return f"{_HEAD}\n{text}"


_HEAD = """# Short scripts of the live defects

Drawn by `nox -s repro-check -- --short --write`. For each defect that is live in the newest releases measured, up to
four of its published records are tried, the newest first, each of another case or method: the short form is run in the
cell of the record, with up to four seeds, and shows the defect when outcome and signature are the record's. The
shortest that does stands here. *with LoRA* is the same script with LoRA in the place of the prompt: `passed` says that
the script asks nothing that cannot be had.

`prompt-bench repro CASE --matrix NAME --cell CELL --variant VARIANT` writes it.
"""
