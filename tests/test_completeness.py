"""A case that lacks something is told so, with the line where it would stand."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from harness.judge.completeness import missing_from_case
from harness.matrix.cases import load_cases

if TYPE_CHECKING:
    from pathlib import Path

    from harness.matrix.cases import Case

WHOLE = '''"""What must hold."""
DOCUMENT = None
UPSTREAM = ("https://github.com/huggingface/peft/issues/1",)
ORACLE = "batch"
VARIANTS = (Variants(axes={"model": ("llama",)}),)
def check(trial):
    """Say which oracle decides."""
'''


def told(tmp_path: Path, source: str) -> list[str]:
    """Return ``LINE: text`` for what a case of this source lacks."""
    # Files are read once by name: every source gets one of its own.
    path = tmp_path / f"planted_{len(list(tmp_path.glob('*.py')))}.py"
    path.write_text(source, encoding="utf-8")
    return [f"{one.line}: {one.text}" for one in missing_from_case(path)]


@pytest.mark.parametrize("case", load_cases(), ids=lambda case: case.name)
def test_every_case_is_whole(case: Case) -> None:
    """The committed cases have all of it."""
    assert missing_from_case(case.path) == []


def test_a_whole_case_lacks_nothing(tmp_path: Path) -> None:
    """The control of the faults below."""
    assert told(tmp_path, WHOLE) == []


@pytest.mark.parametrize(
    ("part", "instead", "words"),
    [
        ('"""What must hold."""', "", "1: the docstring's first line"),
        ("What must hold.", "What must hold", "1: the docstring's first line"),
        ('UPSTREAM = ("https://github.com/huggingface/peft/issues/1",)', "", "1: UPSTREAM = "),
        ("https://github.com/huggingface/peft/issues/1", "peft#1", "3: UPSTREAM is a tuple of https:// links"),
        ('ORACLE = "batch"', "", "1: ORACLE is one of 'cache'"),
        ('"batch"', '"batches"', "4: ORACLE is one of 'cache'"),
        ('(Variants(axes={"model": ("llama",)}),)', "()", "5: VARIANTS has no variant"),
        ('def check(trial):\n    """Say which oracle decides."""', "", "1: a case has a function check(trial)"),
        ("def check(trial)", "def check(case)", "6: a case has a function check(trial)"),
        ('    """Say which oracle decides."""', "    return", "6: check has a docstring"),
    ],
)
def test_what_is_missing_is_named_with_its_line(tmp_path: Path, part: str, instead: str, words: str) -> None:
    """Each part that is taken away is missed, and nothing else is."""
    assert part in WHOLE
    (found,) = told(tmp_path, WHOLE.replace(part, instead))
    assert found.startswith(words)


def test_claims_of_a_document_stand_in_for_an_upstream_link(tmp_path: Path) -> None:
    """The five cases of the documents have their source already; a document without claims is none."""
    source = WHOLE.replace('UPSTREAM = ("https://github.com/huggingface/peft/issues/1",)\n', "")
    source = source.replace("DOCUMENT = None", 'DOCUMENT = "009"')
    assert len(told(tmp_path, source)) == 1
    claim = 'id = "009.a"\nquote = "q"\nenglish = "e"\noutcome = ["passed"]\nanswer = "a"\n'
    folder = tmp_path / "claimed"
    (folder / "claims").mkdir(parents=True)
    (folder / "claims" / "009.toml").write_text(
        f'document = "009"\n[[claim]]\ncase = "planted_0"\n{claim}', encoding="utf-8"
    )
    assert told(folder, source) == []
