"""A run as large as asked for, made up and not measured: what the store and the report cost on it."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from itertools import islice
from random import Random
from typing import TYPE_CHECKING

from harness.contracts.plan import AskedCell, AskedVariant, Plan, plan_text
from harness.contracts.record import CellFacts, Machine, VariantRecord, record_line
from harness.interface import Outcome
from harness.matrix.cases import load_cases

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from harness.matrix.cases import Case

RUN = "load"
_RED = 1 / 3
_PEFT = 25
_SIGNATURES = 40
_STORE = """
import sys, pathlib
from harness.contracts.records import read_records, variants_in
from harness.run.store import Store
folder = pathlib.Path(sys.argv[1])
store = Store(folder / "records.sqlite")
for path in sorted((folder / "runs").glob("*/records/*.jsonl")):
    store.add(variants_in(read_records(path)))
"""


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What a process cost: its exit status, processor seconds, peak memory in MiB, and what it printed."""

    status: int
    cpu_s: float
    peak_mib: int
    lines: int


def make_run(folder: Path, cells: int, variants: int, seed: int) -> Path:
    """Write a run of made-up records below a reports folder, a third of them failing; return the run's folder.

    The cells are pairs of made-up releases of peft and transformers, the variants are those of the real cases, as far
    as they go. Failures come in blocks of versions, as real ones do, with forty signatures whose messages hold numbers.
    Equal arguments give equal bytes.
    """
    random = Random(seed)  # noqa: S311 - no secret
    cases = load_cases()
    asked = list(islice(_variants(cases), variants))
    machine = Machine(cpu="made up", cores=2, platform="linux-x86_64")
    home = folder / "runs" / RUN
    (home / "records").mkdir(parents=True)
    facts = [_cell(number, cells) for number in range(cells)]
    plan = Plan(
        matrix="load",
        title=f"{cells} made-up cells",
        device="cpu",
        run=RUN,
        cells=tuple(
            AskedCell(
                id=one.id, base=f"tf{one.packages['transformers']}", python="3.11", pins=dict(one.packages),
                asked=tuple(AskedVariant(case=case.name, variant=dict(variant)) for case, variant in asked),
            )
            for one in facts
        ),
    )  # fmt: skip
    (home / "plan.json").write_text(plan_text(plan), encoding="utf-8")
    with (home / "records" / "made-up.jsonl").open("wb") as output:
        for number, cell in enumerate(facts):
            for index, (case, variant) in enumerate(asked):
                red = (number // 7 * 31 + index // 5 * 17) % 97 / 97 < _RED
                output.write(record_line(_record(cell, machine, case, variant, random, red=red, index=index)))
    return home


def cost_of_store(folder: Path) -> Cost:
    """Take every record below a reports folder into a new store, in a process of its own."""
    (folder / "records.sqlite").unlink(missing_ok=True)
    return _measured([sys.executable, "-c", _STORE, str(folder)], folder)


def cost_of_report(folder: Path, name: str = RUN) -> Cost:
    """Draw the run with the command ``report``, in a process of its own."""
    return _measured([sys.executable, "-m", "harness", "report", name], folder)


def _measured(command: Sequence[str], folder: Path) -> Cost:
    environ = {**os.environ, "PROMPT_BENCH_REPORTS": str(folder)}
    log = folder / "output.txt"
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=environ)  # noqa: S603
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    return Cost(
        status=process.returncode,
        cpu_s=usage.ru_utime + usage.ru_stime,
        peak_mib=usage.ru_maxrss // 1024,
        lines=log.read_bytes().count(b"\n"),
    )


def _variants(cases: Sequence[Case]) -> Iterator[tuple[Case, Mapping[str, str]]]:
    """Go round the cases, one variant of each at a time, so that few variants are of many cases."""
    longest = max(len(case.variants) for case in cases)
    found = [(case, case.variants[i]) for i in range(longest) for case in cases if i < len(case.variants)]
    return iter(found)


def _cell(number: int, cells: int) -> CellFacts:
    columns = min(_PEFT, cells)
    peft, transformers = number % columns, number // columns
    packages = {
        "torch": "2.13.0", "transformers": f"{4 + transformers // 60}.{transformers % 60}.0", "peft": f"0.{peft + 8}.0",
    }  # fmt: skip
    name = f"peft{packages['peft']}-tf{packages['transformers']}-torch2.13.0-py3.11"
    return CellFacts(id=name, python="3.11", packages=packages, matrix="load", lock=f"sha256:{number:064x}")


def _record(
    cell: CellFacts,
    machine: Machine,
    case: Case,
    variant: Mapping[str, str],
    random: Random,
    *,
    red: bool,
    index: int,
) -> VariantRecord:
    kind = (index // 5) % _SIGNATURES
    outcome = (Outcome.WRONG if kind % 3 == 0 else Outcome.ERROR) if red else Outcome.PASSED
    number = random.randrange(10, 100)
    message = {
        Outcome.PASSED: None,
        Outcome.WRONG: f"the answer differs from the reference after {number % 8} tokens; the base model's answer",
        Outcome.ERROR: f"RuntimeError: The size of tensor {kind} ({number}) must match <b>that</b> of the cache",
    }[outcome]
    signature = f"RuntimeError: The size of tensor {kind} (<n>) must match @ transformers.cache_utils:Made.update{kind}"
    tokens = [random.randrange(64) for _ in range(8)]
    return VariantRecord(
        run=RUN,
        time="2026-11-21T16:26:32Z",
        cell=cell,
        key=f"{random.getrandbits(96):024x}",
        case=case.name,
        document=case.document,
        variant=variant,
        outcome=outcome,
        machine=machine,
        signature=signature if outcome is Outcome.ERROR else None,
        message=message,
        evidence={"input_tokens": 37, "virtual_tokens": 20, "reference": tokens, "base": tokens[::-1]},
        counters={"use_cache": True, "forward_calls": 8, "tokens_fed": 64, "tokens_per_call": [57, *[1] * 7]},
        duration_s=round(random.random(), 4),
    )
