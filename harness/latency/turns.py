"""Give turns to processes in two cells: whoever has the turn times one call, everybody else sleeps."""

from __future__ import annotations

import json
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Listener
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, Self

from harness.errors import EnvironmentFailure

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from multiprocessing.connection import Connection
    from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Turn:
    """One call: on which side, of which arm, kept under which label, slowed by which share of its own time."""

    side: str
    arm: str = "cached"
    label: str = "cached"
    plant: float = 0.0


def abba(arm: str) -> list[Turn]:
    """Return the block in which a drift of the machine falls on both sides alike: first, second, second, first."""
    return [Turn(side=side, arm=arm, label=arm) for side in ("first", "second", "second", "first")]


@dataclass(frozen=True, kw_only=True)
class Player:
    """A side that is ready: its connection, and what a call of each arm took when it warmed up, in seconds."""

    name: str
    connection: Connection
    call_s: dict[str, float]


class Table:
    """Where the sides meet: a Unix socket in a folder, and a queue of what happens."""

    def __init__(self, folder: Path) -> None:
        """Listen in ``folder``, which should have a short path."""
        self.address = str(folder / "turns")
        self._listener = Listener(self.address, family="AF_UNIX", backlog=8)
        self._events: SimpleQueue[tuple[str, Player | None]] = SimpleQueue()
        self._thread = threading.Thread(target=self._accept, daemon=True)

    def __enter__(self) -> Self:
        """Begin to accept."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop listening; whoever still waits for a turn is told that it is over by the closed connection."""
        self._listener.close()

    def ended(self, side: str) -> None:
        """Say that a side will not come, or not again; what nobody gathers is forgotten."""
        self._events.put((side, None))

    def gather(self, sides: Sequence[str], *, limit_s: float) -> dict[str, Player]:
        """Wait until each side has come or ended; gives those that came.

        Raises :class:`EnvironmentFailure` after ``limit_s`` seconds.
        """
        seen: dict[str, Player | None] = {}
        deadline = time.monotonic() + limit_s
        while seen.keys() < set(sides):
            try:
                side, player = self._events.get(timeout=max(0.0, deadline - time.monotonic()))
            except Empty:
                message = f"neither ready nor ended within {limit_s:g} s: {', '.join(set(sides) - seen.keys())}"
                raise EnvironmentFailure(message) from None
            if side in sides:
                seen.setdefault(side, player)
        return {side: player for side, player in seen.items() if player is not None}

    def _accept(self) -> None:
        while True:
            try:
                connection = self._listener.accept()
            except OSError:
                return
            with suppress(EOFError, OSError, ValueError):
                hello: dict[str, Any] = json.loads(connection.recv_bytes())
                self._events.put(
                    (hello["name"], Player(name=hello["name"], connection=connection, call_s=hello["call_s"]))
                )


def play(
    players: dict[str, Player],
    block: Sequence[Turn],
    *,
    budget_s: float,
    limit_s: float,
    clock: Callable[[], float] = time.monotonic,
) -> int:
    """Return the turns of ``block`` again and again until ``budget_s`` seconds are over; gives the blocks played.

    A block is finished once begun, so that every label has as many samples as it is in the block, times the result.
    A side that dies, or keeps its turn longer than ``limit_s``, ends the play; its record says what became of it.
    """
    played = 0
    try:
        for player in players.values():
            _settled(player, limit_s)
        end = clock() + budget_s
        while clock() < end:
            for turn in block:
                player = players[turn.side]
                message = {"arm": turn.arm, "label": turn.label, "plant": turn.plant}
                player.connection.send_bytes(json.dumps(message).encode())
                _settled(player, limit_s)
            played += 1
    except (EOFError, OSError, TimeoutError):
        pass
    finally:
        for player in players.values():
            with suppress(OSError):
                player.connection.send_bytes(b"{}")
                player.connection.close()
    return played


def _settled(player: Player, limit_s: float) -> None:
    """Wait until a side has stopped running."""
    if not player.connection.poll(limit_s):
        raise TimeoutError(player.name)
    player.connection.recv_bytes()
