"""Grouping by cause: independent faults are told apart, and one fault is told once however many cases see it."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hypothesis import given
from hypothesis import strategies as st

from harness.interface import Outcome
from harness.judge.causes import (
    BASE_ANSWER,
    CACHE_LOST,
    COUNTED_AGAIN,
    NO_STEP,
    NOT_FILLED,
    OTHER_ANSWER,
    PROMPT_AGAIN,
    FirstBad,
    groups_of,
    mechanism_of,
)
from harness.judge.verdicts import Judged, judge
from harness.matrix.cases import Case
from harness.matrix.expected import Expectation
from tests.planted import record

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.contracts.record import VariantRecord
    from harness.judge.causes import Group

CASES = tuple(
    Case(name=f"case_{number}", path=Path(f"case_{number}.py"), summary="", document=None, variants=())
    for number in range(10)
)
OLD, NEW = {"peft": "0.21.2", "transformers": "5.23.0"}, {"peft": "0.21.2", "transformers": "5.24.0"}
FAMILIES = ("llama", "gpt2", "bloom")
FRAMES = (
    "peft.peft_model:PeftModelForCausalLM.forward",
    "peft.utils.other:create_attention_mask",
    "transformers.cache_utils:DynamicCache.update",
    "transformers.masking_utils:create_causal_mask",
)
KINDS = ("KeyError", "TypeError", "ValueError", "IndexError")
MECHANISMS: dict[str, dict[str, Any]] = {
    BASE_ANSWER: {"evidence": {"said": [[1, 2]], "base": [[1, 2]]}},
    CACHE_LOST: {"counters": {"use_cache": True, "tokens_per_call": [9, 10, 11, 12]}},
    COUNTED_AGAIN: {
        "counters": {"use_cache": True, "tokens_per_call": [9, 1, 1, 1], "cache_per_call": [0, 19, 30, 41]}
    },
    PROMPT_AGAIN: {
        "counters": {"use_cache": True, "tokens_per_call": [57, 21, 21], "cache_per_call": [None, None, None]}
    },
    NOT_FILLED: {"counters": {"use_cache": True, "tokens_per_call": [37, 1, 1], "cache_per_call": [20, 20, 20]}},
    OTHER_ANSWER: {"evidence": {"said": [[1, 2]], "base": [[3, 4]]}},
}

faults = st.one_of(
    st.tuples(st.sampled_from(KINDS), st.sampled_from(FRAMES)).map(
        lambda one: {"outcome": Outcome.ERROR, "signature": f"{one[0]}: of <n> @ {one[1]}", "message": "e"}
    ),
    st.sampled_from([BASE_ANSWER, CACHE_LOST, COUNTED_AGAIN, PROMPT_AGAIN, NOT_FILLED]).map(
        lambda name: {"outcome": Outcome.WRONG, "signature": None, "message": "it is wrong", **MECHANISMS[name]}
    ),
)


def variant(model: str, **more: str) -> dict[str, str]:
    """Make a variant."""
    return {"model": model, **more, "device": "cpu", "dtype": "float32"}


def failing(case: str, model: str, fault: dict[str, Any], packages: dict[str, str] = NEW) -> VariantRecord:
    """Make a record that fails in this way."""
    return replace(record(packages, "wrong", variant=variant(model), case=case), **fault)


def passing(case: str, model: str, packages: dict[str, str] = OLD) -> VariantRecord:
    """Make a record that passes."""
    return record(packages, "passed", variant=variant(model), case=case)


def grouped(bad: Sequence[VariantRecord], good: Sequence[VariantRecord], cases: Sequence[Case] = CASES) -> list[Group]:
    """Group failing records as a report does."""
    by_name = {case.name: case for case in cases}
    judged = [judge(by_name[one.case], one, one.cell.id, one.variant) for one in bad]
    return groups_of([one for one in judged if one.needs_a_person], cases, [*bad, *good])


@given(fault=faults)
def test_one_fault_that_ten_cases_see_is_one(fault: dict[str, Any]) -> None:
    """Each in the words of its own: what they share is the step, and the mechanism."""
    places = [(case.name, model) for case in CASES for model in FAMILIES]
    bad = [replace(failing(*place, fault), message=f"{place[0]} says it so") for place in places]
    (group,) = grouped(bad, [passing(*place) for place in places])
    assert len(group.members) == len(places)
    assert group.cases == tuple(case.name for case in CASES)
    assert group.step == "since transformers 5.24.0 (5.23.0 does not)"
    assert group.representative.case == "case_0"


@given(both=st.tuples(faults, faults).filter(lambda both: mechanism(both[0]) != mechanism(both[1])), data=st.data())
def test_two_independent_faults_in_one_cell_are_two(both: tuple[dict[str, Any], dict[str, Any]], data: Any) -> None:
    """However the cases share them out."""
    places = [(case.name, model) for case in CASES for model in FAMILIES]
    kinds = data.draw(
        st.lists(st.booleans(), min_size=len(places), max_size=len(places)).filter(lambda k: len(set(k)) > 1)
    )
    bad = [failing(*place, both[kind]) for place, kind in zip(places, kinds, strict=True)]
    groups = grouped(bad, [passing(*place) for place in places])
    assert sorted(len(group.members) for group in groups) == sorted([sum(kinds), len(kinds) - sum(kinds)])


def mechanism(fault: dict[str, Any]) -> str:
    """Return the mechanism of a fault."""
    return mechanism_of(failing("case_0", "llama", fault))


@given(fault=faults)
def test_the_same_way_of_failing_from_two_steps_is_two(fault: dict[str, Any]) -> None:
    """A release of peft and one of transformers that both break do not share a cause because they raise alike."""
    newer = {"peft": "0.22.0", "transformers": "5.23.0"}
    bad = [failing("case_0", "llama", fault), failing("case_1", "llama", fault, newer)]
    groups = grouped(bad, [passing("case_0", "llama"), passing("case_1", "llama")])
    assert sorted(group.step for group in groups) == [
        "since peft 0.22.0 (0.21.2 does not)",
        "since transformers 5.24.0 (5.23.0 does not)",
    ]


@given(fault=faults)
def test_cells_beyond_the_first_bad_release_belong_to_it(fault: dict[str, Any]) -> None:
    """The step is where it begins, not where it is looked at."""
    later = {"peft": "0.21.2", "transformers": "5.25.0"}
    bad = [failing("case_0", "llama", fault, packages) for packages in (NEW, later)]
    (group,) = grouped(bad, [passing("case_0", "llama")])
    assert (len(group.members), group.step) == (2, "since transformers 5.24.0 (5.23.0 does not)")
    assert group.first_bad == FirstBad(package="transformers", bad="5.24.0", good="5.23.0")


RANKED = {
    "peft": ("0.9.0", "0.10.0", "0.11.1"), "transformers": ("4.9.0", "4.40.2", "5.0.0"), "torch": ("2.9.0", "2.10.0"),
}  # fmt: skip

grids = st.dictionaries(
    st.tuples(*(st.integers(0, len(one) - 1) for one in RANKED.values())), st.booleans(), min_size=1
)


@given(fails=grids)
def test_the_step_is_that_from_the_nearest_cell_that_does_otherwise(fails: dict[tuple[int, ...], bool]) -> None:
    """As a plain search over all cells finds it, or one of them where several are equally near.

    Nearest is what differs in the fewest packages, then by the fewest measured releases, then what is older; torch is
    compared between equal peft and transformers alone.
    """
    names = list(RANKED)
    measured = {
        cell: failing("case_0", "llama", {"message": "m"}, versions) if is_bad else passing("case_0", "llama", versions)
        for cell, is_bad in fails.items()
        for versions in [{name: RANKED[name][rank] for name, rank in zip(names, cell, strict=True)}]
    }
    ranks = [sorted({cell[axis] for cell in fails}) for axis in range(len(names))]

    def changes(one: tuple[int, ...], other: tuple[int, ...]) -> dict[int, int]:
        moved = {axis: ranks[axis].index(one[axis]) - ranks[axis].index(other[axis]) for axis in range(len(names))}
        return {axis: by for axis, by in moved.items() if by and axis < 2} or {a: by for a, by in moved.items() if by}

    for cell in (cell for cell, is_bad in fails.items() if is_bad):
        near = {one: changes(one, cell) for one, is_bad in fails.items() if not is_bad}
        distance = {
            one: (len(by), sum(map(abs, by.values())), sum(step > 0 for step in by.values()))
            for one, by in near.items()
        }
        nearest = {
            axis: by for one, of in near.items() if distance[one] == min(distance.values()) for axis, by in of.items()
        }
        (group,) = grouped([measured[cell]], list(measured.values()))
        words = group.step
        if not words.startswith("since "):
            assert group.first_bad is None, "only a first bad release of one package is one"
        if not near:
            assert words == NO_STEP
        elif min(distance.values())[0] > 1:
            assert words.startswith("with ")
        else:
            found = re.fullmatch(r"(since|up to) (\S+) (\S+) \((\S+) does not\)", words)
            assert found is not None
            way, name, first, before = found.groups()
            axis = names.index(name)
            assert RANKED[name].index(before) == ranks[axis][ranks[axis].index(cell[axis]) + nearest[axis]]
            assert (way == "since") == (nearest[axis] < 0)
            if way == "since":
                assert group.first_bad == FirstBad(package=name, bad=first, good=before)
            low, high = sorted((RANKED[name].index(before), cell[axis]))
            line = [
                one[axis] for one, is_bad in fails.items()
                if is_bad and low <= one[axis] <= high and (one == cell or set(changes(one, cell)) == {axis})
            ]  # fmt: skip
            assert RANKED[name].index(first) == (min if way == "since" else max)(line)


def test_a_known_failure_that_changed_has_its_step() -> None:
    """The neighbour does otherwise when it fails of a defect that is known."""
    known = Expectation(outcome="error", defect="it-raises", where={"transformers": "<=5.23.0"})
    cases = (replace(CASES[0], expectations=(known,)),)
    fault = {"outcome": Outcome.ERROR, "signature": "KeyError: 'x' @ peft.peft_model:f", "message": "e"}
    bad = [failing("case_0", "llama", fault, packages) for packages in (OLD, NEW)]
    (group,) = grouped(bad, [], cases)
    assert [one.cell for one in group.members] == [bad[1].cell.id]
    assert group.words == "since transformers 5.24.0 (5.23.0 does not): raises KeyError of 'x' in peft.peft_model:f (e)"


def test_what_never_passed_says_so() -> None:
    """No step is made up."""
    (group,) = grouped([failing("case_0", "llama", {"message": "m"})], [])
    assert group.words == f"{NO_STEP}: {OTHER_ANSWER}"


def test_a_wrong_answer_without_evidence_joins_the_only_one_that_has() -> None:
    """With two candidates it stays alone."""
    places = [("case_0", "llama"), ("case_1", "llama"), ("case_2", "llama")]
    good = [passing(*place) for place in places]
    wrong = [{"message": "m", **MECHANISMS[name]} for name in (BASE_ANSWER, OTHER_ANSWER, CACHE_LOST)]
    two = [failing(*place, fault) for place, fault in zip(places, wrong, strict=True)]
    assert [len(group.members) for group in grouped(two[:2], good)] == [2]
    assert len(grouped(two, good)) == 3


INDEX = "IndexError: index out of range in self @ torch.nn.functional:embedding"


def test_an_error_of_what_the_model_was_fed_is_one_with_the_wrong_answers() -> None:
    """GPT-2 runs out of positions of the same prompt that makes Llama answer otherwise."""
    raised = {"outcome": Outcome.ERROR, "signature": INDEX, "message": "e", **MECHANISMS[PROMPT_AGAIN]}
    wrong = {"message": "m", **MECHANISMS[PROMPT_AGAIN]}
    bad = [failing("case_0", "gpt2", raised), failing("case_0", "llama", wrong)]
    (group,) = grouped(bad, [passing("case_0", "gpt2"), passing("case_0", "llama")])
    assert group.mechanism == PROMPT_AGAIN


def test_an_error_of_pefts_own_is_told_by_where_it_raises() -> None:
    """Whatever was fed before it: two faults of one type in one function are two by what they name."""
    frame = "peft.peft_model:PeftModelForCausalLM.prepare_inputs_for_generation"
    told = {
        mechanism_of(
            failing("case_0", "llama", {
                "outcome": Outcome.ERROR, "signature": f"KeyError: '{name}' @ {frame}", **MECHANISMS[PROMPT_AGAIN],
            })
        )
        for name in ("cache_position", "past_key_values")
    }  # fmt: skip
    assert told == {
        f"raises KeyError of '{name}' in peft.peft_model:PeftModelFor*.prepare_inputs_for_generation"
        for name in ("cache_position", "past_key_values")
    }


def test_an_error_joins_the_same_error_of_its_method() -> None:
    """Where nothing was counted; the same words of another method are another cause."""
    counted = {"outcome": Outcome.ERROR, "signature": INDEX, "message": "e", **MECHANISMS[PROMPT_AGAIN]}
    bare = {"outcome": Outcome.ERROR, "signature": INDEX, "message": "e"}
    places = [("case_0", "prompt_tuning", counted), ("case_1", "prompt_tuning", bare), ("case_1", "lora", bare)]
    bad = [
        replace(failing(case, "gpt2", fault), variant={**variant("gpt2"), "method": method})
        for case, method, fault in places
    ]
    good = [replace(one, outcome=Outcome.PASSED, cell=passing("case_0", "gpt2").cell) for one in bad]
    groups = grouped(bad, good)
    assert {group.mechanism: len(group.members) for group in groups} == {
        PROMPT_AGAIN: 2,
        "raises IndexError in torch.nn.functional:embedding": 1,
    }


def test_a_wrong_answer_joins_what_is_known_of_its_method() -> None:
    """The other method's mechanism is another cause."""
    places = [("case_0", "prefix_tuning"), ("case_0", "prompt_tuning"), ("case_1", "prefix_tuning")]
    faults_of = [MECHANISMS[name] for name in (NOT_FILLED, PROMPT_AGAIN, OTHER_ANSWER)]
    bad = [
        replace(failing(case, "llama", {"message": "m", **fault}), variant={**variant("llama"), "method": method})
        for (case, method), fault in zip(places, faults_of, strict=True)
    ]
    good = [replace(one, outcome=Outcome.PASSED, cell=passing("case_0", "llama").cell) for one in bad]
    groups = grouped(bad, good)
    assert {group.mechanism: len(group.members) for group in groups} == {NOT_FILLED: 2, PROMPT_AGAIN: 1}
    assert {group.representative.case for group in groups} == {"case_0"}


def test_families_that_raise_in_their_own_files_raise_alike() -> None:
    """The frame of a model's own file is that of any family's."""
    told = {
        mechanism_of(
            failing("case_0", name, {
                "outcome": Outcome.ERROR,
                "signature": f"KeyError: 'x' @ transformers.models.{name}.modeling_{name}:{name.title()}Model.forward",
            })
        )
        for name in FAMILIES
    }  # fmt: skip
    assert told == {"raises KeyError of 'x' in transformers.models.*:forward"}


def test_what_is_mended_is_told_by_its_defect() -> None:
    """A defect that is gone is one line, in however many cases."""
    known = Expectation(outcome="error", defect="it-raises")
    cases = tuple(replace(case, expectations=(known,)) for case in CASES)
    judged: list[Judged] = []
    for case in cases:
        one = passing(case.name, "llama")
        judged.append(judge(case, one, one.cell.id, one.variant))
    (group,) = groups_of(judged, cases, [])
    assert (group.verdict, group.words, len(group.cases)) == ("fixed", "it-raises is expected and not there", 10)
