"""Reading a matrix file: cells, products, and every mistake at once with its line."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.environments.locks import LockBook
from harness.environments.resolve import Lock, requirements
from harness.errors import MatrixError, UsageError
from harness.matrix.read import find_matrix, load_matrix, parse_matrix
from tests.strategies import versions

GOOD = """
[matrix]
torch = "2.13.0"

[[cell]]
why = "the report"
peft = "0.13.0"
transformers = "4.45.2"
as-of = 2024-10-12
"""

BAD = """
[matrix]
torch = "2.13.0"
limit-seconds = -1

[[cell]]
peft = "latest"
transfromers = "4.45.2"

[[cell]]
peft = "0.13.0"
transformers = "4.45.2"
as-of = "yesterday"

[sell]
"""


def parse(text: str) -> object:
    """Parse a text as if it were a file named m.toml."""
    return parse_matrix(text, Path("m.toml"))


def test_a_cell_has_what_the_file_says() -> None:
    """Pins, date and reason come from the cell, the rest from the head."""
    matrix = parse_matrix(GOOD, Path("m.toml"))
    (cell,) = matrix.cells
    assert cell.pins == {"torch": "2.13.0", "transformers": "4.45.2", "peft": "0.13.0"}
    assert cell.as_of == date(2024, 10, 12)
    assert cell.id == "peft0.13.0-tf4.45.2-torch2.13.0-py3.11@20241012"
    assert matrix.bases == ("torch2.13.0-tf4.45.2-py3.11",)


def test_all_mistakes_come_at_once_with_their_lines() -> None:
    """A person mends a file in one go."""
    with pytest.raises(MatrixError) as caught:
        parse(BAD)
    lines = str(caught.value).splitlines()
    assert [line.split(":")[1] for line in lines] == ["4", "6", "7", "8", "13", "15"]
    assert "'latest' is not a version" in lines[2]
    assert "did you mean 'transformers'?" in lines[3]
    assert "did you mean 'cell'?" in lines[5]


@pytest.mark.parametrize(
    ("text", "line"), [("[matrix\n", 1), ("[matrix]\ntorch = \n", 2)], ids=["open header", "no value"]
)
def test_what_is_not_toml_has_its_line(text: str, line: int) -> None:
    """A syntax error is one clear line."""
    with pytest.raises(MatrixError, match=f"^m.toml:{line}: not TOML"):
        parse(text)


def test_an_empty_matrix_is_a_mistake() -> None:
    """A matrix that measures nothing is not what anybody meant."""
    with pytest.raises(MatrixError, match="no cells"):
        parse("[matrix]\ntorch = '2.13.0'\n")


@pytest.mark.parametrize("limit", ["nan", "inf", "-inf", "-1", "0", "1e300", "86401", "true", "'60'"])
def test_limit_seconds_is_a_number_that_ends(limit: str) -> None:
    """What is no time to wait is refused, with its line; a fraction of a second and a day are fine."""
    text = '[matrix]\ntitle = "t"\nlimit-seconds = LIMIT\ntorch = "2.13.0"\n'
    text += '[[cell]]\npeft = "0.13.0"\ntransformers = "4.45.1"\n'
    with pytest.raises(MatrixError, match=r"x\.toml:3: limit-seconds must be a number above 0"):
        parse_matrix(text.replace("LIMIT", limit), Path("x.toml"))
    assert parse_matrix(text.replace("LIMIT", "0.5"), Path("x.toml")).limit_s == 0.5
    assert parse_matrix(text.replace("LIMIT", "86400"), Path("x.toml")).limit_s == 86_400


def test_two_equal_cells_are_a_mistake() -> None:
    """The id names a cell, so it has to be one cell's alone."""
    with pytest.raises(MatrixError, match="two cells have the id"):
        parse(GOOD + GOOD.partition("[[cell]]")[1] + GOOD.partition("[[cell]]")[2])


def test_an_unknown_matrix_names_the_closest() -> None:
    """A typing error costs one look."""
    with pytest.raises(UsageError, match="did you mean 'documented'"):
        find_matrix("documentd")


@pytest.mark.parametrize("path", sorted((Path(__file__).parents[1] / "matrices").glob("*.toml")), ids=lambda p: p.stem)
def test_every_committed_matrix_reads_and_says_why(path: Path) -> None:
    """Each committed cell has a reason; axis products have their exclusions' reasons instead."""
    matrix = load_matrix(path.stem)
    text = path.read_text(encoding="utf-8")
    assert text.count("[[cell]]") == sum(1 for cell in matrix.cells if cell.why)


@given(
    pefts=st.lists(versions, min_size=1, max_size=4, unique=True),
    tfs=st.lists(versions, min_size=1, max_size=4, unique=True),
)
def test_axes_give_their_product(pefts: list[str], tfs: list[str]) -> None:
    """Every pair is a cell once, or excluded with a reason, and none is lost."""
    text = f"""
[matrix]
torch = "2.13.0"
[axes]
peft = {pefts}
transformers = {tfs}
[[exclude]]
why = "too old"
peft = "<1"
"""
    try:
        matrix = parse_matrix(text, Path("m.toml"))
    except MatrixError as error:
        assert "no cells" in str(error)  # noqa: PT017 - everything was excluded
        assert all(version.startswith("0.") for version in pefts)
        return
    made = [(cell.pins["peft"], cell.pins["transformers"]) for cell in matrix.cells]
    left_out = [(cell.pins["peft"], cell.pins["transformers"]) for cell, _ in matrix.excluded]
    assert sorted(made + left_out) == sorted((p, t) for p in pefts for t in tfs)
    assert all(peft.startswith("0.") for peft, _ in left_out)


def test_newest_floats(tmp_path: Path) -> None:
    """A cell of tonight is asked without a pin, and its lock is never kept."""
    text = GOOD.replace('"4.45.2"', '"newest"').replace("as-of = 2024-10-12", "")
    (cell,) = parse_matrix(text, tmp_path / "m.toml").cells
    assert cell.floating
    assert "transformers" in requirements(cell)
    LockBook(tmp_path / "m.json").keep({cell: Lock(pins=("peft==0.13.0",))})
    assert not (tmp_path / "m.json").exists()
