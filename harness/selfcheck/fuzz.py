"""Feed the readers with broken input: matrix files and shards of runs, mutated from real ones.

Whatever comes in, what comes out is a result or a refusal (:class:`harness.errors.HarnessError`) in printable lines;
anything else is counted as a failure, with the seed that makes it again. So is a file outside the reports folder, and
a report that its readers could not read.
"""

from __future__ import annotations

import io
import json
import os
import random
import resource
import shutil
import sys
import tempfile
import traceback
from copy import deepcopy
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock
from xml.etree import ElementTree as ET

from rich.console import Console

from harness.contracts.plan import Plan, plan_text
from harness.contracts.record import CellFacts, VariantRecord, record_line
from harness.errors import HarnessError
from harness.interface import Outcome, with_defaults
from harness.judge.summary import summarise
from harness.matrix.cases import load_cases
from harness.matrix.plan import PlannedCell, Selection, plan_run
from harness.matrix.read import MATRICES, parse_matrix
from harness.matrix.spec import Cell
from harness.report.files import write_reports
from harness.report.shown import shown
from harness.report.terminal import print_summary
from harness.run.merge import merge_runs
from harness.run.runs import Run, asked_cell

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from harness.matrix.cases import Case

_WORDS = (
    "nan", "inf", "-inf", "1e400", "-1", "0", "99999999999999999999999", "1979-05-27", "07:32:00", "true",
    "false", '""',
    '"newest"', '"newest-99"', '"../../x"', '"git+https://u:p@h/x@--upload-pack=x"', '"\\u0000"', '"\\ud83d"',
    "[]", "{}", "[[]]", "{a = 1}", '"' + "x" * 300 + '"', "[" * 60 + "]" * 60, '">=4"', '"4.45.2 "', '"*"', "0x10",
    "1_0", "''", "'''\n'''",
)  # fmt: skip
_JSON_WORDS = (
    "null", "1", "-1", "1e999", '""', '"x"', "[]", "{}", "true", '"\\ud800"', '"\\u0000\\u001b[2J"', "[[[[]]]]",
    "NaN", "999",
    '{"a":{"b":1}}', '"../../x"', '"' + "y" * 500 + '"', "99999999999999999999999999",
)  # fmt: skip
_LINES = (
    "[matrix]", "[[cell]]", "[axes]", "[[exclude]]", "[[state]]", "[x]", "[[matrix]]", 'peft = "0.1"', "a.b.c = 1",
    'transformers = ["4.45.2", "4.45.2"]', 'cases = ["!"]', 'cases = [""]', 'python = "2.7"', "as-of = 2026-13-41",
)  # fmt: skip

_CASES = 3
_OF_PLANS = 0.3
"""Share of the shards whose plan is mutated; records are the larger part of a shard."""
_OF_VALUES = 0.5
"""Share of the shards whose lines stay JSON."""
_OF_TYPES = 0.8
"""Share of the changed values that keep their type."""
_OF_LINES = 0.7
"""Share of the changes of lines that put in a line of the format, and take none away."""


_VALUES: list[Any] = [
    None, True, 0, 1, -1, 10**30, 0.0, -0.5, 1e308, float("nan"), float("inf"), "", "x", "0.13.0", "newest", "1.0 [/]",
    "(", "[red]x[/]", "\x1b[2J", "\x00", "\ud800", "a|b\n# c", "<img src=x>", "../../x", "y" * 500, "git+https://h/x@y",
    "ready", "import-failed", "passed", "wrong", "error", [], [0.1], [0.1, 0.2, 0.3], ["x"], [None], [[]], {}, {"a": 1},
    {"": ""}, {"samples_s": []}, {"samples_s": [0.1] * 8}, {"cached": {}}, {"median_s": "x"},
]  # fmt: skip
"""Values that JSON may hold and a record or a plan rather not."""


@dataclass(kw_only=True)
class Tally:
    """What became of the inputs: how many were read, refused, and how many ended otherwise."""

    accepted: int = 0
    refused: int = 0
    failures: list[str] = field(default_factory=list)

    @property
    def total(self) -> int:
        """Return the number of inputs."""
        return self.accepted + self.refused + len(self.failures)


def mutate(text: bytes, dice: random.Random, words: tuple[str, ...], lines: tuple[str, ...] = ()) -> bytes:
    """Return ``text`` with one to four changes: of bytes, of values, of lines."""
    data = bytearray(text)
    for _ in range(dice.randint(1, 4)):
        at = dice.randrange(len(data) + 1)
        match dice.randrange(7):
            case 0:
                data[at : at + 1] = bytes([dice.randrange(256)])
            case 1:
                del data[at : at + dice.randint(1, 40)]
            case 2:
                data[at:at] = data[at : at + dice.randint(1, 60)]
            case 3:
                data[at:at] = dice.choice(words).encode("utf-8", "surrogatepass")
            case 4 | 5:
                data = bytearray(_other_value(bytes(data), dice, words))
            case _:
                rows = bytes(data).split(b"\n")
                row = dice.randrange(len(rows))
                if lines and dice.random() < _OF_LINES:
                    rows.insert(row, dice.choice(lines).encode())
                else:
                    rows[row : row + dice.randint(1, 3)] = []
                data = bytearray(b"\n".join(rows))
    return bytes(data)


def _other_value(data: bytes, dice: random.Random, words: tuple[str, ...]) -> bytes:
    """Return ``data`` with the text after one of its ``=`` or ``:`` replaced, up to the next comma or line end."""
    marks = [index for index, byte in enumerate(data) if byte in b"=:"]
    if not marks:
        return data
    start = dice.choice(marks) + 1
    ends = [end for end in (data.find(mark, start) for mark in (b"\n", b",", b"}")) if end >= 0]
    return (
        data[:start] + b" " + dice.choice(words).encode("utf-8", "surrogatepass") + data[min(ends, default=len(data)) :]
    )


def mutate_values(text: bytes, dice: random.Random) -> bytes:
    """Return lines of JSON in one of which one to three values are others, mostly of the same type."""
    lines = text.splitlines(keepends=True)
    row = dice.randrange(len(lines))
    data = json.loads(lines[row])
    for _ in range(dice.randint(1, 3)):
        holder, name = dice.choice(list(_values_in(data)))
        before = holder[name]
        alike = [one for one in _VALUES if type(one) is type(before)] or _VALUES
        # A copy: a later change may be one within it, and the list of values is that of every input.
        holder[name] = deepcopy(dice.choice(alike if dice.random() < _OF_TYPES else _VALUES))
    lines[row] = json.dumps(data).encode() + b"\n"
    return b"".join(lines)


def _values_in(data: Any) -> Iterator[tuple[Any, Any]]:
    """Iterate over the places in JSON data: what holds a value, and its key or index there."""
    for name, value in data.items() if isinstance(data, dict) else enumerate(data):
        yield data, name
        if isinstance(value, dict | list):
            yield from _values_in(value)


def fuzz_matrices(count: int, seed: int) -> Tally:
    """Read ``count`` matrix files, mutated from those in ``matrices/``, and plan those that are accepted."""
    cases = load_cases()
    texts = [path.read_bytes() for path in sorted(MATRICES.glob("*.toml"))]

    def one(dice: random.Random) -> None:
        text = mutate(dice.choice(texts), dice, _WORDS, _LINES)
        matrix = parse_matrix(text.decode("utf-8", "replace"), MATRICES / "fuzzed.toml")
        plan_run(matrix, cases, Selection())

    return _repeat(count, seed, one)


def fuzz_shards(count: int, seed: int) -> Tally:
    """Merge, judge and report ``count`` shards whose plan or records were mutated, in a folder that goes with them."""
    cases = load_cases()[:_CASES]
    good_plan, good_records = _shard(cases)
    with tempfile.TemporaryDirectory(prefix="prompt-bench-fuzz-") as name:
        outer = Path(name)
        reports = outer / "outer" / "reports"

        def one(dice: random.Random) -> None:
            shard, target = Run(id="shard"), Run(id="joined")
            for folder in (shard.folder, target.folder, reports / "latest"):
                shutil.rmtree(folder, ignore_errors=True)
            plan, records = good_plan, good_records
            change = mutate_values if dice.random() < _OF_VALUES else partial(mutate, words=_JSON_WORDS)
            if dice.random() < _OF_PLANS:
                plan = change(plan, dice)
            else:
                records = change(records, dice)
            (shard.folder / "records").mkdir(parents=True)
            shard.plan_path.write_bytes(plan)
            (shard.folder / "records" / "a.jsonl").write_bytes(records)
            try:
                summary = summarise(merge_runs([shard], target), cases)
                write_reports(summary)
                _check_reports(reports / "latest")
                print_summary(shown(summary), Console(file=io.StringIO(), width=100, no_color=True))
            finally:
                _check_places(outer, reports)

        with mock.patch.dict(os.environ, {"PROMPT_BENCH_REPORTS": str(reports)}):
            return _repeat(count, seed, one)


def _check_reports(folder: Path) -> None:
    """Raise ``ValueError`` unless the written reports are what their readers can read."""
    ET.parse(folder / "junit.xml")  # noqa: S314 - written here a moment ago
    json.loads((folder / "report.json").read_text(encoding="utf-8"))
    for name in ("report.md", "report.html", "junit.xml"):
        text = (folder / name).read_text(encoding="utf-8")
        if unprintable := sorted({one for one in text if not one.isprintable() and one not in "\n\t \u3000"}):
            message = f"{name} holds {unprintable!r}"
            raise ValueError(message)


def _check_places(outer: Path, reports: Path) -> None:
    """Raise ``ValueError`` for anything that was written beside the places of runs and reports."""
    there = {*outer.iterdir(), *reports.parent.iterdir(), *reports.iterdir()}
    there |= {path for path in (reports / "runs").iterdir() if not path.name.startswith(".joined.lock")}
    runs = {reports / "runs" / name for name in ("shard", "joined")}
    if strange := there - {reports.parent, reports, reports / "runs", reports / "latest", *runs}:
        message = f"written where nothing should be: {sorted(map(str, strange))}"
        raise ValueError(message)


def _repeat(count: int, seed: int, one: Callable[[random.Random], None]) -> Tally:
    tally = Tally()
    for number in range(count):
        try:
            one(random.Random(seed * 1_000_003 + number))  # noqa: S311 - a seed that can be said, no secret
        except HarnessError as refusal:
            lines = str(refusal).split("\n")
            if all(line and line.isprintable() for line in lines):
                tally.refused += 1
            else:
                tally.failures.append(f"input {number} of seed {seed}: a refusal that cannot be shown: {lines!r}")
        except Exception:  # noqa: BLE001 - this is what is looked for
            tally.failures.append(f"input {number} of seed {seed}: {traceback.format_exc(limit=-3)}")
        else:
            tally.accepted += 1
    return tally


def peak_mib() -> int:
    """Return the peak memory of this process, in mebibytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // (1024 if sys.platform == "linux" else 1 << 20)


def _latency() -> dict[str, Any]:
    arm = {
        "samples_s": [0.1] * 8, "waited_s": [0.0] * 8, "forward_calls": 8, "tokens_fed": 40,
        "peak": {"host_bytes": 1 << 20},
        "prefill": {"samples_s": [0.01] * 8, "median_s": 0.01}, "decode": {"samples_s": [0.09] * 8, "median_s": 0.09},
    }  # fmt: skip
    return {"cached": arm, "uncached": arm}


def _shard(cases: tuple[Case, ...]) -> tuple[bytes, bytes]:
    """Return the plan and records of a small run in which everything was measured."""
    cell = Cell(python="3.11", pins={"peft": "0.13.0", "transformers": "4.45.1", "torch": "2.13.0"})
    asked = tuple((case, with_defaults(variant, "cpu")) for case in cases for variant in case.variants[:3])
    head = Plan(matrix="documented", title="fuzzed", device="cpu", run="shard")
    plan = plan_text(head.with_cells([asked_cell(PlannedCell(cell=cell, variants=asked))]))
    outcomes = [Outcome.PASSED, Outcome.WRONG, Outcome.ERROR]
    facts = CellFacts(id=cell.id, python="3.11.7", packages=dict(cell.pins), matrix="documented", lock="sha256:0")
    records = [
        VariantRecord(
            run="shard", time="2026-01-01T00:00:00Z", cell=facts, key=str(number), case=case.name, variant=variant,
            document=case.document, outcome=outcomes[number % 3], message="x" if number % 3 else None,
            latency=_latency(),
            counters={"use_cache": True, "tokens_per_call": [5, 1, 1, 1]}, duration_s=0.1,
        )
        for number, (case, variant) in enumerate(asked)
    ]  # fmt: skip
    return plan.encode(), b"".join(map(record_line, records))
