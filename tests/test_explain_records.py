"""From records to tables, names of variants, what is certain, and the cells that decide."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from hypothesis import given, settings
from hypothesis import strategies as st

from harness.contracts.record import VariantRecord
from harness.contracts.records import variants_in
from harness.explain.account import account_of, deciding_cells
from harness.explain.learn import hold_out
from harness.explain.table import Label, kind_of, names, tables_of, word
from harness.interface import Outcome, Variants, with_defaults
from harness.judge.windows import products
from harness.matrix.cases import load_cases, select_variants
from harness.matrix.read import parse_matrix
from harness.matrix.write import matrix_text
from harness.report.windows import as_data, in_words, sentence
from tests.planted import LLAMA, PEFT, TRANSFORMERS, grid, record, state_record

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from harness.contracts.record import Record

CASE = "generate_with_cache"
PREFIX = {**LLAMA, "method": "prefix_tuning"}
RELEASES = {"peft": (*PEFT, "0.13.1", "0.13.2"), "transformers": (*TRANSFORMERS, "4.42.0", "4.42.1", "4.42.2")}


def broken(packages: Mapping[str, str], variant: Mapping[str, str]) -> str:
    """Give wrong answers with peft before 0.12 and transformers from 4.42; cannot be imported in one corner."""
    if packages["peft"] == "0.14.0" and packages["transformers"] == "4.40.2":
        return "import-failed"
    old = packages["peft"] in PEFT[:3] and packages["transformers"] in TRANSFORMERS[2:]
    return "wrong" if old and variant["method"] == "p_tuning" else "passed"


def test_variants_that_behave_alike_are_one_group() -> None:
    """Groups go by outcomes in all cells; a cell that never was ready concerns every variant."""
    third = {**LLAMA, "method": "prompt_tuning"}
    tables = tables_of(CASE, grid(broken, [LLAMA, PREFIX, third]))
    assert [[one["method"] for one in table.variants] for table in tables] == [
        ["prefix_tuning", "prompt_tuning"],
        ["p_tuning"],
    ]
    for table in tables:
        assert table.shape == (6, 5)
        assert table.labels[5, 0] == Label(outcome="import-failed")
    assert sum(label == Label(outcome="wrong") for label in tables[1].labels.values()) == 9


def test_what_was_not_measured_is_no_label() -> None:
    """No device and not run say nothing about versions, and versions that contradict each other are named."""
    packages = {"peft": "0.9.0", "transformers": "4.40.2"}
    newer = {"peft": "0.10.0", "transformers": "4.40.2"}
    records = [
        record(packages, "passed", day="@20240101"),
        record(packages, "wrong", day="@20240201"),
        record(newer, "passed"),
        record({"peft": "0.11.1", "transformers": "4.40.2"}, "no-device"),
    ]
    (table,) = tables_of(CASE, records)
    assert [axis.versions for axis in table.axes] == [("0.9.0", "0.10.0")]
    assert table.labels == {(1,): Label(outcome="passed")}
    assert table.undecided == ((0,),)


def test_what_is_no_release_has_no_place_in_an_order() -> None:
    """A checkout, a version that was never resolved, and a cell that this machine could not have are left out."""
    records = grid(broken)
    count = sum(len(table.labels) for table in tables_of(CASE, records))
    source = record({"peft": "0.15.0.dev0", "transformers": "5.0.0"}, "wrong")
    source = replace(source, cell=replace(source.cell, sources={"peft": "git+https://example.org/peft@main"}))
    unresolved = state_record({"peft": "newest", "transformers": "5.0.0"}, "install-failed")
    unreachable = state_record({"peft": "0.15.0", "transformers": "5.0.0"}, "unreachable")
    tables = tables_of(CASE, [*records, source, unresolved, unreachable])
    assert sum(len(table.labels) for table in tables) == count


def test_a_kind_is_stable() -> None:
    """Frames, paths of any machine and colours are left out; exception and message stay."""
    error = record({"peft": "0.9.0"}, "error")
    signature = "ImportError: cannot import 'X' from 'a' (/home/a/.cache/b/site-packages/a/__init__.py) @ peft:f"
    told = replace(error, signature=signature, message=None)
    published = replace(error, signature=None, message="ImportError: cannot import 'X' from 'a' (a/__init__.py)")
    assert kind_of(told) == kind_of(published) == "ImportError: cannot import 'X' from 'a' <path>"
    assert kind_of(replace(error, signature="E: \x1b[<n>mdo this\x1b[0m")) == "E: do this"
    assert kind_of(replace(error, signature=None, message=None)) == ""


def test_signatures_are_told_apart_when_asked() -> None:
    """Two kinds of one outcome are one window, or two."""
    records = grid(lambda packages, _: "error" if packages["peft"] in PEFT[:3] else "passed")
    records = [
        replace(one, signature="KeyError: 'k' @ peft:g")
        if isinstance(one, VariantRecord) and one.outcome == "error" and one.cell.packages["peft"] == "0.9.0"
        else one
        for one in records
    ]
    windows: list[list[Any]] = []
    for by_kind in (False, True):
        account = account_of(CASE, records, {}, by_kind=by_kind)
        assert account is not None
        windows.append([told.window.label for told in account.groups[0].told])
    assert windows == [
        [Label(outcome="error")],
        [Label(outcome="error", kind="ValueError: of <n>"), Label(outcome="error", kind="KeyError: 'k'")],
    ]


def test_an_end_is_certain_between_adjacent_releases_alone() -> None:
    """Adjacent and all else equal is certain; releases between name the middle one, with a neighbour's versions."""
    account = account_of(CASE, grid(broken), RELEASES)
    assert account is not None
    (wrong,) = [told for told in account.groups[0].told if told.window.label == Label(outcome="wrong")]
    peft, transformers = wrong.bounds
    assert (peft.below, peft.above, peft.between, peft.certain, peft.cell) == ("0.11.1", "0.12.0", (), True, None)
    assert (transformers.below, transformers.above) == ("4.41.2", "4.42.4")
    assert transformers.between == ("4.42.0", "4.42.1", "4.42.2")
    assert not transformers.certain
    assert transformers.cell is not None
    assert transformers.cell.id == "peft0.11.1-tf4.42.1-torch2.13.0-py3.11"


def test_without_a_list_of_releases_nothing_is_certain() -> None:
    """Offline: the bounds are there, what lies between them is not known, and no cell is made up."""
    account = account_of(CASE, grid(broken), {})
    assert account is not None
    bounds = [bound for told in account.groups[0].told for bound in told.bounds]
    assert bounds
    assert not any(bound.certain or bound.cell for bound in bounds)
    assert any("releases between them not known" in line for line in in_words(account))


def test_a_hole_that_would_decide_is_named() -> None:
    """Two packages that moved together: which one it was is one more cell, of the later day."""
    steps = [("0.9.0", "4.40.2", "wrong"), ("0.10.0", "4.41.2", "passed")]
    records = [
        record({"peft": peft, "transformers": transformers}, outcome, day=f"@2024010{number}")
        for number, (peft, transformers, outcome) in enumerate(steps, start=1)
    ]
    account = account_of(CASE, records, {"peft": PEFT, "transformers": TRANSFORMERS})
    assert account is not None
    (told,) = account.groups[0].told
    assert [bound.certain for bound in told.bounds] == [False]
    assert told.bounds[0].cell is not None
    assert told.bounds[0].cell.id == "peft0.10.0-tf4.40.2-torch2.13.0-py3.11@20240102"
    (hole,) = told.holes
    assert hole.cell.id == "peft0.9.0-tf4.41.2-torch2.13.0-py3.11@20240102"
    assert "or else: transformers < 4.41.2" in "\n".join(in_words(account))


@given(st.integers(2, 60), st.data())
@settings(deadline=None)
def test_measuring_the_named_cells_ends_in_certainty(count: int, data: st.DataObject) -> None:
    """Bisection: each named cell is new, and after no more than log2 of them the very release is known."""
    releases = tuple(f"0.{minor}.0" for minor in range(count))
    first_good = data.draw(st.integers(1, count - 1))
    measured = {0, count - 1}
    for _ in range(count.bit_length() + 1):
        records = [
            record({"peft": releases[one], "transformers": "4.40.2"}, "wrong" if one < first_good else "passed")
            for one in measured
        ]
        account = account_of(CASE, records, {"peft": releases})
        assert account is not None
        (bound,) = account.groups[0].told[0].bounds
        if bound.certain:
            break
        assert bound.cell is not None
        following = releases.index(bound.cell.pins["peft"])
        assert following not in measured
        measured.add(following)
    assert (bound.below, bound.above) == (releases[first_good - 1], releases[first_good])


def test_the_cells_are_a_matrix_that_measures_just_the_variants(tmp_path: Path) -> None:
    """What is written reads as a matrix, each cell once, with words that select the variants meant."""
    account = account_of(CASE, grid(broken), RELEASES)
    assert account is not None
    chosen = deciding_cells(account)
    matrix = parse_matrix(matrix_text("What would decide", chosen), tmp_path / "decide.toml")
    assert len(chosen) == len(matrix.cells) == len({cell.id for cell, _, _ in account.deciding()})
    cells = {cell.id: cell for cell in matrix.cells}
    assert cells["peft0.11.1-tf4.42.1-torch2.13.0-py3.11"].cases == (f"{CASE}:llama-p_tuning-cached",)
    assert not matrix.timed


def test_words_select_their_variant() -> None:
    """The word for each record of each case selects its variant, and none but it."""
    for case in load_cases():
        for variant in case.variants:
            assert select_variants((case,), word(case.name, with_defaults(variant, "cuda"))) == [(case, variant)]


@given(
    st.lists(
        st.fixed_dictionaries(
            {"model": st.sampled_from("ab"), "method": st.sampled_from("cde"), "aspect": st.sampled_from("fg")}
        )
        | st.fixed_dictionaries({"model": st.sampled_from("ab"), "aspect": st.sampled_from("fg")}),
        min_size=1,
        unique_by=lambda variant: tuple(sorted(variant.items())),
    )
)
def test_products_hold_exactly_the_variants(variants: list[dict[str, str]]) -> None:
    """Every variant in exactly one product, and nothing else."""
    again = [one for product in products(variants) for one in Variants(axes=dict(product))]
    key = sorted(tuple(sorted(variant.items())) for variant in variants)
    assert key == sorted(tuple(sorted(variant.items())) for variant in again)
    assert len(names(variants)) == len(products(variants))


def test_sentences_read_plainly_and_fit() -> None:
    """The windows in words, within 100 columns; a group that always passes says no more than that."""
    account = account_of(CASE, grid(broken, [LLAMA, PREFIX]), RELEASES)
    assert account is not None
    lines = in_words(account)
    assert max(map(len, lines)) <= 100
    assert "     9   peft < 0.12.0, and transformers >= 4.42.4" in lines
    assert "  wrong if and only if" in lines
    assert sum("import-failed if and only if" in line for line in lines) == 1
    assert sentence({}) == "in every measured cell"
    everywhere = account_of(CASE, grid(lambda *_: "error"), RELEASES)
    assert everywhere is not None
    assert "  error everywhere" in in_words(everywhere)


def test_data_says_the_same_as_the_sentences() -> None:
    """Specifiers for programs, with the cells that they rest on."""
    account = account_of(CASE, grid(broken), RELEASES)
    assert account is not None
    (group,) = as_data(account)["groups"]
    wrong = next(window for window in group["windows"] if window["outcome"] == "wrong")
    assert wrong["where"] == {"peft": "<0.12.0", "transformers": ">=4.42.4"}
    assert len(wrong["cells"]) == 9
    assert [bound["certain"] for bound in wrong["bounds"]] == [True, False]


def test_left_out_cells_are_predicted_from_the_rest() -> None:
    """A plain rule is predicted well, coin tosses are not, and a seed always draws the same."""
    peft = [f"0.{minor}.0" for minor in range(12)]
    transformers = [f"4.{minor}.0" for minor in range(12)]
    plain = grid(
        lambda packages, _: "wrong" if packages["peft"] in peft[:6] else "passed", (LLAMA,), peft, transformers
    )
    noise: list[Record] = grid(lambda *_: "passed", (LLAMA,), peft, transformers)
    noise = [
        replace(one, outcome=(Outcome.PASSED, Outcome.WRONG)[(number * number // 7 + number // 3) % 2])
        for number, one in enumerate(variants_in(noise))
    ]
    good, bad = (hold_out(CASE, records, 0.2, range(5)) for records in (plain, noise))
    assert good is not None
    assert bad is not None
    assert (good.cells, good.left_out) == (144, 29)
    assert good.accuracy == 1.0
    assert bad.accuracy < 0.8
    assert good.always_passed < 0.6
    assert bad == hold_out(CASE, noise, 0.2, range(5))
    assert hold_out(CASE, plain[:1], 0.2, range(5)) is None
    assert hold_out("another", plain, 0.2, range(5)) is None
