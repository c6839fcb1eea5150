"""Where claims hold: decided by what they speak of, never by a cell that fails of something else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.contracts.record import MEASURED
from harness.contracts.records import variants_in
from harness.errors import DataError
from harness.interface import Outcome
from harness.judge.claims import Audit, audit, told
from harness.judge.origin import published_with
from harness.matrix.cases import Case, load_cases
from harness.matrix.claims import Claim, parse_claims
from harness.matrix.expected import Expectation
from tests.planted import PEFT, record
from tests.strategies import records

if TYPE_CHECKING:
    from harness.contracts.record import VariantRecord

KNOWN = Expectation(outcome="error", defect="it-raises", signature="ValueError")
OTHER = Expectation(outcome="wrong", defect="something-else")
CASE = Case(
    name="planted", path=Path("planted.py"), summary="", document="009", variants=(), expectations=(KNOWN, OTHER)
)
CLAIM = Claim(
    id="009.c", case="planted", document="009", quote="q", english="e", outcome=("error",), defect="it-raises"
)
WORKS = replace(CLAIM, outcome=("passed",))


def of(peft: str, outcome: str, transformers: str = "4.40.2", case: str = "planted") -> VariantRecord:
    """Make a record of the planted case."""
    return record({"peft": peft, "transformers": transformers}, outcome, case=case)


def audited(claim: Claim, data: list[VariantRecord], case: Case = CASE) -> Any:
    """Audit one claim."""
    (result,) = audit(replace(case, claims=(claim,)), data)
    return result


@given(data=st.lists(records(), max_size=6), quantifier=st.sampled_from(["all", "any"]))
def test_a_claim_is_decided_by_what_it_speaks_of(data: list[VariantRecord], quantifier: str) -> None:
    """Cells that bear it out and cells that contradict it follow from the records, and the answer from the cells."""
    any_error = Expectation(outcome="error", defect="it-raises")
    case = replace(CASE, expectations=(any_error,))
    # Two records of one place do not come from one run.
    data = [replace(one, cell=replace(one.cell, id=str(number))) for number, one in enumerate(data)]
    result = audited(replace(CLAIM, quantifier=quantifier), data, case)
    decides = [one for one in data if one.outcome in {Outcome.PASSED, Outcome.ERROR}]
    assert sorted(result.holding) == sorted(one.cell.id for one in decides if one.outcome == Outcome.ERROR)
    assert sorted(result.contradicting) == sorted(one.cell.id for one in decides if one.outcome == Outcome.PASSED)
    assert sum(count for _, count in result.aside) == sum(one.outcome in MEASURED for one in data) - len(decides)
    assert (result.audit is Audit.UNTESTED) == (not decides)
    assert (result.audit is Audit.HOLDS) == bool(result.holding and not result.contradicting)
    assert (result.audit is Audit.DOES_NOT_HOLD) == bool(result.contradicting and not result.holding)


@given(
    outcomes=st.lists(st.sampled_from(["passed", "error", "wrong"]), min_size=1, max_size=5),
    planted=st.sampled_from(["wrong", "crashed", "unsupported"]),
    claim=st.sampled_from([CLAIM, WORKS, replace(CLAIM, quantifier="any")]),
)
def test_a_cell_that_fails_of_another_defect_decides_nothing(outcomes: list[str], planted: str, claim: Claim) -> None:
    """A planted cell that fails of another defect, or of a cause without a name, changes no answer; it is counted."""
    data = [of(peft, outcome) for peft, outcome in zip(PEFT, outcomes, strict=False)]
    before = audited(claim, data)
    after = audited(claim, [*data, of("0.99.0", planted)])
    assert (after.audit, after.windows, after.holding, after.contradicting) == (
        before.audit, before.windows, before.holding, before.contradicting,
    )  # fmt: skip
    assert sum(dict(after.aside).values()) == sum(dict(before.aside).values()) + 1


@pytest.mark.parametrize("claim", [WORKS, replace(CLAIM, outcome=("error",), quantifier="any")])
def test_a_cell_with_a_failure_of_something_else_is_not_known(claim: Claim) -> None:
    """It bears out nothing about every variant and contradicts nothing about some: one of them never came to say."""
    here = of("0.9.0", "passed")
    beside = replace(here, variant={**here.variant, "model": "gpt2"}, outcome=Outcome.WRONG)
    result = audited(claim, [here, beside])
    assert (result.audit, dict(result.aside)) == (Audit.UNTESTED, {"unattributed": 1})
    decisive = replace(here, variant={**here.variant, "model": "opt"}, outcome=Outcome.ERROR, signature="ValueError")
    decided = audited(claim, [here, beside, decisive])
    assert decided.audit is (Audit.DOES_NOT_HOLD if claim is WORKS else Audit.HOLDS)


@given(first=st.integers(0, len(PEFT)), works=st.booleans())
def test_from_and_until_are_where_it_turns(first: int, works: bool) -> None:
    """On one axis the answer names the release at which the records turn."""
    data = [of(peft, "error" if number < first else "passed") for number, peft in enumerate(PEFT)]
    result = audited(WORKS if works else CLAIM, data)
    if first in {0, len(PEFT)}:
        assert result.words in {"holds", "does not hold"}
    elif works:
        assert result.words == f"holds from peft {PEFT[first]}"
    else:
        assert result.words == f"holds until peft {PEFT[first - 1]}"


def test_windows_of_two_axes_are_told() -> None:
    """Where no single release separates the cells, the windows that do are written out."""
    data = [
        of(peft, "passed" if peft in PEFT[1:3] and other == "5.0.0" else "error", other)
        for peft in PEFT
        for other in ("4.40.2", "5.0.0")
    ]
    assert audited(WORKS, data).words == f"holds in peft >={PEFT[1]},<={PEFT[2]}, transformers >=5.0.0"


def test_numbers_have_a_least_and_a_most() -> None:
    """A ratio above the most contradicts; a record without the number is not asked."""
    faster = replace(CLAIM, outcome=("passed",), maximum={"latency.ratio": 1.0}, minimum={"latency.ratio": 0.1})
    data = [replace(of(peft, "passed"), latency={"ratio": ratio}) for peft, ratio in zip(PEFT, (0.05, 0.5, 2.0))]  # noqa: B905
    result = audited(faster, [*data, of("0.99.0", "passed")])
    assert (len(result.holding), len(result.contradicting)) == (1, 2)


def test_a_run_says_nothing_of_a_document_that_it_does_not_measure() -> None:
    """Nor of one of which every cell fails of something else."""
    claims = (CLAIM, replace(CLAIM, id="009.d", only={"model": ("none",)}), replace(CLAIM, id="008.a", document="008"))
    results = audit(replace(CASE, claims=claims[:2]), [of("0.9.0", "error")])
    elsewhere = audit(replace(CASE, claims=claims[2:]), [of("0.9.0", "wrong")])
    assert [one.claim.id for one in told([*results, *elsewhere])] == ["009.c", "009.d"]


ENTRY = """document = "009"

[[claim]]
id = "009.a"
case = "planted"
quote = "q"
english = "e"
defect = "it-raises"
where = { peft = ">=0.9.0" }
only = { model = ["llama"] }
outcome = ["error"]
answer = "a"
"""


@pytest.mark.parametrize(
    ("part", "instead", "words"),
    [
        ('document = "009"', 'document = "008"', r":1: document is '008', and the file '009'"),
        ('id = "009.a"\n', "", r":3: id is missing"),
        ('quote = "q"', "quote = 1", r":6: quote must be a text"),
        ('">=0.9.0"', '"newer"', r":9: peft = 'newer' is no version specifier"),
        ("peft =", "pest =", r":9: where: 'pest' is none of"),
        ('["llama"]', '["lama"]', r":10: only.model: the case has no 'lama'"),
        ('["error"]', '["raised"]', r":11: outcome: 'raised' is none of"),
        ('answer = "a"', 'answers = "a"', r":12: 'answers' means nothing here"),
        ('case = "planted"', 'case = "plnted"', r":5: there is no case 'plnted'"),
        ('answer = "a"', 'answer = "a"\nsignature = "("', r":13: signature is no regular expression"),
        ('answer = "a"', 'answer = "a"\nquantifier = "some"', r":13: quantifier = 'some' is none of all, any"),
        (
            'answer = "a"',
            'answer = "a"\nmaximum = { "latency.ratio" = "1" }',
            r":13: maximum must be a table",
        ),
        ('answer = "a"', "answer = ", r":12: not TOML"),
    ],
)
def test_a_mistake_is_told_with_file_and_line(part: str, instead: str, words: str) -> None:
    """Each planted mistake is found where it stands, and the whole entry has none."""
    axes = (("model", ("llama",)),)
    path = Path("cases/claims/009.toml")
    (whole,) = parse_claims(path, ENTRY, "planted", axes)
    assert (whole.document, whole.where, whole.only) == ("009", {"peft": ">=0.9.0"}, {"model": ("llama",)})
    assert part in ENTRY
    with pytest.raises(DataError, match=r"cases/claims/009.toml" + words):
        parse_claims(path, ENTRY.replace(part, instead), "planted", axes)


def test_every_claim_has_its_answer() -> None:
    """A person has answered each of the 34."""
    claims = [claim for case in load_cases() for claim in case.claims]
    assert len(claims) == len({one.id for one in claims}) == 34
    assert all(one.answer.endswith(".") for one in claims)


def test_the_sentence_of_each_claim_begins_with_its_answer() -> None:
    """What a person wrote is what the published records say, in all of the documents."""
    begins = {Audit.DOES_NOT_HOLD: "Does not hold", Audit.UNTESTED: "Untested"}
    published = list(variants_in(published_with(None).records))
    audits = [one for case in load_cases() if case.claims for one in audit(case, published)]
    assert len(audits) == 34
    for one in audits:
        assert one.claim.answer.startswith(begins.get(one.audit, "Holds")), (one.claim.id, one.words)
