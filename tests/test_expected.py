"""The files of expectations: what is written is read again, and each mistake is told with its line."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import DataError
from harness.interface import Outcome
from harness.matrix.cases import load_cases
from harness.matrix.expected import (
    BOUNDED,
    Expectation,
    entry_text,
    entry_texts,
    expected_path,
    expected_text,
    parse_expected,
)

PATH = Path("cases/expected/planted.toml")
AXES = (("model", ("llama", "gpt2")), ("method", ("lora", "p_tuning")))
patterns = st.text(st.characters(exclude_categories=["Cs"]), max_size=20).map(
    lambda text: "".join(f"\\{one}" if one in r"\.^$*+?{}[]|()" else one for one in text)
)
slugs = st.from_regex(r"[a-z0-9]{1,6}(-[a-z0-9]{1,6}){0,3}", fullmatch=True)
specifiers = st.sampled_from(["==1.0", ">=0.9.0,<=0.18.1", ">=4.40", "<=2"])
entries = st.builds(
    Expectation,
    outcome=st.sampled_from(["error", "wrong", "crashed", "timeout", "out-of-memory"]),
    defect=slugs,
    where=st.dictionaries(st.sampled_from(BOUNDED), specifiers, max_size=3),
    only=st.dictionaries(st.just("model"), st.sampled_from([("llama",), ("gpt2", "llama")])),
    signature=patterns.filter(lambda text: not text or text.strip()),
) | st.builds(
    Expectation,
    outcome=st.just("unsupported"),
    reason=st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30).filter(str.strip),
)


@given(st.lists(entries, min_size=1, max_size=4))
def test_what_is_written_is_read_again(written: list[Expectation]) -> None:
    """All of it in order, and the entries' own texts make the same file."""
    text = expected_text("planted", [entry_text(one) for one in written])
    read = parse_expected(PATH, text, AXES)
    assert list(read) == written
    assert [text.splitlines()[one.line - 1] for one in read] == ["[[expect]]"] * len(written)
    assert expected_text("planted", entry_texts(text)) == text


WHOLE = """# Where it fails.

[[expect]]
defect = "it-booms"
outcome = "error"
peft = ">=0.9.0"
only = { model = ["llama"] }
signature = "boom"
"""


@pytest.mark.parametrize(
    ("part", "instead", "words"),
    [
        ("[[expect]]", "[expect]", ":3: write \\[\\[expect\\]\\], with two brackets"),
        ("[[expect]]", "[[expected]]", ":3: 'expected' means nothing here"),
        ('defect = "it-booms"\n', "", ":3: defect is missing"),
        ("it-booms", "It booms", ":4: defect = 'It booms' is no slug"),
        ('"error"', '"raised"', ":5: outcome = 'raised' is none of"),
        ('"error"', '"unsupported"', ":4: what cannot exist in these versions is no defect"),
        ('">=0.9.0"', '"0.9"', ":6: peft = '0.9' is no version specifier"),
        ('">=0.9.0"', "0.9", ":6: peft = 0.9 is no version specifier"),
        ("peft", "pest", ":6: 'pest' means nothing here"),
        ("model", "modal", ":7: only: 'modal' is none of model, method"),
        ('"llama"', '"lama"', ":7: only.model: the case has no 'lama'"),
        ('["llama"]', '"llama"', ":7: only.model must be a list"),
        ('"boom"', '"boom("', ":8: signature is no regular expression"),
        ('signature = "boom"', 'reason = "none"', ":8: a reason is for what is unsupported"),
        ('"boom"', "boom", ":8: not TOML"),
    ],
)
def test_a_mistake_is_told_with_file_and_line(part: str, instead: str, words: str) -> None:
    """Each planted mistake is found where it stands, and the whole entry has none."""
    assert len(parse_expected(PATH, WHOLE, AXES)) == 1
    assert part in WHOLE
    with pytest.raises(DataError, match=f"cases/expected/planted.toml{words}"):
        parse_expected(PATH, WHOLE.replace(part, instead, 1), AXES)


def test_every_mistake_is_told_at_once() -> None:
    """Not the first alone."""
    with pytest.raises(DataError) as refused:
        parse_expected(PATH, WHOLE.replace("peft", "pest").replace('"boom"', '"("'), AXES)
    assert [line for line, _ in refused.value.problems] == [6, 8]


def test_no_file_expects_nothing() -> None:
    """What passes everywhere has no file, and every file belongs to a case."""
    with pytest.raises(DataError, match="remove the file"):
        parse_expected(PATH, "# nothing\n", AXES)
    cases = load_cases()
    files = {path.stem for path in expected_path(cases[0].path).parent.glob("*.toml")}
    assert files == {case.name for case in cases if case.expectations}
    assert all(one.outcome != Outcome.PASSED for case in cases for one in case.expectations)
