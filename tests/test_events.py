"""Events and records as lines: whatever goes in, what comes out can be read."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from harness.cell.events import LINE_LIMIT, EventReader, bounded_result, plain, to_event, to_line

TEXTS = st.text(st.characters(codec=None), max_size=40)
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | TEXTS | st.binary() | st.complex_numbers()
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner) | st.dictionaries(TEXTS | st.integers() | st.binary(), inner), max_leaves=20
)


def refuse(word: str) -> None:
    """Refuse what Python reads and JSON lacks."""
    raise ValueError(word)


@given(st.dictionaries(TEXTS, VALUES))
def test_any_record_is_one_line_of_json(record: dict[str, Any]) -> None:
    """Every reader finds one line, in UTF-8, and the same value when it is written again."""
    line = to_line(record)
    line.encode()
    assert line.splitlines() == [line]
    read = json.loads(line, parse_constant=refuse)
    assert plain(read) == read
    assert to_line(read) == line


PLAIN = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | TEXTS.filter(str.isprintable)


@given(st.dictionaries(TEXTS.filter(str.isprintable), PLAIN))
def test_what_json_has_is_left_as_it_is(record: dict[str, Any]) -> None:
    """Plain values come back equal."""
    assert json.loads(to_line(record)) == record


def test_what_is_too_large_is_left_out_and_said() -> None:
    """The outcome and the message stay; the evidence says how much it was."""
    result = {
        "outcome": "passed",
        "message": "m",
        "evidence": {str(n): "y" * 1000 for n in range(5000)},
        "counters": {"n": 1},
    }
    bounded = bounded_result(result)
    assert len(json.dumps(bounded)) < LINE_LIMIT
    assert bounded["message"] == "m"
    assert bounded["counters"] == {"n": 1}
    assert "characters: more than a record holds" in bounded["evidence"]["left_out"]


GARBAGE = st.binary(max_size=60) | st.sampled_from(
    [b"[" * 5000, b"7", b"null", b'{"started": "x"}', b'{"finished": 1}']
)


@given(
    st.lists(st.tuples(GARBAGE, st.integers(0, 99))),
    st.integers(1, 50),
)
def test_events_are_found_between_garbage(written: list[tuple[bytes, int]], size: int) -> None:
    """Each event comes out once and in order, in whatever pieces it came and whatever stood before it."""
    stream = b"".join(garbage + to_event({"started": index}) for garbage, index in written)
    reader = EventReader()
    events = [event for begin in range(0, len(stream), size) for event in reader.feed(stream[begin : begin + size])]
    assert events == [{"started": index} for _, index in written]
    assert reader.garbage <= sum(garbage.count(b"\n") + 1 for garbage, _ in written)


def test_a_line_without_an_end_takes_no_memory_for_ever() -> None:
    """What is longer than any event is dropped, and the next event is found."""
    reader = EventReader()
    for _ in range(40):
        assert reader.feed(b"x" * (1 << 20)) == []
    assert reader.feed(to_event({"started": 3})) == [{"started": 3}]
    assert reader.garbage > 1
