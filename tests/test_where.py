"""Filters as a person types them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given

from harness.errors import UsageError
from harness.explain.filters import Where, parse_where, specifier
from tests.planted import LLAMA, cell_facts, record, state_record
from tests.strategies import versions

if TYPE_CHECKING:
    from harness.contracts.record import Record

AXES = {"model", "method", "aspect"}


def test_conditions_are_joined_by_commas() -> None:
    """Values of axes with patterns and alternatives; a bound without a name belongs to the package before it."""
    where = parse_where("method=p_*|lora, peft>=0.12,<0.14,model=llama,sentence-transformers==3.1.1", AXES)
    assert where.axes == {"method": ("p_*", "lora"), "model": ("llama",)}
    assert {name: set(text.split(",")) for name, text in where.versions.items()} == {
        "peft": {">=0.12", "<0.14"},
        "sentence-transformers": {"==3.1.1"},
    }
    assert where.fits(LLAMA)
    assert not where.fits({**LLAMA, "method": "prompt_tuning"})
    assert parse_where("", AXES) == Where()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("methd=lora", "did you mean method?"),
        ("peft>=abc", "is not a specifier"),
        ("method>=1", "takes method=VALUE"),
        ("llama", "is no condition"),
        ("<0.14", "no axis or package ''"),
        ("method=lora,<0.14", "no axis or package ''"),
    ],
)
def test_what_is_not_understood_is_named(text: str, words: str) -> None:
    """One line that says what to write."""
    with pytest.raises(UsageError, match=words.replace("?", r"\?")):
        parse_where(text, AXES)


@given(versions, versions)
def test_a_bare_version_means_exactly_that_one(one: str, other: str) -> None:
    """``--peft 0.13.0`` is ``==0.13.0``."""
    where = Where(versions={"peft": specifier("peft", one)})
    assert where.in_bounds(cell_facts({"peft": one}))
    assert where.in_bounds(cell_facts({"peft": other})) == (one == other)


def test_a_bare_minor_means_all_its_releases() -> None:
    """``--transformers 4.56`` is 4.56.0, 4.56.2 and so on, and no other; so is ``=`` in a filter."""
    for where in (Where(versions={"peft": specifier("peft", "0.13")}), parse_where("peft=0.13", AXES)):
        assert where.in_bounds(cell_facts({"peft": "0.13.2"}))
        assert not where.in_bounds(cell_facts({"peft": "0.14.0"}))


def test_a_cell_without_the_package_is_out_of_bounds_and_states_concern_all() -> None:
    """What a cell does not have, no specifier covers; a state has no variant to filter by."""
    records: list[Record] = [record({"peft": "0.13.0"}, "passed"), state_record({"peft": "0.14.0"})]
    assert parse_where("sentence-transformers>=3", AXES).select(records) == []
    assert parse_where("method=nothing", AXES).select(records) == records[1:]
    assert parse_where("peft<0.14", AXES).select(records) == records[:1]
