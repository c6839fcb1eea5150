"""Scripts for strangers (pure): nothing of the project in them, and nothing undefined."""

from __future__ import annotations

import ast
import base64
import lzma
import re
import subprocess
import sys
import tomllib
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import CaseError, UsageError
from harness.interface import Outcome, variant_id
from harness.matrix.cases import Case, find_case, load_cases, read_case
from harness.matrix.plan import find_cell
from harness.matrix.read import load_matrix
from harness.paths import ROOT
from harness.repro.bundle import Bundle, bundle
from harness.repro.choose import choose_variant, lock_of
from harness.repro.demonstrate import windows
from harness.repro.fold import Fold
from harness.repro.prune import prune
from harness.repro.script import script, tidy

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

CASES = {case.name: case for case in load_cases()}
DOCUMENTED = load_matrix("documented")
CELL = find_cell(DOCUMENTED, "peft0.13.0-st3.1.1-tf4.45.1")
FACTS = {"SHOWN": ("torch",), "EXPECTED": "that it holds"}
WITHOUT_SCRIPT = {"prompt_learning_properties", "frozen_answers"}
"""A property hands its trial to hypothesis; its evidence names the example instead. Answers kept from other releases
are a second file beside the adapter's weights."""
ON_CPU = {"device": "cpu", "dtype": "float32"}
PLANTED = '''"""A planted case."""
from harness.interface import Variants
VARIANTS = (Variants(axes={"aspect": ("right", "undefined", "escaping")}),)
def check(trial):
    match trial.aspect:
        case "right":
            trial.expect(False, "planted")
        case "undefined":
            nobody_defines_this()
        case "escaping":
            print([trial])
'''


def undefined(folder: Path) -> list[str]:
    """List what pyflakes finds in a folder: names that nothing defines, syntax errors."""
    command = [sys.executable, "-m", "ruff", "check", "--isolated", "--select", "F82,F811,E9", "-q"]
    done = subprocess.run(
        [*command, "--output-format", "concise", str(folder)], capture_output=True, text=True, check=False
    )
    return done.stdout.splitlines()


def whole(reduced: Bundle) -> str:
    """Return the source of a bundle, imports first."""
    return f"import os\n{reduced.imports}\n{reduced.body}"


@pytest.mark.parametrize("case", CASES.values(), ids=lambda case: case.name)
def test_the_last_variant_stands_on_its_own(case: Case, tmp_path: Path) -> None:
    """It compiles, imports nothing of the project, and every name in it is defined."""
    stand_on_their_own(case, case.variants[-1:], tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES.values(), ids=lambda case: case.name)
def test_every_variant_stands_on_its_own(case: Case, tmp_path: Path) -> None:
    """Whatever the variant: the same."""
    stand_on_their_own(case, covering(case.variants), tmp_path)


def stand_on_their_own(case: Case, variants: Sequence[Mapping[str, str]], tmp_path: Path) -> None:
    """Check the scripts of variants."""
    if case.name in WITHOUT_SCRIPT:
        with pytest.raises(CaseError, match="no script can be made"):
            bundle(case.path, {**case.variants[0], **ON_CPU}, FACTS)
        return
    for variant in variants:
        reduced = bundle(case.path, {**variant, **ON_CPU}, FACTS)
        source = whole(reduced)
        tree = ast.parse(source)
        imported = {name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names}
        imported |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        assert not {name.split(".")[0] for name in imported} & {"harness", "cases", "tests", "pytest"}
        assert not re.search(r"\btrial\b|\bbenchmark\b|__comment_|:class:", reduced.body), variant
        # What a variant has saved itself it reads as well.
        reads = "load_file" in reduced.body
        assert reads if reduced.weights else not reads or "save_pretrained" in reduced.body
        (tmp_path / f"{variant_id(variant)}.py").write_text(source, encoding="utf-8")
    assert undefined(tmp_path) == []


def covering(variants: Sequence[Mapping[str, str]]) -> list[Mapping[str, str]]:
    """Choose variants such that each value of each axis, and each pair of method and aspect, is in one of them."""
    chosen, seen = [], set[tuple[str, ...]]()
    for variant in variants:
        new = {*variant.items(), (variant.get("method", ""), variant.get("aspect", ""))}
        if new - seen:
            seen |= new
            chosen.append(variant)
    return chosen


def test_what_is_undefined_is_found(tmp_path: Path) -> None:
    """The check above can fail: a name that nothing defines, in the variant that uses it alone."""
    case = planted(tmp_path, PLANTED.replace("print([trial])", "pass"))
    for aspect in ("right", "undefined"):
        folder = tmp_path / aspect
        folder.mkdir()
        (folder / "script.py").write_text(whole(bundle(case.path, {"aspect": aspect, **ON_CPU}, FACTS)))
    assert undefined(tmp_path / "right") == []
    assert any("nobody_defines_this" in line for line in undefined(tmp_path / "undefined"))


def test_a_case_that_cannot_be_taken_out_says_so(tmp_path: Path) -> None:
    """A trial that goes where no script can follow is refused, not written."""
    with pytest.raises(CaseError, match="check does more with its trial"):
        bundle(planted(tmp_path).path, {"aspect": "escaping", **ON_CPU}, FACTS)


def planted(folder: Path, source: str = PLANTED) -> Case:
    """Write the planted case."""
    path = folder / "planted.py"
    path.write_text(source, encoding="utf-8")
    return read_case(path)


def test_only_what_the_variant_needs_is_there() -> None:
    """Other families, other methods, other aspects, timing and the trial are gone; comments stay."""
    body = bundle(
        CASES["generate_with_cache"].path,
        {"model": "bloom", "method": "prompt_tuning", "aspect": "cached", **ON_CPU},
        FACTS,
    ).body
    assert "peft.PromptTuningConfig(task_type='CAUSAL_LM', num_virtual_tokens=VIRTUAL_TOKENS)" in body
    assert "use_cache=True" in body
    assert "# The first token, because a prompt may be dropped at the first step alone." in body
    for gone in ("Llama", "PrefixTuning", "match trial", "interleave", "FAMILIES", "workaround:", "ForwardCounter"):
        assert gone not in body


def test_what_a_check_reads_is_kept() -> None:
    """The counts that one aspect judges by are there, although another aspect only wrote them."""
    case = CASES["one_plus_one_round_trip"]
    kept = bundle(
        case.path, {"model": "llama", "method": "prefix_tuning", "aspect": "first_step_cache", **ON_CPU}, FACTS
    )
    gone = bundle(case.path, {"model": "llama", "method": "prefix_tuning", "aspect": "in_memory", **ON_CPU}, FACTS)
    assert "class ForwardCounter" in kept.body
    assert "class ForwardCounter" not in gone.body


def test_the_text_of_an_outcome_is_known() -> None:
    """Members of the enumeration are written out by their names: that has to be their text."""
    assert all(one.value == one.name.lower().replace("_", "-") for one in Outcome)


def metadata(text: str) -> dict[str, Any]:
    """Read inline metadata as PEP 723 says."""
    (block,) = re.findall(r"(?m)^# /// script$\s((?:^#(?:| .*)$\s)+)^# ///$", text)
    return tomllib.loads("\n".join(line[2:] for line in block.splitlines()))


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.document])
def test_the_script_pins_the_whole_cell(name: str) -> None:
    """Metadata holds every pin of the lock, torch without its label; text before code, weights at the end."""
    case, lock = CASES[name], lock_of(DOCUMENTED, CELL)
    variant = {**choose_variant(case, None, {**lock.versions, "python": CELL.python}), **ON_CPU}
    text = script(case, variant, lock, CELL.python)
    told = metadata(text)
    assert sorted(told["dependencies"]) == sorted(lock.pins)
    assert told["requires-python"] == "==3.11.*"
    assert "torch==2.13.0" in told["dependencies"]
    assert case.summary.replace("``", "") in (ast.get_docstring(ast.parse(text)) or "")
    code = text.partition("WEIGHTS = ")[0]
    assert max(len(line) for line in code.splitlines()) <= 120
    assert text == script(case, variant, lock, CELL.python), "the same every time"


def test_the_weights_come_out_as_they_went_in() -> None:
    """What a script unpacks is the committed file, byte for byte."""
    text = script(
        CASES["load_best_model_at_end"],
        {"model": "llama", "method": "p_tuning", "aspect": "load_best", **ON_CPU},
        lock_of(DOCUMENTED, CELL),
        "3.11",
    )
    words = text.partition('WEIGHTS = """')[2].partition('"""')[0]
    assert lzma.decompress(base64.b64decode(words)) == (ROOT / "cases/checkpoints/llama.safetensors").read_bytes()


def test_the_script_in_the_docs_is_what_comes_out() -> None:
    """The page shows the real thing; write it again with the command above it when this fails."""
    shown = (ROOT / "docs" / "repro.md").read_text(encoding="utf-8").partition("```python\n")[2].partition("```\n")[0]
    variant = {"model": "bloom", "method": "prompt_tuning", "aspect": "cached", **ON_CPU}
    text = script(CASES["generate_with_cache"], variant, lock_of(DOCUMENTED, CELL), CELL.python)
    # The formatter's releases differ in layout; the program and its metadata are the same.
    assert ast.dump(ast.parse(shown)) == ast.dump(ast.parse(text))
    assert metadata(shown) == metadata(text)


def test_a_file_that_a_script_writes_itself_is_not_brought() -> None:
    """An adapter that the variant saves has the ending of weights, and is not among the committed ones."""
    variant = {"model": "gpt2", "method": "p_tuning", "aspect": "forward", **ON_CPU}
    text = script(CASES["by_hand_loaded"], variant, lock_of(DOCUMENTED, CELL), CELL.python)
    assert "adapter_model.safetensors" in text
    assert "lzma" not in text


def test_without_a_name_the_variant_is_the_first_that_fails() -> None:
    """In a cell with a known defect that one is meant; where all is well the person has to say."""
    case = CASES["prompt_tuning_guide"]
    broken = {"peft": "0.13.0", "transformers": "4.45.1", "python": "3.11"}
    assert choose_variant(case, None, broken) == {"model": "bloom", "aspect": "generate"}
    assert choose_variant(case, "llama", broken) == {"model": "llama", "aspect": "generate"}
    well = {"peft": "0.14.0", "transformers": "4.47.0", "python": "3.11"}
    with pytest.raises(UsageError, match="--variant: bloom-train, bloom-generate"):
        choose_variant(case, None, well)
    assert choose_variant(case, "bloom-generate", well) == {"model": "bloom", "aspect": "generate"}
    with pytest.raises(UsageError, match="no variant of prompt_tuning_guide has 'mistral'"):
        choose_variant(case, "mistral", broken)


def test_names_that_are_not_there_are_refused() -> None:
    """Cases and cells: one clear line with what was perhaps meant."""
    with pytest.raises(UsageError, match="did you mean generate_with_cache"):
        find_case(tuple(CASES.values()), "generate_with_cash")
    with pytest.raises(UsageError, match="means 2 cells"):
        find_cell(DOCUMENTED, "peft0.13.0")
    with pytest.raises(UsageError, match="no cell 'peft9'"):
        find_cell(DOCUMENTED, "peft9")


def test_windows_are_distinct_expectations_of_all_cases() -> None:
    """What the demonstration shows is spread over the cases, each expectation once."""
    documented = [case for case in CASES.values() if case.document]
    chosen = windows(DOCUMENTED, documented, 10)
    failing = [one for one in chosen if one.expectation is not None]
    assert len({id(one.expectation) for one in failing}) == len(failing) == 10
    assert {one.case.name for one in failing} == {case.name for case in documented}
    assert len(chosen) > len(failing)


names = st.sampled_from(["A", "TABLE['k']", "x", "1", "'k'", "True", "False", "None", "TABLE.get('no', 3)"])
expressions = st.recursive(
    names,
    lambda inner: st.one_of(
        st.builds("({} {} {})".format, inner, st.sampled_from(["and", "or", "==", "!=", "is"]), inner),
        st.builds("(not {})".format, inner),
        st.builds("({} if {} else {})".format, inner, inner, inner),
        st.builds("({} in ({}, {}))".format, inner, inner, inner),
        st.builds("f'a{{{}}}b{{{}!r}}'".format, st.just("A"), st.just("x")),
        st.builds("{{**TABLE, 'k': {}, **{{'m': {}}}}}".format, inner, inner),
        st.builds("dict(**{{'k': {}}}, z={})".format, inner, inner),
    ),
    max_leaves=12,
)
SETTING = "A = 'a'\nTABLE = {'k': 'a', 'l': 2}\n"


@pytest.mark.filterwarnings("ignore::SyntaxWarning")
@given(expression=expressions, x=st.sampled_from([None, 1, "a", "k", True]))
def test_folding_keeps_the_value(expression: str, x: object) -> None:
    """Whatever is folded away: the expression gives what it gave before."""
    program = {node.targets[0].id: node for node in ast.parse(SETTING).body}  # type: ignore[attr-defined]
    folded = ast.unparse(ast.fix_missing_locations(Fold(program).visit(ast.parse(expression, mode="eval"))))
    scope: dict[str, Any] = {"x": x}
    exec(SETTING, scope)  # noqa: S102 - our own lines
    assert eval(folded, scope) == eval(expression, scope)  # noqa: S307


blocks = st.recursive(
    st.sampled_from(["log.append(1)", "log.append(x)", "y = 'b'; log.append(y)", "return log", "pass"]),
    lambda inner: st.one_of(
        st.builds(lambda test, one, two: f"if {test}:\n{indent(one)}\nelse:\n{indent(two)}", expressions, inner, inner),
        st.builds(
            lambda one, two: f"match A:\n  case 'a' | 'b':\n{indent(one, 4)}\n  case other:\n{indent(two, 4)}",
            inner,
            inner,
        ),
        st.builds(lambda one, two: f"{one}\n{two}", inner, inner),
        st.builds(lambda one: f"options = {{'k': x}}\nlog.append(dict(**options))\n{one}", inner),
    ),
    max_leaves=6,
)


def indent(text: str, by: int = 1) -> str:
    """Shift a block to the right."""
    return "\n".join(" " * by + line for line in text.splitlines())


@pytest.mark.filterwarnings("ignore::SyntaxWarning")
@given(body=blocks, x=st.sampled_from([None, 1, "a", True]))
def test_pruning_keeps_what_a_function_does(body: str, x: object) -> None:
    """Branches that are never taken go; what is done and returned stays the same."""
    source = f"def f(x):\n log = []\n{indent(body)}\n return (log, x)\n"
    program = {node.targets[0].id: node for node in ast.parse(SETTING).body}  # type: ignore[attr-defined]
    (function,) = ast.parse(source).body
    fold = Fold(program)
    for _ in range(3):
        function = fold.visit(function)
        prune(function, fold, frozenset(), frozenset())
    scopes: list[dict[str, Any]] = [{}, {}]
    for scope, text in zip(scopes, (source, ast.unparse(ast.fix_missing_locations(function))), strict=True):
        exec(SETTING + text, scope)  # noqa: S102
    assert scopes[0]["f"](x) == scopes[1]["f"](x)


@given(body=blocks)
def test_tidying_changes_no_meaning(body: str) -> None:
    """Brackets and quotes are all that is touched: the syntax tree is the same."""
    source = ast.unparse(ast.parse(f"def f(x):\n log = []\n{indent(body)}\n a, b = (1, 2)\n return (log, r'\\d', a)\n"))
    assert ast.dump(ast.parse(tidy(source))) == ast.dump(ast.parse(source))
    assert "return log, r" in tidy(source)
