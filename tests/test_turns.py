"""Turns: who has one runs alone, and who dies or never comes holds nobody up."""

from __future__ import annotations

import threading
from itertools import count
from typing import TYPE_CHECKING

import pytest

from harness.errors import EnvironmentFailure
from harness.kit.turns import Over, Turns
from harness.latency.turns import Table, Turn, abba, play

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def table(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Table]:
    """Open a table in a folder of its own."""
    folder: Path = tmp_path_factory.mktemp("t")
    with Table(folder) as opened:
        yield opened


def sit_down(table: Table, name: str, log: list[str], *, dies_after: int | None = None) -> threading.Thread:
    """Start a thread that takes turns as a cell does, and notes each one."""

    def run() -> None:
        with Turns(table.address, {"name": name, "call_s": {"cached": 0.01}}) as turns:
            for index in count():
                if index == dies_after:
                    return
                try:
                    turn = turns.wait()
                except Over:
                    log.append(f"{name} over")
                    return
                log.append(f"{name} {turn['label']} {turn['plant']:g}")

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def test_blocks_are_played_in_order_until_the_time_is_over(table: Table) -> None:
    """A-B-B-A, again and again; a block that was begun is finished, so both sides have as many samples."""
    log: list[str] = []
    threads = [sit_down(table, name, log) for name in ("first", "second")]
    players = table.gather(("first", "second"), limit_s=30)
    clock = iter([0.0, 1.0, 2.0, 3.0, 4.0])
    assert play(players, abba("cached"), budget_s=2.5, limit_s=30, clock=lambda: next(clock)) == 2
    for thread in threads:
        thread.join(30)
    calls = [line for line in log if "over" not in line]
    assert calls == ["first cached 0", "second cached 0", "second cached 0", "first cached 0"] * 2
    assert {line for line in log if "over" in line} == {"first over", "second over"}


def test_labels_and_plants_reach_the_side(table: Table) -> None:
    """A planted slowdown is asked for turn by turn."""
    log: list[str] = []
    thread = sit_down(table, "first", log)
    players = table.gather(("first",), limit_s=30)
    clock = iter([0.0, 0.5, 2.0])
    play(players, [Turn(side="first", label="slow", plant=0.1)], budget_s=1, limit_s=30, clock=lambda: next(clock))
    thread.join(30)
    assert log == ["first slow 0.1", "first over"]


def test_a_side_that_dies_ends_the_play(table: Table) -> None:
    """The other is told that it is over; the blocks before count."""
    log: list[str] = []
    threads = [sit_down(table, "first", log), sit_down(table, "second", log, dies_after=3)]
    players = table.gather(("first", "second"), limit_s=30)
    assert play(players, abba("cached"), budget_s=600, limit_s=30) == 1
    for thread in threads:
        thread.join(30)
    assert "first over" in log


def test_a_side_that_ended_is_not_waited_for(table: Table) -> None:
    """Only those that came are given; what an earlier variant left behind is nobody's."""
    log: list[str] = []
    table.ended("second-1")
    table.ended("second-2")
    thread = sit_down(table, "first-2", log)
    players = table.gather(("first-2", "second-2"), limit_s=30)
    assert players.keys() == {"first-2"}
    play(players, (), budget_s=0, limit_s=30)
    thread.join(30)
    assert log == ["first-2 over"]


def test_nobody_is_waited_for_forever(table: Table) -> None:
    """A refusal names who did not come."""
    with pytest.raises(EnvironmentFailure, match="second"):
        table.gather(("second",), limit_s=0.05)
