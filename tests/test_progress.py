"""Progress: a share and an estimate in each line, twenty lines in a log, none wider than 100 columns."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.progress import LOG_LINES, Progress, estimate, fitted

CELL = "peft0.13.0-st3.1.1-tf4.45.1-torch2.13.0-py3.11@20241012"


class Terminal(io.StringIO):
    """A stream that says that it is a terminal."""

    def isatty(self) -> bool:
        """Be a terminal."""
        return True


def measured(stream: io.StringIO, cells: int, variants: int) -> list[str]:
    """Measure cells of some variants each, and return the lines."""
    progress = Progress(cells * variants, stream=stream)
    for number in range(cells):
        progress.passing(f"cell{number}", "preparing the environment")
        for _ in range(variants):
            progress.advance()
        progress.milestone(f"cell{number}", f"{variants} passed")
    return stream.getvalue().splitlines()


@pytest.mark.parametrize("cells", [3, 18, 774])
def test_a_log_has_some_twenty_lines_and_the_last_is_the_whole(cells: int) -> None:
    """However many cells there are; a terminal shows each step."""
    lines = measured(io.StringIO(), cells, 6)
    assert len(lines) == min(cells, LOG_LINES + (cells > LOG_LINES))
    assert "100%" in lines[-1]
    assert len(measured(Terminal(), cells, 6)) == 2 * cells


def test_what_went_amiss_is_always_told() -> None:
    """A cell that cannot be installed is a line in a log, too."""
    stream = io.StringIO()
    progress = Progress(100, stream=stream)
    for number in range(30):
        progress.step(f"cell{number}", "install-failed: no such release")
    assert len(stream.getvalue().splitlines()) == 30


def test_a_part_of_a_run_tells_the_share_of_the_whole() -> None:
    """What other sessions wrote counts; the estimate is of all of it."""
    done = 25
    progress = Progress(10, stream=(stream := io.StringIO()), elsewhere=lambda: done, whole=100)
    progress.advance()
    done = 50
    progress.milestone("cell", "1 passed")
    assert "   1/10  10% 0:00; run 50%" in stream.getvalue()


def test_the_estimate_is_the_rest_at_the_speed_so_far() -> None:
    """A quarter in ten seconds leaves thirty; nothing is said of nothing, or at the end."""
    assert estimate(25, 100, 10.0) == ", about 0:30 to go"
    assert estimate(0, 100, 10.0) == estimate(100, 100, 10.0) == ""


@given(st.text(st.characters(codec="ascii", categories=["L", "N", "P", "Z"]), max_size=250))
def test_no_line_is_wider_than_a_terminal(what: str) -> None:
    """The cell keeps what tells it apart: its peft and transformers."""
    words = " ".join(word[:40] for word in what.split())
    lines = fitted("[ 123/3097   3% 0:12; run 34%, about 5:12 to go] ", CELL, words)
    assert max(map(len, lines)) <= 100
    assert "peft0.13.0-st3.1.1-tf4.45.1" in " ".join(lines)


def test_a_cells_id_loses_what_cells_share_before_a_line_is_broken() -> None:
    """Python first, then torch; the day stays."""
    head = "[ 123/3097   3% 0:12, about 5:12 to go] "
    assert fitted("", CELL, "34 passed") == [f"{CELL}: 34 passed"]
    assert fitted(head, CELL, "34 passed, 6 error") == [
        f"{head}peft0.13.0-st3.1.1-tf4.45.1@20241012: 34 passed, 6 error"
    ]
