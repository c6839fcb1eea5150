"""Plant one fault after the other in a release, and ask the variants that run its lines until one sees it."""

from __future__ import annotations

import ast
import hashlib
import json
from collections import defaultdict
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import zip_longest
from typing import TYPE_CHECKING

from harness.contracts.job import Request
from harness.contracts.record import VariantRecord
from harness.environments.build import build
from harness.environments.locks import lock_book
from harness.environments.resolve import Lock
from harness.errors import UsageError
from harness.interface import Outcome, variant_id, with_defaults
from harness.judge.reference import REFERENCE, without_paths
from harness.machine import machine_facts
from harness.matrix.cases import select_variants
from harness.matrix.plan import Selection, plan_run
from harness.paths import cache_folder, reports_folder, write_whole
from harness.run.keys import key_of
from harness.run.pipeline import resolve_all
from harness.run.runs import new_run
from harness.run.workers import Worker, cell_facts, settings_for
from harness.selfcheck.mutants.operators import FILES, generated, sample
from harness.selfcheck.mutants.planted import PACKAGE, Mutant, copied, read_equivalents, write_source
from harness.selfcheck.mutants.reached import Reached

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from harness.contracts.record import Record
    from harness.matrix.cases import Case
    from harness.matrix.spec import Cell, Matrix

CELLS = ("peft0.14.0-tf4.47.0-*", "peft0.18.1-tf4.57.3-*", "peft0.21.2-tf5.23.0-*")
"""The cells of the matrix ``references`` in which faults are planted: releases, each beside a transformers with which
most of it passes."""

CASES = (
    "!one_plus_one_round_trip,!sentence_transformer_pooling,!prompt_tuning_guide,!load_best_model_at_end,"
    "!compiled_forward,!generate_cost_growth,!prompt_learning_properties"
)
"""What is asked: every case but those that train with the Trainer, compile, time, or draw their examples."""

RING = 4
OTHERS = 1
"""How many variants of a case that differ in family alone are asked: of the cases of the matrix ``references``,
and of the others. What a mutant changes it seldom changes for one family."""

LORA = "lora"
"""The control, which is no prompt."""

LIMIT_S = 40.0
"""For one variant; a fault may make it hang."""

ROUNDS = (16, 60, 250)
"""How many variants are asked at a time, until one says ``wrong``: most faults are seen by the first few."""

PUBLISHED = REFERENCE / "mutants" / "verdicts.jsonl"
"""What ``docs/mutants.md`` is drawn from."""

FIRST = 6
"""How many are asked before those, of one case file: each file costs a process."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What became of one mutant in one release.

    ``caught`` is ``oracle`` (a variant that passes without the fault is ``wrong``, or one that is wrong is wrong
    otherwise), ``error`` (none is, but one raises, crashes or hangs), ``missed``, ``unreached`` (no variant runs its
    lines) or ``equivalent``. ``by`` names the case and variant, ``said`` has its words; ``key`` is that variant's,
    ``asked`` how many were asked, and ``keys`` a digest of all that might have been. ``quick`` says that those alone
    were asked that had seen a fault before, so that a miss is no verdict on the others.
    """

    release: str
    name: str
    digest: str
    lines: str
    caught: str
    by: str = ""
    said: str = ""
    key: str = ""
    asked: int = 0
    keys: str = ""
    quick: bool = False

    def settles(self, new: Verdict, asked: Collection[str]) -> bool:
        """Return whether this verdict, an earlier one, stands in for ``new``, which would ask variants of these keys.

        It does where the same variants would be asked for the same, and where what saw the fault is still the same. A
        quick miss settles nothing that is asked in full.
        """
        if self.caught == "oracle" and self.key in asked:
            return True
        return self.keys == new.keys and (new.quick or not self.quick)

    def missed_more_than(self, new: Verdict) -> bool:
        """Return whether this is a miss of all variants and ``new``, about the same mutant, one of a few."""
        caught = {"oracle", "equivalent"}
        few = new.quick and new.caught not in caught
        return few and not self.quick and self.caught not in caught and self.digest == new.digest


class Release:
    """One release with the variants that can be asked in it, and a worker."""

    def __init__(
        self,
        matrix: Matrix,
        cases: tuple[Case, ...],
        cell: str,
        *,
        expression: str = CASES,
        names: Collection[str] | None = None,
    ) -> None:
        """Build the environment of the one cell of the matrix that ``cell`` matches, and start its worker.

        ``names`` are the variants to ask, as :func:`name_of` names them; all of ``expression`` where there are none.
        """
        (planned,) = plan_run(matrix, cases, Selection(cells=(cell,)))
        (lock,) = resolve_all([planned.cell], lock_book(matrix), relock=False)
        if not isinstance(lock, Lock):
            message = f"{planned.cell.id} cannot be resolved: {lock.words}; name another cell"
            raise UsageError(message)
        self.version = lock.versions[PACKAGE]
        self.beside = f"transformers {lock.versions['transformers']}"
        self._quick = names is not None
        self._facts = cell_facts(planned.cell, matrix.name, lock)
        self._environment = build(lock, planned.cell.python)
        ring = {case.name for case, _ in planned.variants}
        chosen = few_of_each(requests_of(planned.cell, lock, cases, expression), ring)
        self.requests = tuple(one for one in chosen if names is None or name_of(one) in names)
        run = new_run("mutants")
        self._worker = Worker(
            self._environment, run, "mutants", settings_for(run, limit_s=LIMIT_S, device="cpu", timed=False)
        )
        name = f"{self.version}-{lock.digest.rpartition(':')[2][:16]}.jsonl.gz"
        self.reached = Reached(cache_folder() / "mutants" / name)

    def close(self) -> None:
        """End the worker."""
        self._worker.close()

    @property
    def sources(self) -> Path:
        """Return the folder of the release's package."""
        return self._environment.overlays[0] / PACKAGE

    def trace(self) -> Mapping[str, str]:
        """Learn what each variant runs and whether it passes; return the outcomes by key."""
        return self.reached.trace(self._worker, self._facts, self._environment, self.requests)

    def source(self, file: str) -> str:
        """Read a source of the release."""
        return (self.sources / file).read_text(encoding="utf-8")

    def generated(self, count: int, seed: int) -> list[Mutant]:
        """Draw mutants made by a program in lines that a prompt-learning variant runs; equal ones have their reason."""
        return sample(self.all_generated(), count, seed)

    def all_generated(self) -> list[Mutant]:
        """List every mutant that a program makes there."""
        prompts = [one.key for one in self.requests if one.variant.get("method", LORA) != LORA]
        reasons = read_equivalents()
        found = []
        for file in FILES:
            if (self.sources / file).is_file():
                found += generated(file, self.source(file), self.reached.lines_of(prompts, file))
        return [replace(one, equivalent=reasons.get(one.digest, "")) for one in found]

    def asked_of(self, mutant: Mutant) -> list[Request]:
        """List the variants that run a mutant's lines and have an answer without it, in the order they are asked in.

        One that is wrong without it is asked as well, after those that pass: a known failure must not hide a new one.
        """
        source = self.source(mutant.file)
        lines = mutant.lines(source)
        statements = statement_lines(source, lines)
        if statements is None:
            keys = self.reached.running_file(mutant.file)
        else:
            keys = self.reached.running((mutant.file, line) for line in statements)
        asked = []
        for outcome in (Outcome.PASSED, Outcome.WRONG):
            able = [one for one in self.requests if one.key in keys and self._gave(one.key) == outcome]
            asked += in_turn(able, mutant.digest)
        return asked

    def _gave(self, key: str) -> str:
        gave = self.reached.gave(key)
        return gave.outcome if gave else ""

    def _otherwise(self, record: Record) -> bool:
        """Return whether a record is another than without a fault; that of a cell's state is."""
        gave = self.reached.gave(record.key) if isinstance(record, VariantRecord) else None
        return gave is None or gave.is_otherwise(record)  # type: ignore[arg-type]  # a variant's, where it gave anything

    def judge(self, mutant: Mutant, known: Verdict | None = None, first: str = "") -> Verdict:
        """Plant a mutant and ask; ``known`` is an earlier verdict, which counts when nothing has changed since.

        ``first`` names what has seen the mutant before, here or in another release: it is asked before all others.
        """
        source = self.source(mutant.file)
        lines = mutant.lines(source)
        asked = self.asked_of(mutant)[: FIRST + sum(ROUNDS)]
        place = f"{mutant.file}:{lines.start}" + (f"-{lines[-1]}" if len(lines) > 1 else "")
        verdict = Verdict(
            release=self.version,
            name=mutant.name,
            digest=mutant.digest,
            lines=place,
            caught="missed",
            keys=digest_of(asked),
            quick=self._quick,
        )
        if mutant.equivalent:
            return replace(verdict, caught="equivalent", said=mutant.equivalent)
        if not asked:
            return replace(verdict, caught="unreached")
        if known and known.settles(verdict, {one.key for one in asked}):
            return known
        overlay, *others = self._environment.overlays
        with copied(overlay, "mutant") as copy:
            write_source(copy, mutant.file, mutant.apply(source))
            for part in rounds(asked, first):
                records = self._worker.measure(self._facts, (copy, *others), part)
                verdict = after(verdict, [one for one in records if self._otherwise(one)], len(part))
                if verdict.caught == "oracle":
                    break
        return verdict


def after(verdict: Verdict, records: Sequence[Record], asked: int) -> Verdict:
    """Return a verdict with what more variants said that is otherwise than without the fault.

    An oracle counts before an error, and what came first stays. An answer that was wrong and is not, or is otherwise,
    was seen by an oracle as well.
    """
    verdict = replace(verdict, asked=verdict.asked + asked)
    told = {
        "oracle": [Outcome.WRONG, Outcome.PASSED],
        "error": [Outcome.ERROR, Outcome.CRASHED, Outcome.TIMEOUT, Outcome.OUT_OF_MEMORY],
    }
    for caught, outcomes in told.items():
        if caught == "error" and verdict.caught == "error":
            continue
        for one in records:
            if isinstance(one, VariantRecord) and one.outcome in outcomes:
                name = f"{one.case}[{variant_id(one.variant)}]"
                return replace(verdict, caught=caught, by=name, said=one.message or "", key=one.key)
        if records and not isinstance(records[0], VariantRecord) and verdict.caught == "missed":
            return replace(verdict, caught="error", by="import", said=records[0].message)
    return verdict


def requests_of(cell: Cell, lock: Lock, cases: tuple[Case, ...], expression: str) -> Iterator[Request]:
    """List the variants of the selected cases as requests, each with the key that names its measurement."""
    machine = machine_facts()
    for case, variant in select_variants(cases, expression):
        full = with_defaults(variant, "cpu")
        key = key_of(
            lock=lock.digest,
            python=cell.python,
            case=case,
            variant=full,
            machine=machine,
            timed=False,
            examples=None,
        )
        yield Request(key=key, case=case.name, document=case.document, variant=full)


def few_of_each(requests: Iterable[Request], ring: set[str]) -> list[Request]:
    """Pick :data:`RING` of the variants that differ in family alone, :data:`OTHERS` of cases out of the ring."""
    groups: dict[tuple[str, ...], list[Request]] = defaultdict(list)
    for one in requests:
        groups[one.case, *(value for axis, value in one.variant.items() if axis != "model")].append(one)
    chosen = []
    for alike in groups.values():
        alike.sort(key=lambda one: hashlib.sha256(variant_id(one.variant).encode()).hexdigest())
        # The rows of a plan are many already, and each has settings that no other has.
        chosen += alike[: RING if alike[0].case in ring and "row" not in alike[0].variant else OTHERS]
    return chosen


def in_turn(requests: Iterable[Request], salt: str) -> list[Request]:
    """Order variants so that cases, methods and aspects take turns; what has a reference by hand comes first.

    ``salt`` decides which of several alike comes first, so that not every mutant is shown to the same family.
    """
    groups: dict[tuple[str, ...], list[Request]] = defaultdict(list)
    for one in requests:
        variant = one.variant
        other = variant.get("aspect", "") or variant.get("layout", "") or variant.get("task", "")
        groups[one.case, variant.get("method", ""), other].append(one)
    for alike in groups.values():
        alike.sort(key=lambda one: hashlib.sha256(f"{salt}{one.key}".encode()).hexdigest())
    order = sorted(
        groups,
        key=lambda name: (
            not name[0].startswith(("by_hand", "several_adapters_state", "training", "fresh")),
            hashlib.sha256(f"{salt}{name}".encode()).hexdigest(),
        ),
    )
    turns = zip_longest(*(groups[name] for name in order))
    return [one for turn in turns for one in turn if one is not None]


def rounds(asked: Sequence[Request], first: str) -> Iterator[tuple[Request, ...]]:
    """Split what is asked: what is named ``first``, a few of one case file, and then more and more of the rest."""
    left = list(asked)

    def take(wanted: Iterable[Request]) -> tuple[Request, ...]:
        part = tuple(wanted)
        for one in part:
            left.remove(one)
        return part

    parts: list[Callable[[], Sequence[Request]]] = [
        lambda: [one for one in left if name_of(one) == first],
        lambda: [one for one in left if one.case == left[0].case][:FIRST],
        *(partial(_up_to, left, size) for size in ROUNDS),
    ]
    for part in parts:
        if left and (taken := take(part())):
            yield taken


def _up_to(left: Sequence[Request], size: int) -> Sequence[Request]:
    return left[:size]


def name_of(request: Request) -> str:
    """Name a request as verdicts name what has seen a mutant."""
    return f"{request.case}[{variant_id(request.variant)}]"


def digest_of(requests: Sequence[Request]) -> str:
    """Return a digest of what is asked."""
    return hashlib.sha256("".join(one.key for one in requests).encode()).hexdigest()[:16]


def statement_lines(source: str, lines: range) -> set[int] | None:
    """Return the lines at which the statements run that a change touches; None for those outside of functions.

    A simple statement of several lines may report any of them; of a compound one only the head counts.
    """
    tree = ast.parse(source)
    found: set[int] = set()
    inside = False
    for function in ast.walk(tree):
        if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        for node in ast.walk(function):
            if node is function or not isinstance(node, ast.stmt):
                continue
            first, last = _span(node)
            if first <= lines[-1] and lines[0] <= last:
                inside = True
                found.update(range(first, last + 1))
    return found if inside else None


def _span(node: ast.stmt) -> tuple[int, int]:
    """Return the first and the last line of a statement, or of the head of one that holds others."""
    body = getattr(node, "body", None) or getattr(node, "handlers", None)
    if isinstance(body, list) and body:
        return node.lineno, max(node.lineno, body[0].lineno - 1)
    return node.lineno, node.end_lineno or node.lineno


class Results:
    """Verdicts, kept in ``reports/mutants.jsonl`` as they come: a run that is interrupted goes on from there.

    Those that are published come first: what has seen a mutant there is asked first.
    """

    def __init__(self, published: Path = PUBLISHED) -> None:
        """Read what is there; a later line of a mutant counts."""
        self._path, self._published = reports_folder() / "mutants.jsonl", published
        self.verdicts: dict[tuple[str, str], Verdict] = {}
        self._seen: list[Verdict] = []
        for path in (self._published, self._path):
            if path.is_file():
                for line in path.read_text(encoding="utf-8").splitlines():
                    self._add(Verdict(**json.loads(line)))

    def publish(self) -> Path:
        """Write what is known, without paths of this machine, to where the page of mutants is drawn from."""
        told = (replace(one, said=without_paths(one.said)) for _, one in sorted(self.verdicts.items()))
        lines = [json.dumps(asdict(one)) for one in told]
        self._published.parent.mkdir(exist_ok=True)
        write_whole(self._published, "".join(f"{line}\n" for line in lines))
        return self._published

    def get(self, release: str, mutant: Mutant) -> Verdict | None:
        """Return the verdict about this very mutant in a release, if there is one."""
        found = self.verdicts.get((release, mutant.name))
        return found if found and found.digest == mutant.digest else None

    def caught(self, release: str, mutant: Mutant) -> str:
        """Say what became of this very mutant in a release the last time; "" where it was never planted."""
        found = self.get(release, mutant)
        return found.caught if found else ""

    def seen_by(self, mutant: Mutant) -> str:
        """Name what has seen a mutant of this name the last time, in whichever release; nothing if nothing has."""
        return next((one.by for one in reversed(self._seen) if one.name == mutant.name), "")

    def watchers(self) -> set[str]:
        """Name every variant that has ever seen a mutant, whatever became of that one since."""
        return {one.by for one in self._seen}

    def keep(self, verdict: Verdict) -> None:
        """Write a verdict down; not a quick miss where the same mutant was missed in full, which says more."""
        before = self.verdicts.get((verdict.release, verdict.name))
        if before and before.missed_more_than(verdict):
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("a", encoding="utf-8") as output:
            output.write(json.dumps(asdict(verdict)) + "\n")
        self._add(verdict)

    def _add(self, verdict: Verdict) -> None:
        self.verdicts[verdict.release, verdict.name] = verdict
        if verdict.caught == "oracle":
            self._seen.append(verdict)
