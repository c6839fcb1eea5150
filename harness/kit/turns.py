"""Taking turns with another cell: who times next is decided outside, one call at a time."""

from __future__ import annotations

import json
from multiprocessing.connection import Client
from typing import Any, Self


class Over(Exception):
    """The other side wants no more samples."""


class Turns:
    """A connection to the side that gives the turns. Messages are JSON; that side speaks only when asked."""

    def __init__(self, address: str, hello: dict[str, Any]) -> None:
        """Connect to a Unix socket; ``hello`` tells who is there and what a call costs."""
        self._connection = Client(address, family="AF_UNIX")
        self._connection.send_bytes(json.dumps(hello).encode())

    def __enter__(self) -> Self:
        """Keep the connection while the series lasts."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the connection."""
        self._connection.close()

    def wait(self) -> dict[str, Any]:
        """Say that this side has stopped running, and sleep until it may run again.

        Returns ``{"arm": name, "label": name of the sample, "plant": share}``. Raises :class:`Over`.
        """
        try:
            self._connection.send_bytes(b"{}")
            turn: dict[str, Any] = json.loads(self._connection.recv_bytes())
        except (EOFError, OSError):
            raise Over from None
        if not turn:
            raise Over
        return turn
