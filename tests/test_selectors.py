"""What ``--case`` and ``--cell`` mean, held against the meaning written out by brute force."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.interface import DEVICES, variant_id, with_defaults
from harness.matrix.cases import load_cases, select_variants
from harness.selectors import SelectionError, cell_selector, one_cell, variant_selector

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, kw_only=True)
class Planted:
    """A case of a catalogue that exists for these tests."""

    name: str
    variants: tuple[dict[str, str], ...]
    ring: str = "library"
    by_name: bool = False


def over(**axes: tuple[str, ...]) -> tuple[dict[str, str], ...]:
    """List the product of some axes."""
    return tuple(dict(zip(axes, values, strict=True)) for values in product(*axes.values()))


PADDED = Planted(
    name="padded_batch",
    variants=over(model=("llama", "opt"), method=("lora", "prefix_tuning"), aspect=("left", "left_generate", "right")),
)
CATALOGUE = (
    PADDED,
    Planted(name="padded_rows", variants=over(model=("llama", "bloom"))),
    Planted(name="half", ring="long", variants=over(dtype=("bfloat16", "float16"), model=("llama", "opt"))),
    Planted(name="growth", variants=over(model=("llama", "bloom")), ring="long", by_name=True),
)
EVERY = [(case, variant) for case in CATALOGUE for variant in case.variants]
NAMES = st.sampled_from(
    ("padded_batch", "padded_rows", "half", "growth", "padded_*", "h?lf", "*", "ring=long", "ring=library", "ring=l*")
)
PARTS = st.one_of(
    st.sampled_from(
        ("", "llama", "left", "llama-*-left", "opt", "opt-l?ra", "float16", "cpu", "cuda-float32", "left_")
    ),
    st.builds(
        lambda place, device: variant_id(with_defaults(place[1], device) if device else place[1]),
        st.sampled_from(EVERY),
        st.sampled_from(("", *DEVICES)),
    ),
)
WORDS = st.builds(lambda name, part: f"{name}:{part}" if part else name, NAMES, PARTS)


def fits(pattern: str, text: str) -> bool:
    """Match the whole of a text with ``*`` and ``?``, by a regular expression."""
    expression = "".join({"*": ".*", "?": "."}.get(sign, re.escape(sign)) for sign in pattern)
    return re.fullmatch(expression, text) is not None


def ids(case: Planted, variant: Mapping[str, str], device: str) -> set[str]:
    """List every way in which a person may write the whole id of a variant on a device."""
    rest = [value for axis, value in variant.items() if axis != "dtype"]
    dtype = variant.get("dtype")
    declared = "-".join(variant.values())
    assert variant in case.variants
    return {declared, "-".join([*rest, *([dtype] if dtype else [])]), "-".join([*rest, device, dtype or "float32"])}


def means(word: str, case: Planted, variant: Mapping[str, str], device: str) -> bool:
    """Return by brute force whether a word means a declared variant that is measured on a device."""
    name, _, part = word.partition(":")
    of_ring = name == f"ring={case.ring}"
    if not (name == case.name or ((fits(name, case.name) or of_ring) and not case.by_name)):
        return False
    whole = {text for one in case.variants for each in DEVICES for text in ids(case, one, each)}
    if part in whole:
        return part in ids(case, variant, device)
    return fits(f"*{part}*", variant_id(with_defaults(variant, device)))


@given(wanted=st.lists(WORDS, max_size=3), excluded=st.lists(WORDS, max_size=2), device=st.sampled_from(DEVICES))
def test_an_expression_means_what_brute_force_says(wanted: list[str], excluded: list[str], device: str) -> None:
    """A wanted word means a variant and no excluded one does; a word that never means anything is refused."""
    texts = [*wanted, *(f"!{word}" for word in excluded)]
    empty = [
        word
        for word in {*wanted, *excluded}
        if not any(means(word, case, variant, each) for case, variant in EVERY for each in DEVICES)
    ]
    try:
        selected = variant_selector(",".join(texts), CATALOGUE)
    except SelectionError as error:
        assert empty
        assert "\n" not in str(error)  # noqa: PT017 - one line
        return
    assert not empty
    for case, variant in EVERY:
        measured = with_defaults(variant, device)
        kept = not wanted or any(means(word, case, variant, device) for word in wanted)
        expected = kept and not any(means(word, case, variant, device) for word in excluded)
        assert selected(case.name, measured) == expected, (texts, case.name, measured)


@given(words=st.lists(WORDS, min_size=1, max_size=3))
def test_the_command_line_and_a_matrix_file_speak_one_language(words: list[str]) -> None:
    """Words joined by commas mean what the same words mean in a list."""
    try:
        listed = variant_selector(words, CATALOGUE)
    except SelectionError as error:
        with pytest.raises(SelectionError, match=re.escape(str(error))):
            variant_selector(" , ".join(words), CATALOGUE)
        return
    assert listed == variant_selector(" , ".join(words), CATALOGUE)


@pytest.mark.parametrize("part", ["llama-prefix_tuning-left", "llama-prefix_tuning-left-cpu-float32"])
def test_an_exact_variant_is_told_from_one_that_contains_it(part: str) -> None:
    """``...-left`` is a variant of its own, and the beginning of ``...-left_generate``."""
    selected = variant_selector(f"padded_batch:{part}", CATALOGUE)
    found = [variant for variant in PADDED.variants if selected("padded_batch", variant)]
    assert found == [{"model": "llama", "method": "prefix_tuning", "aspect": "left"}]


def test_every_variant_of_every_case_can_be_named_alone() -> None:
    """The whole id of a variant means that variant and no other, as declared and as measured."""
    cases = load_cases()
    for case in cases:
        for variant in case.variants:
            for text in (variant_id(variant), variant_id(with_defaults(variant, "cpu"))):
                assert select_variants((case,), f"{case.name}:{text}") == [(case, variant)]


def test_a_case_by_name_is_meant_by_no_pattern() -> None:
    """It runs where its name is written out; the word that is implied does not mean it either."""
    selected = variant_selector("!half", CATALOGUE, implied="*")
    assert not selected("growth", {"model": "llama"})
    assert selected("padded_rows", {"model": "llama"})
    assert variant_selector("growth", CATALOGUE)("growth", {"model": "llama"})
    with pytest.raises(SelectionError, match="runs by its name alone"):
        variant_selector("grow*", CATALOGUE)


@pytest.mark.parametrize(
    ("word", "words"),
    [
        ("padded_bach", "no case 'padded_bach'; did you mean padded_batch"),
        ("!padded_bach", "did you mean padded_batch"),
        ("padded_batch:lamma", "no variant of padded_batch has 'lamma'; did you mean llama"),
        ("padded_batch:zzz", "there are llama, lora, left, ..."),
    ],
)
def test_a_mistyped_word_is_answered_with_the_nearest_names(word: str, words: str) -> None:
    """One line, three names at most: a wrong exclusion would otherwise measure what nobody wanted."""
    with pytest.raises(SelectionError, match=re.escape(words)) as caught:
        variant_selector(word, CATALOGUE)
    assert str(caught.value).count(" or ") <= 2


CELLS = ("peft0.1-tf4", "peft0.1-tf4@2024", "peft0.10-tf4", "peft0.2-tf5", "peft@main-tf5")
ASKED = st.one_of(
    st.sampled_from(CELLS), st.sampled_from(("peft0.1", "peft*tf5", "peft?.2", "peft0.3", "tf4", "peft@", ""))
)


@given(asked=st.lists(ASKED, max_size=3), cell=st.sampled_from(CELLS))
def test_cells_are_meant_by_id_beginning_or_pattern(asked: list[str], cell: str) -> None:
    """A whole id means that cell alone, anything else every id that it begins; what begins none is refused."""

    def meant(word: str, one: str) -> bool:
        return one == word if word in CELLS else fits(f"{word}*", one)

    if any(not any(meant(word, one) for one in CELLS) for word in asked):
        with pytest.raises(SelectionError, match=r"no cell .* in matrix m; "):
            cell_selector(asked, CELLS, place="matrix m")
        return
    selected = cell_selector(asked, CELLS, place="matrix m")
    assert selected(cell) == (not asked or any(meant(word, cell) for word in asked))


@given(asked=ASKED)
def test_one_cell_is_one_or_refused(asked: str) -> None:
    """Where several are meant the refusal names them."""
    found = (
        [one for one in CELLS if cell_selector([asked], CELLS, place="m")(one)]
        if asked not in {"peft0.3", "tf4"}
        else []
    )
    if len(found) == 1:
        assert one_cell(asked, CELLS, place="m") == found[0]
    else:
        with pytest.raises(SelectionError, match="no cell" if not found else f"means {len(found)} cells of m"):
            one_cell(asked, CELLS, place="m")
