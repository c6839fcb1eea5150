"""Which package: what the corners say is held against every corner."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from harness.bisect.search import Answer, Corner, conditions, corners, sentence

GOOD, BAD, SKIP = Answer.GOOD, Answer.BAD, Answer.SKIP
NAMES = {"peft": "peft < 0.14.0", "transformers": "transformers >= 4.48.0", "torch": "torch >= 2.5.0"}


@st.composite
def measured(draw: st.DrawFn) -> tuple[list[str], dict[Corner, Answer]]:
    """Draw answers for all corners of two or three packages, monotone or not."""
    packages = draw(st.sampled_from([["peft", "transformers"], ["peft", "torch", "transformers"]]))
    answers = {corner: draw(st.sampled_from([GOOD, BAD, SKIP])) for corner in corners(packages)}
    return packages, answers


@given(measured())
def test_the_conditions_account_for_every_corner(drawn: tuple[list[str], dict[Corner, Answer]]) -> None:
    """A measured corner is bad exactly where a needed set lies within it, healed ones apart."""
    packages, answers = drawn
    found = conditions(packages, answers)
    for corner, answer in answers.items():
        enough = any(one <= corner for one in found.needed)
        if answer is BAD:
            assert enough
        elif answer is GOOD:
            assert enough == (corner in found.healed)
        else:
            assert corner in found.unknown
    for one in found.needed:
        assert answers[one] is BAD
        assert not any(answers[other] is BAD for other in answers if other < one)
        assert not one & found.idle


@given(measured())
def test_the_sentence_names_what_is_needed_and_nothing_that_is_not(
    drawn: tuple[list[str], dict[Corner, Answer]],
) -> None:
    """Packages without a part are said to have none; those needed stand with their side."""
    packages, answers = drawn
    found = conditions(packages, answers)
    said = sentence(found, NAMES)
    if not found.needed or frozenset() in found.needed:
        return
    for name in packages:
        assert (NAMES[name] in said) or not any(name in one for one in found.needed)
    assert ("no part in it" in said) == bool(found.idle)
    assert ("either alone is fine" in said) <= all(answers[frozenset({name})] is GOOD for name in found.needed[0])


def test_the_corners_of_two_and_three() -> None:
    """Both cells come first, and every corner once."""
    assert corners(["a", "b"]) == [frozenset("ab"), frozenset(), frozenset("a"), frozenset("b")]
    assert len(corners("abc")) == len(set(corners("abc"))) == 8


def test_what_a_maintainer_reads() -> None:
    """The sentences of the four plain cases."""
    both, none = frozenset({"peft", "transformers"}), frozenset[str]()
    peft, transformers = frozenset({"peft"}), frozenset({"transformers"})

    def said(one: Answer, other: Answer) -> str:
        answers = {both: BAD, none: GOOD, peft: one, transformers: other}
        return sentence(conditions(both, answers), NAMES)

    assert said(GOOD, GOOD) == "needs transformers >= 4.48.0 *and* peft < 0.14.0; either alone is fine"
    assert said(BAD, GOOD) == "peft < 0.14.0 alone is enough; transformers has no part in it"
    assert said(BAD, BAD) == "any of these is enough: peft < 0.14.0; transformers >= 4.48.0"
    assert said(SKIP, GOOD) == "needs transformers >= 4.48.0 *and* peft < 0.14.0; not known: peft < 0.14.0"
