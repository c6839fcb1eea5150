"""Records, plans and jobs: what was written is read back, and what was not written by us is refused with its place."""

from __future__ import annotations

import json
import math
import os
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.contracts.job import CellJob, Job, Request, Settings, cell_job_data, job_data, read_cell_job, read_job
from harness.contracts.plan import AskedCell, AskedVariant, Plan, plan_text, read_plan
from harness.contracts.record import CellFacts, Machine, StateRecord, VariantRecord, record_data, record_line
from harness.contracts.records import LONGEST_LINE, read_record, read_records, record_from
from harness.errors import InputError
from harness.interface import CellState, Outcome
from tests import planted

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from harness.contracts.record import Record

unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
SURROGATE = re.compile("[\ud800-\udfff]")

text = st.text(max_size=12)
"""Any text that UTF-8 can carry."""

torn = st.text(st.characters(categories=None), max_size=12)
"""Any text that Python can carry, lone surrogates among it."""

names = st.text(min_size=1, max_size=8)
some = st.dictionaries(text, text, max_size=3)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=8,
)
facts = st.dictionaries(text, values, max_size=3)
own_numbers = st.dictionaries(
    text.map("own {}".format),
    st.none() | st.integers() | st.floats(allow_nan=False) | text | st.lists(text),
    max_size=3,
)
"""What a case may write under names of its own; the names that reports compute with have their types."""
machines = st.builds(
    Machine,
    cpu=text,
    cores=st.none() | st.integers(0, 512),
    gpu=st.none() | text,
    platform=text,
    gpus=st.none() | st.integers(0, 16),
    cuda=st.none() | text,
)
cells = st.builds(
    CellFacts, id=names, python=text, packages=some, matrix=st.none() | text, lock=st.none() | text, sources=some
)
variant_records = st.builds(
    VariantRecord,
    run=text,
    time=names,
    cell=cells,
    key=text,
    case=names,
    variant=some,
    outcome=st.sampled_from(Outcome),
    machine=machines,
    document=st.none() | text,
    signature=st.none() | text,
    message=st.none() | text,
    evidence=facts,
    counters=own_numbers,
    latency=own_numbers,
    duration_s=st.none() | st.floats(0, 1e9),
)
state_records = st.builds(
    StateRecord,
    run=text,
    time=names,
    cell=cells,
    state=st.sampled_from(CellState),
    machine=machines,
    message=text,
)
plans = st.builds(
    Plan,
    matrix=text,
    title=text,
    device=text,
    run=text,
    cells=st.lists(
        st.builds(
            AskedCell,
            id=text,
            base=text,
            python=text,
            pins=some,
            as_of=st.none() | text,
            why=text,
            state=text,
            says=text.map(re.escape),
            asked=st.lists(st.builds(AskedVariant, case=text, variant=some), max_size=2).map(tuple),
        ),
        max_size=3,
    ).map(tuple),
    merged=st.none() | st.lists(text, max_size=2).map(tuple),
)

VARIANT = record_data(planted.record({"peft": "0.13.0"}, "error"))
STATE = record_data(planted.state_record({"peft": "0.13.0"}))


@unhurried
@given(variant_records | state_records)
def test_a_record_is_read_back_as_it_was_written(record: Record) -> None:
    """Field by field, from its line and from its data; the line is one line, and the same when written again."""
    line = record_line(record)
    assert line.count(b"\n") == 1
    assert read_record(line) == record
    assert record_from(record_data(record)) == record
    assert record_line(read_record(line)) == line


@unhurried
@given(torn)
def test_a_lone_surrogate_becomes_a_readable_escape(message: str) -> None:
    """In a message, and in the evidence's values and names; everything else of the text stays."""
    record = replace(planted.record({"peft": "0.13.0"}, "wrong"), message=message, evidence={message: [message]})
    readable = SURROGATE.sub(lambda found: f"\\u{ord(found[0]):04x}", message)
    read = read_record(record_line(record))
    assert isinstance(read, VariantRecord)
    assert (read.message, read.evidence) == (readable, {readable: [readable]})


@unhurried
@given(torn)
def test_what_a_cell_writes_is_read(message: str) -> None:
    """A cell's own writer leaves the JSON escape of a lone surrogate, and NaN where a model gave it."""
    data = {**VARIANT, "message": message, "evidence": {"largest": math.nan, "bound": -math.inf}}
    line = json.dumps(data, ensure_ascii=False).encode(errors="backslashreplace") + b"\n"
    read = read_record(line)
    assert isinstance(read, VariantRecord)
    assert read.message == message
    assert math.isnan(read.evidence["largest"])
    assert read.evidence["bound"] == -math.inf
    assert record_line(read_record(record_line(read))) == record_line(read)


@unhurried
@given(plan=plans)
def test_a_plan_is_read_back_as_it_was_written(tmp_path_factory: pytest.TempPathFactory, plan: Plan) -> None:
    """Field by field; and the text is the same when written again."""
    path = tmp_path_factory.mktemp("plan") / "plan.json"
    path.write_text(plan_text(plan), encoding="utf-8")
    assert read_plan(path) == plan
    assert plan_text(read_plan(path)) == plan_text(plan)


jobs = st.builds(
    Job,
    root=text,
    behind=st.lists(text, max_size=2).map(tuple),
    output=text,
    run=text,
    machine=machines,
    settings=st.builds(
        Settings,
        limit_s=st.floats(0, 1e6),
        device=text,
        import_limit_s=st.floats(0, 1e6) | st.integers(0, 1000),
        timed=st.booleans(),
        fork=st.booleans(),
        examples=st.none() | st.integers(0, 1000),
        memory=text,
        told=text,
        weights=st.dictionaries(text, facts, max_size=2),
    ),
)
cell_jobs = st.builds(
    CellJob,
    cell=cells,
    overlays=st.lists(text, max_size=2).map(tuple),
    log=text,
    benchmarks=text,
    scratch=text,
    requests=st.lists(
        st.builds(Request, key=text, case=text, document=st.none() | text, variant=some, timing=facts), max_size=3
    ).map(tuple),
)


@unhurried
@given(jobs)
def test_a_job_is_read_back_as_it_was_written(job: Job) -> None:
    """Field by field, through JSON."""
    assert read_job(json.loads(json.dumps(job_data(job)))) == job


@unhurried
@given(cell_jobs)
def test_a_cells_job_is_read_back_as_it_was_written(entry: CellJob) -> None:
    """Field by field, through JSON; the variants keep their places."""
    assert read_cell_job(json.loads(json.dumps(cell_job_data(entry)))) == entry


JOB = job_data(
    Job(
        root="/r", behind=(), output="o", run="r", machine=Machine(), settings=Settings(limit_s=1, device="cpu")
    )
)  # fmt: skip
CELL_JOB = cell_job_data(
    CellJob(
        cell=CellFacts(id="a", python="3.11"), overlays=(), log="l", benchmarks="b", scratch="s",
        requests=(Request(key="k", case="c", document=None, variant={"model": "llama"}),),
    )
)  # fmt: skip


def paths_in(data: Any, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """List the path of every value in JSON data."""
    inner = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    below = [found for name, one in inner for found in paths_in(one, (*path, name))]
    return [path, *below] if path else below


def set_at(data: Any, path: tuple[str | int, ...], value: object) -> Any:
    """Copy JSON data with another value at a path; ``...`` takes the value away."""
    copy = json.loads(json.dumps(data))
    inner = copy
    for name in path[:-1]:
        inner = inner[name]
    if value is ...:
        del inner[path[-1]]
    else:
        inner[path[-1]] = value
    return copy


@pytest.mark.parametrize(("read", "data"), [(read_job, JOB), (read_cell_job, CELL_JOB)])
def test_what_is_no_job_is_refused_by_the_name_of_its_field(read: Callable[[object], object], data: Any) -> None:
    """Each value of another type, each field missing, and a field more at each place: one line with its name."""
    read(data)
    for path in paths_in(data):
        name = next(str(part) for part in reversed(path) if isinstance(part, str))
        with pytest.raises(ValueError, match=rf"^[^\n]*{name}[^\n]*instead of"):
            read(set_at(data, path, object()))
        if path[-1] not in {"model", 0}:
            with pytest.raises(ValueError, match=rf"\.{name}: missing"):
                read(set_at(data, path, ...))
    for path in [("mood",), *((*path, "mood") for path in paths_in(data) if path[-1] in {"settings", "machine", 0})]:
        with pytest.raises(ValueError, match="mood: no such field"):
            read(set_at(data, path, 1))
    garbage: object
    for garbage in (None, [], "job", 1):
        with pytest.raises(ValueError, match="instead of an object"):
            read(garbage)


def without(data: dict[str, Any], *path: str) -> dict[str, Any]:
    """Copy JSON data without the value at a path."""
    name, *rest = path
    kept = {other: value for other, value in data.items() if other != name}
    return {**kept, name: without(data[name], *rest)} if rest else kept


def with_value(data: dict[str, Any], value: object, *path: str) -> dict[str, Any]:
    """Copy JSON data with another value at a path."""
    name, *rest = path
    return {**data, name: with_value(data.get(name, {}), value, *rest) if rest else value}


REFUSED: list[tuple[dict[str, Any], str]] = [
    *((without(VARIANT, name), f"missing required field `{name}`") for name in ("schema", "run", "time", "cell")),
    (without(VARIANT, "cell", "id"), "missing required field `id` - at `$.cell`"),
    (without(STATE, "cell", "python"), "missing required field `python` - at `$.cell`"),
    *((without(VARIANT, name), "neither a variant") for name in ("key", "case", "variant", "outcome")),
    (without(STATE, "cell", "state"), "neither a variant (key, case, variant, outcome) nor a state"),
    *((with_value(VARIANT, 1, name), f"at `$.{name}`") for name in ("run", "time", "cell", "key", "case", "variant")),
    *((with_value(VARIANT, 1, name), f"at `$.{name}`") for name in ("outcome", "message", "evidence", "machine")),
    (with_value(VARIANT, "slow", "duration_s"), "at `$.duration_s`"),
    (with_value(VARIANT, "fine", "outcome"), "Invalid enum value 'fine' - at `$.outcome`"),
    (with_value(VARIANT, 2, "variant", "model"), "at `$.variant[...]`"),
    (with_value(VARIANT, 2, "cell", "packages", "peft"), "at `$.cell.packages[...]`"),
    (with_value(VARIANT, "many", "machine", "cores"), "at `$.machine.cores`"),
    (with_value(VARIANT, "", "case"), "at `$.case`"),
    (with_value(VARIANT, "", "cell", "id"), "at `$.cell.id`"),
    (with_value(STATE, "nowhere", "cell", "state"), "Invalid enum value 'nowhere' - at `$.cell.state`"),
    (with_value(VARIANT, 1, "mood"), "unknown field `mood`"),
    (with_value(VARIANT, 1, "cell", "mood"), "unknown field `mood` - at `$.cell`"),
    (with_value(VARIANT, 1, "machine", "mood"), "unknown field `mood` - at `$.machine`"),
    (with_value(VARIANT, "import-failed", "cell", "state"), "both the state of a cell (cell.state) and a variant"),
    (with_value(STATE, {"tokens": 1}, "counters"), "both the state of a cell (cell.state) and a variant"),
    (with_value(STATE, "k", "key"), "both the state of a cell (cell.state) and a variant"),
    *(
        (with_value(VARIANT, wrong, *path), f"below `$.{path[0] if path[0] == 'counters' else '.'.join(path)}`")
        for path, wrong in {
            ("counters", "tokens_per_call"): [1, "x"],
            ("counters", "use_cache"): "yes",
            ("counters", "growth"): [{"axis": "new_tokens", "arm": "cached"}],
            ("latency", "cached"): {"samples_s": [0.1], "waited_s": [0.1, 0.2]},
            ("latency", "uncached"): {"samples_s": ["0.1"]},
            ("latency", "growth"): [{"axis": "new_tokens", "arm": "cached", "new_tokens": 0, "virtual_tokens": 1}],
            ("latency", "interval"): {"estimate": 1.0},
        }.items()
    ),
    (with_value(VARIANT, 0, "schema"), "at `$.schema`"),
    (with_value(VARIANT, "1", "schema"), "at `$.schema`"),
    (with_value(VARIANT, 999, "schema"), "update"),
    # What is newer may have any shape: that it is newer is what a person has to know.
    ({"schema": 999, "results": [1, 2]}, "update"),
]


@pytest.mark.parametrize(("data", "words"), REFUSED, ids=lambda one: one if isinstance(one, str) else "")
def test_what_is_no_record_is_refused_with_the_place_of_the_mistake(data: dict[str, Any], words: str) -> None:
    """One mistake each: the message names the file, the line and the path of the value."""
    with pytest.raises(InputError, match=rf"^r\.jsonl:7: .*{re.escape(words)}"):
        read_record(json.dumps(data), "r.jsonl:7")
    if data.get("schema") != 999:
        with pytest.raises(InputError, match=re.escape(words)):
            record_from(data)


@unhurried
@given(st.binary(max_size=60) | text.map(str.encode) | values.map(lambda value: json.dumps(value).encode()))
def test_garbage_is_refused_in_one_line(garbage: bytes) -> None:
    """Any bytes and any JSON: an error of ours, and no other."""
    with pytest.raises(InputError, match=r"^here: "):
        read_record(garbage, "here")


@pytest.mark.parametrize("opening", ["[", '{"a":', '{"schema":1,"evidence":{"a":', '{"schema":1,"evidence":{"a":['])
def test_deep_nesting_is_refused(opening: str, tmp_path: Path) -> None:
    """Whether the brackets are closed or not; in a record and in a plan."""
    deep = opening * 100_000
    for told in (deep, '{"schema":1,"evidence":{"a":' + "[" * 100_000 + "]" * 100_000 + "}}"):
        with pytest.raises(InputError):
            read_record(told)
        (tmp_path / "plan.json").write_text(told, encoding="utf-8")
        with pytest.raises(InputError):
            read_plan(tmp_path / "plan.json")


def make_link(path: Path) -> None:
    """Make a symbolic link to a file with a record."""
    whole = path.with_name("whole.jsonl")
    whole.write_bytes(record_line(planted.record({"peft": "0.13.0"}, "passed")))
    path.symlink_to(whole)


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo, make_link, lambda _: None], ids=["folder", "pipe", "link", "no"])
def test_records_are_read_from_plain_files_alone(make: Callable[[Path], object], tmp_path: Path) -> None:
    """A pipe without a writer would be waited for for ever, and a link may lead anywhere."""
    path = tmp_path / "r.jsonl"
    make(path)
    with pytest.raises(InputError, match="no regular file"):
        list(read_records(path))


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo, lambda _: None], ids=["folder", "pipe", "no"])
def test_a_plan_is_read_from_a_file_alone(make: Callable[[Path], object], tmp_path: Path) -> None:
    """A pipe is not waited for."""
    path = tmp_path / "plan.json"
    make(path)
    with pytest.raises(InputError, match="no regular file"):
        read_plan(path)


def test_a_mistake_in_a_file_is_named_with_its_line(tmp_path: Path) -> None:
    """The lines before it are read; a line without an end is half a line, unless it is longer than any record."""
    path, good = tmp_path / "r.jsonl", record_line(planted.record({"peft": "0.13.0"}, "passed"))
    path.write_bytes(good * 2 + b"{}\n" + good)
    records = read_records(path)
    assert [next(records), next(records)] == [read_record(good)] * 2
    with pytest.raises(InputError, match=rf"{re.escape(str(path))}:3: .*missing required field"):
        next(records)
    path.write_bytes(good + good[:-1])
    assert list(read_records(path)) == [read_record(good)]
    path.write_bytes(good + b" " * LONGEST_LINE)
    with pytest.raises(InputError, match=":2: longer than"):
        list(read_records(path))


ASKED = {"case": "c", "variant": {"model": "llama"}}
CELL = {"id": "a", "base": "b", "python": "3.11", "pins": {}, "asked": [ASKED]}
PLAN = {"matrix": "m", "title": "t", "device": "cpu", "run": "r", "cells": [CELL]}


@pytest.mark.parametrize(
    ("data", "words"),
    [
        *((without(PLAN, name), f"missing required field `{name}`") for name in ("matrix", "title", "device", "run")),
        ({**PLAN, "cells": [without(CELL, "pins")]}, "missing required field `pins` - at `$.cells[0]`"),
        ({**PLAN, "cells": [{**CELL, "pins": {"peft": 1}}]}, "at `$.cells[0].pins[...]`"),
        ({**PLAN, "cells": [{**CELL, "asked": [{"case": "c"}]}]}, "at `$.cells[0].asked[0]`"),
        ({**PLAN, "cells": "a"}, "at `$.cells`"),
        ({**PLAN, "merged": "a"}, "at `$.merged`"),
        ({**PLAN, "mood": 1}, "unknown field `mood` - at `$`"),
        ({**PLAN, "cells": [CELL, {**CELL, "mood": 1}]}, "unknown field `mood` - at `$.cells[1]`"),
        ({**PLAN, "cells": [{**CELL, "asked": [{**ASKED, "mood": 1}]}]}, "`mood` - at `$.cells[0].asked[0]`"),
        ({**PLAN, "cells": [{**CELL, "says": "("}]}, "not a regular expression"),
        ([PLAN], "Expected `object`"),
    ],
)  # fmt: skip
def test_what_is_no_plan_is_refused_with_the_place_of_the_mistake(data: Any, words: str, tmp_path: Path) -> None:
    """One mistake each: the message names the file and the path of the value."""
    path = tmp_path / "plan.json"
    path.write_text(json.dumps(PLAN), encoding="utf-8")
    assert read_plan(path).cells[0].asked == (AskedVariant(**ASKED),)  # type: ignore[arg-type]
    path.write_text(json.dumps(data), encoding="utf-8")
    with pytest.raises(InputError, match=rf"^{re.escape(str(path))}: not a plan: .*{re.escape(words)}"):
        read_plan(path)


@unhurried
@given(garbage=st.binary(max_size=60))
def test_garbage_is_no_plan(tmp_path_factory: pytest.TempPathFactory, garbage: bytes) -> None:
    """Any bytes: an error of ours, and no other."""
    path = tmp_path_factory.mktemp("plan") / "plan.json"
    path.write_bytes(garbage)
    with pytest.raises(InputError, match="not a plan"):
        read_plan(path)
