"""Events and records as lines: whatever goes in, what comes out can be read."""

from __future__ import annotations

import contextlib
import io
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.cell.events import (
    RESULT_LIMIT,
    CollectFailed,
    Device,
    Event,
    EventReader,
    Finished,
    Ready,
    Refused,
    Result,
    Seen,
    Started,
    bounded_result,
    to_event,
)
from harness.cell.measure import Writer
from harness.contracts.job import Job, Request, Settings
from harness.contracts.record import CellFacts, Machine, VariantRecord
from harness.contracts.records import read_record
from harness.interface import Outcome

TEXTS = st.text(st.characters(codec=None), max_size=40)
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | TEXTS | st.binary() | st.complex_numbers()
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner) | st.dictionaries(TEXTS | st.integers() | st.binary(), inner), max_leaves=20
)


def refuse(word: str) -> None:
    """Refuse what Python reads and JSON lacks."""
    raise ValueError(word)


FACTS = st.dictionaries(TEXTS, VALUES, max_size=3)
OWN_NUMBERS = st.dictionaries(TEXTS.map("own {}".format), LEAVES | st.lists(LEAVES, max_size=3), max_size=3)
"""What a case may write under names of its own; the names that reports compute with have their types."""

RESULTS = st.builds(
    Result,
    outcome=st.sampled_from(Outcome),
    signature=st.none() | TEXTS,
    message=st.none() | TEXTS,
    evidence=FACTS,
    counters=OWN_NUMBERS,
    latency=OWN_NUMBERS,
    duration_s=st.none() | st.floats(0, 1e6),
)


def sent(event: Event) -> Event:
    """Return what is read of an event that was written."""
    (read,) = EventReader().feed(to_event(event))
    return read


@given(RESULTS)
def test_any_result_is_one_line_of_json_and_arrives_bounded(result: Result) -> None:
    """Every reader finds one line between line ends, in UTF-8; what is read is the result made plain."""
    line = to_event(Finished(7, result)).decode()
    assert line.splitlines() == ["", line.strip("\n")]
    json.loads(line, parse_constant=refuse)
    assert sent(Finished(7, result)) == Finished(7, bounded_result(result))
    assert bounded_result(bounded_result(result)) == bounded_result(result)


@given(RESULTS)
def test_a_record_of_any_result_is_read_back(result: Result) -> None:
    """The reader outside finds the values that were written, and one line."""
    plain_result = bounded_result(result)
    request = Request(key="k", case="c", document=None, variant={"model": "llama"})
    job = Job(
        root="", behind=(), output="", run="r", machine=Machine(cores=2), settings=Settings(limit_s=1, device="cpu")
    )
    output = io.BytesIO()
    with contextlib.redirect_stdout(io.StringIO()) as told:
        Writer(job, output).record(
            CellFacts(id="a", python="3.11"), Device(gpu="g", gpus=2, cuda="12.4"), request, result
        )
    assert output.getvalue().decode().splitlines() == [output.getvalue().decode().rstrip("\n")]
    record = read_record(output.getvalue())
    assert isinstance(record, VariantRecord)
    assert {name: getattr(record, name) for name in vars(plain_result)} == vars(plain_result)
    assert record.machine == Machine(cores=2, gpu="g", gpus=2, cuda="12.4")
    assert json.loads(told.getvalue()) == {"event": "record", "cell": "a", "outcome": str(result.outcome)}


@given(
    st.builds(Started, st.integers(0, 999))
    | st.builds(Ready, st.dictionaries(st.text(), st.text()))
    | st.builds(Refused, st.text())
    | st.builds(Device, gpu=st.text(), gpus=st.integers(0, 99), cuda=st.none() | st.text())
    | st.builds(Seen, st.lists(st.text()).map(tuple))
    | st.builds(CollectFailed, st.text(), RESULTS.map(bounded_result))
)
def test_an_event_is_read_as_it_was_written(event: Event) -> None:
    """Each kind of event, field by field."""
    assert sent(event) == event


@pytest.mark.parametrize(
    "more",
    [{"message": 5}, {"outcome": "splendid"}, {"evidence": []}, {"run": "another"}, {"duration_s": "1"}, {"key": "k"}],
)
def test_what_is_no_result_is_no_event(more: dict[str, Any]) -> None:
    """A result with a field or a type that no record has is counted as garbage, not written."""
    reader = EventReader()
    data = {"finished": 0, "result": {"outcome": "passed", **more}}
    assert reader.feed(json.dumps(data).encode() + b"\n") == []
    assert reader.garbage == 1


PLAIN = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | TEXTS.filter(str.isprintable)


@given(st.dictionaries(TEXTS.filter(str.isprintable), PLAIN))
def test_what_json_has_is_left_as_it_is(values: dict[str, Any]) -> None:
    """Plain values come back equal."""
    assert bounded_result(Result(outcome=Outcome.PASSED, evidence=values)).evidence == values


def test_what_is_too_large_is_left_out_and_said() -> None:
    """The outcome and the message stay; the evidence says how much it was."""
    evidence = {str(n): "y" * 1000 for n in range(5000)}
    bounded = bounded_result(Result(outcome=Outcome.PASSED, message="m", evidence=evidence, counters={"n": 1}))
    assert len(json.dumps(vars(bounded))) < RESULT_LIMIT
    assert bounded.message == "m"
    assert bounded.counters == {"n": 1}
    assert "characters: more than a record holds" in bounded.evidence["left_out"]


GARBAGE = st.binary(max_size=60) | st.sampled_from(
    [b"[" * 5000, b"7", b"null", b'{"started": "x"}', b'{"finished": 1}']
)


@given(
    st.lists(st.tuples(GARBAGE, st.integers(0, 99))),
    st.integers(1, 50),
)
def test_events_are_found_between_garbage(written: list[tuple[bytes, int]], size: int) -> None:
    """Each event comes out once and in order, in whatever pieces it came and whatever stood before it."""
    stream = b"".join(garbage + to_event(Started(index)) for garbage, index in written)
    reader = EventReader()
    events = [event for begin in range(0, len(stream), size) for event in reader.feed(stream[begin : begin + size])]
    assert events == [Started(index) for _, index in written]
    assert reader.garbage <= sum(garbage.count(b"\n") + 1 for garbage, _ in written)


def test_a_line_without_an_end_takes_no_memory_for_ever() -> None:
    """What is longer than any event is dropped, and the next event is found."""
    reader = EventReader()
    for _ in range(40):
        assert reader.feed(b"x" * (1 << 20)) == []
    assert reader.feed(to_event(Started(3))) == [Started(3)]
    assert reader.garbage > 1
