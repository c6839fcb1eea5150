"""Reading case files without importing them."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING

import pytest

from harness.environments.index import clean_environment
from harness.errors import CaseError, UsageError
from harness.matrix.cases import load_cases, read_case, select_variants
from harness.paths import ROOT

if TYPE_CHECKING:
    from pathlib import Path

    from harness.environments.build import Environment

SOURCE = '''"""A planted case."""
DOCUMENT = "009"
MODELS = ("llama", "bloom")
VARIANTS = (Variants(axes={"model": MODELS, "aspect": ("a", "b")}, without=({"model": "bloom", "aspect": "b"},)),)
ORACLE = "batch"
def check(trial):
    import torch
'''


def write(tmp_path: Path, source: str, name: str = "planted.py") -> Path:
    """Write a case file into a folder of its own."""
    path = tmp_path / name
    path.write_text(source, encoding="utf-8")
    return path


def test_literals_are_read_with_names(tmp_path: Path) -> None:
    """Constants may be named once and used in the declarations."""
    case = read_case(write(tmp_path, SOURCE))
    assert case.variants == (
        {"model": "llama", "aspect": "a"},
        {"model": "llama", "aspect": "b"},
        {"model": "bloom", "aspect": "a"},
    )
    assert (case.expectations, case.claims) == ((), ())
    assert (case.document, case.summary) == ("009", "A planted case.")


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("def check(trial): pass", "a case declares VARIANTS"),
        ("VARIANTS = tuple(x for x in y)", "x.py:1: VARIANTS must be made of literals"),
        ("VARIANTS = (", "x.py:1: "),
    ],
)
def test_a_case_that_cannot_be_read_says_where(tmp_path: Path, source: str, words: str) -> None:
    """The author finds the line."""
    with pytest.raises(CaseError, match=words):
        read_case(write(tmp_path, source, "x.py"))


def test_reading_and_importing_agree(old_environment: Environment) -> None:
    """What the judge reads from the syntax tree is what a cell gets by import, in an old release as well."""
    cases = load_cases()
    program = (
        f"import importlib, json, sys; sys.path[:0] = {[str(path) for path in old_environment.overlays]}; "
        f"sys.path += {[*(str(path) for path in old_environment.behind), str(ROOT)]}; "
        f"modules = [importlib.import_module('cases.' + name) for name in {[case.name for case in cases]}]; "
        "declared = [[[v for axes in m.VARIANTS for v in axes], str(m.ORACLE), list(m.UPSTREAM)] for m in modules]; "
        "print(json.dumps(declared))"
    )
    done = subprocess.run(
        [str(old_environment.python), "-c", program],
        capture_output=True,
        text=True,
        env=clean_environment({"TRANSFORMERS_VERBOSITY": "error"}),
        check=False,
    )
    assert done.returncode == 0, done.stderr
    for case, (variants, oracle, upstream) in zip(cases, json.loads(done.stdout), strict=True):
        assert tuple(variants) == case.variants, case.name
        assert (oracle, tuple(upstream)) == (case.oracle, case.upstream), case.name


def test_the_five_documents_have_their_cases() -> None:
    """Each document is the source of at least one claim of at least one case."""
    assert {case.document for case in load_cases() if case.claims} >= {"000", "001", "002", "003", "004"}


def test_an_expression_selects_cases_and_parts() -> None:
    """Patterns name cases, and after a colon a part of the variant."""
    cases = load_cases()
    chosen = select_variants(cases, "generate_*:bloom-prefix")
    assert {case.name for case, _ in chosen} == {"generate_with_cache"}
    assert {variant["model"] for _, variant in chosen} == {"bloom"}
    assert len(select_variants(cases, None)) == sum(len(case.variants) for case in cases)


def test_an_expression_that_matches_nothing_is_refused() -> None:
    """Measuring nothing must not look like success."""
    with pytest.raises(UsageError, match=r"no case .nonsense.; "):
        select_variants(load_cases(), "generate_with_cache,nonsense")
