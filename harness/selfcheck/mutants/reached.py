"""Which lines of a release each variant runs, and what becomes of it there: one traced run for each release."""

from __future__ import annotations

import gzip
import json
from collections import defaultdict
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from harness.contracts.record import VariantRecord
from harness.interface import Outcome, variant_id
from harness.judge.distances import distances_of, distances_that_differ
from harness.selfcheck.mutants.planted import PACKAGE, copied, write_source

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from harness.contracts.job import Request
    from harness.contracts.record import CellFacts
    from harness.environments.build import Environment
    from harness.run.workers import Worker

TRACER = Path(__file__).with_name("reached_lines.py")

PART = 250
"""How many variants are traced before what they said is kept."""

Lines = frozenset[tuple[str, int]]
"""Files and numbers of lines."""


@dataclass(frozen=True, kw_only=True)
class Gave:
    """What a variant gave without a fault: its outcome, its words, and how far a wrong answer is from its reference."""

    outcome: str
    message: str = ""
    distances: Mapping[str, float | str] = field(default_factory=dict)

    def is_otherwise(self, record: VariantRecord) -> bool:
        """Return whether a fault shows in a record: what passed does not, or what is wrong is wrong otherwise."""
        if self.outcome == Outcome.PASSED:
            return record.outcome != Outcome.PASSED
        if record.outcome != self.outcome or (record.message or "") != self.message:
            return True
        before = replace(record, evidence={"distances": dict(self.distances)})
        return bool(distances_that_differ(before, record))


@dataclass(frozen=True, kw_only=True)
class Known:
    """What is known of one variant without a fault: what it gave, and the lines that it runs."""

    gave: Gave
    lines: Lines


class Reached:
    """What is known of variants, by their keys, kept in a file: what did not change is traced once."""

    def __init__(self, path: Path) -> None:
        """Read ``path`` if it is there."""
        self._path = path
        self._known: dict[str, Known] = {}
        self._by_line: dict[tuple[str, int], set[str]] = defaultdict(set)
        if path.is_file():
            with gzip.open(path, "rt", encoding="utf-8") as lines:
                for line in lines:
                    data = json.loads(line)
                    # Files of before say the outcome alone: those variants are traced again.
                    if "gave" in data:
                        self._add(data)

    def _add(self, data: Mapping[str, object]) -> None:
        by_file: dict[str, list[int]] = data["lines"]  # type: ignore[assignment]
        lines = frozenset((file, number) for file, numbers in by_file.items() for number in numbers)
        known = Known(gave=Gave(**data["gave"]), lines=lines)  # type: ignore[arg-type]
        self._known[str(data["key"])] = known
        for line in known.lines:
            self._by_line[line].add(str(data["key"]))

    def gave(self, key: str) -> Gave | None:
        """Return what a variant gave without a fault; None when it is not known."""
        return self._known[key].gave if key in self._known else None

    def running(self, lines: Iterable[tuple[str, int]]) -> set[str]:
        """Return the keys of the variants that run one of these lines."""
        return set().union(*(self._by_line.get(line, set()) for line in lines))

    def running_file(self, file: str) -> set[str]:
        """Return the keys of the variants that run anything of a file."""
        return set().union(*(keys for (name, _), keys in self._by_line.items() if name == file))

    def lines_of(self, keys: Iterable[str], file: str) -> set[int]:
        """Return the lines of a file that one of these variants runs."""
        asked = set(keys)
        return {number for (name, number), keys in self._by_line.items() if name == file and keys & asked}

    def trace(
        self, worker: Worker, cell: CellFacts, environment: Environment, requests: Sequence[Request]
    ) -> dict[str, str]:
        """Run what is not known in a traced copy; keep it, and return the outcomes of all that is asked for."""
        missing = tuple(request for request in requests if request.key not in self._known)
        if missing:
            overlay, *others = environment.overlays
            with copied(overlay, "reached") as copy:
                start = (copy / PACKAGE / "__init__.py").read_text(encoding="utf-8")
                (copy / PACKAGE / TRACER.name).write_text(TRACER.read_text(encoding="utf-8"), encoding="utf-8")
                begin = f"\nfrom {PACKAGE} import {TRACER.stem} as _lines\n_lines.start()\n"
                write_source(copy, "__init__.py", start + begin)
                for first in range(0, len(missing), PART):
                    part = missing[first : first + PART]
                    records = worker.measure(cell, (copy, *others), part)
                    self._keep(part, records, _read_lines(copy / "lines"))
        return {
            request.key: self._known[request.key].gave.outcome for request in requests if request.key in self._known
        }

    def _keep(
        self, requests: Sequence[Request], records: Iterable[object], lines: Mapping[str, Mapping[str, set[int]]]
    ) -> None:
        gave = {
            one.key: Gave(outcome=one.outcome, message=one.message or "", distances=distances_of(one))
            for one in records
            if isinstance(one, VariantRecord)
        }
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with gzip.open(self._path, "at", encoding="utf-8") as output:
            for request in requests:
                found = lines.get(f"{request.case}[{variant_id(request.variant)}]", {})
                data = {
                    "key": request.key,
                    "gave": asdict(gave.get(request.key, Gave(outcome=Outcome.NOT_RUN))),
                    "lines": {file: sorted(numbers) for file, numbers in found.items()},
                }
                output.write(json.dumps(data) + "\n")
                self._add(data)


def _read_lines(folder: Path) -> dict[str, dict[str, set[int]]]:
    """Read what the tracer wrote: for each test, named ``case[variant]``, the lines of each file."""
    found: dict[str, dict[str, set[int]]] = defaultdict(lambda: defaultdict(set))
    for path in folder.glob("*.txt"):
        test = ""
        for line in path.read_text(encoding="utf-8").splitlines():
            if line.startswith("T "):
                case, _, variant = line[2:].rpartition("/")[2].partition(".py::check")
                test = case + variant
            else:
                file, _, number = line.rpartition(":")
                found[test][file].add(int(number))
    return {test: dict(files) for test, files in found.items()}
