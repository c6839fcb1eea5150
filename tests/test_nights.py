"""Two real nights, told again from the published records: what was not known that night is taken away first.

A night sees the records up to it, and what is expected of them. Entries of which every measured cell is of that night's
release alone were written on the day after, and go.
"""

from __future__ import annotations

import ast
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING

import pytest
from packaging.version import Version

from harness.contracts.records import variants_in
from harness.judge.causes import NOT_FILLED, PROMPT_AGAIN, groups_of, mechanism_of
from harness.judge.reference import read_reference
from harness.judge.verdicts import covers, judge
from harness.matrix.cases import load_cases
from harness.repro.bundle import bundle

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from harness.contracts.record import VariantRecord
    from harness.judge.causes import Group
    from harness.matrix.cases import Case

CASES = load_cases()
OTHERS = ("documented", "library", "families")
"""What had been published of the days before, beside the night's own matrix."""
FACTS = {"SHOWN": ("torch",), "EXPECTED": "that it holds"}


@cache
def records_of(*matrices: str) -> tuple[VariantRecord, ...]:
    """Read the measured variants of matrices."""
    return tuple(one for name in matrices for one in variants_in(read_reference(name)))


def release(record: VariantRecord, package: str) -> Version:
    """Return the release of a package in a record's cell."""
    return Version(record.cell.packages[package].partition("+")[0])


def is_of(record: VariantRecord, pair: Mapping[str, str]) -> bool:
    """Return whether a record was measured in a cell of these versions."""
    return all(release(record, name) == Version(version) for name, version in pair.items())


def known_before(case: Case, before: tuple[VariantRecord, ...]) -> Case:
    """Return a case without the entries that no record of the days before needs."""
    mine = [one for one in before if one.case == case.name]
    needed = [
        entry
        for entry in case.expectations
        if any(covers(entry.where, entry.only, one.cell.versions, one.variant) for one in mine)
    ]
    return replace(case, expectations=tuple(needed))


def night(matrix: str, pair: Mapping[str, str]) -> list[Group]:
    """Group by cause what needs a person in the cell of a pair, as of the night on which it was new."""
    there = [one for one in records_of(matrix) if is_of(one, pair)]
    # What is newer on either side was not there yet, and neither was the new release beside anything else.
    before = tuple(
        one
        for one in records_of(matrix, *OTHERS)
        if release(one, "transformers") < Version(pair["transformers"])
        and release(one, "peft") <= Version(pair["peft"])
    )
    cases = tuple(known_before(case, before) for case in CASES)
    by_name = {case.name: case for case in cases}
    judged = [judge(by_name[one.case], one, one.cell.id, one.variant) for one in there]
    return groups_of([one for one in judged if one.needs_a_person], cases, [*there, *before])


@cache
def newest_beside_5_24() -> tuple[Group, ...]:
    """Tell the night on which transformers 5.24.0 was new."""
    return tuple(night("nightly", {"peft": "0.21.2", "transformers": "5.24.0"}))


@cache
def last_peft_beside_5_18() -> tuple[Group, ...]:
    """Tell the night on which transformers 5.18 met peft 0.21.1."""
    return tuple(night("families", {"peft": "0.21.1", "transformers": "5.18.0"}))


def test_a_night_of_hundreds_of_failures_is_a_handful_of_causes() -> None:
    """The newest peft beside transformers 5.24.0: at most six, two of which are nearly all of it."""
    groups = newest_beside_5_24()
    members = sum(len(group.members) for group in groups)
    assert members > 300
    assert len(groups) <= 6
    assert {groups[0].mechanism, groups[1].mechanism} == {PROMPT_AGAIN, NOT_FILLED}
    assert len(groups[0].members) + len(groups[1].members) > 0.75 * members
    assert {group.step for group in groups} == {"since transformers 5.24.0 (5.23.0 does not)"}


def test_a_night_of_one_cause_is_told_as_one() -> None:
    """With peft 0.21.1 beside transformers 5.18 the helper that encoder-decoders need is gone, and nothing else."""
    (group,) = last_peft_beside_5_18()
    assert len(group.members) > 10
    assert "AttributeError of '_prepare_encoder_decoder_kwargs_for_generation'" in group.mechanism


@pytest.mark.parametrize("told", [newest_beside_5_24, last_peft_beside_5_18])
def test_each_cause_has_a_script(told: Callable[[], tuple[Group, ...]]) -> None:
    """Its representative shows the cause by itself, and a script can be made of it."""
    paths = {case.name: case.path for case in CASES}
    for group in told():
        one = group.representative
        assert one.record is not None
        assert mechanism_of(one.record) == group.mechanism
        assert ast.parse(bundle(paths[one.case], one.variant, FACTS).body)
