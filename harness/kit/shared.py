"""What several variants of a case begin with: made once in a process, and each has a copy of its own."""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

Made = TypeVar("Made")

_MADE: dict[Hashable, object] = {}


def made_once(make: Callable[[], Made], *what: Hashable) -> Made:
    """Return a deep copy of what ``make`` gave the first time that ``what`` was asked for in this process.

    The first to ask has a copy as well, so that a variant gives the same alone, first, last, or in a process of its
    own. What ``make`` gives may depend on ``what`` alone. Raises what ``make`` raises, each time.
    """
    if what not in _MADE:
        _MADE[what] = make()
    made: Made = deepcopy(_MADE[what])  # type: ignore[assignment]  # put there by a call with the same words
    return made
