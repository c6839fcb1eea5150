"""What several variants of a case begin with: made once in a process, and each has a copy of its own."""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

Made = TypeVar("Made")

_MADE: dict[Hashable, object] = {}


def made_once(make: Callable[[], Made], *what: Hashable) -> Made:
    """Return a deep copy of what ``make``, a function of a case, gave when ``what`` was first asked for here.

    The first to ask has a copy as well, so that a variant gives the same alone, first, last, or in a process of its
    own. What ``make`` gives may depend on ``what`` alone. Raises what ``make`` raises, each time.
    """
    # Two case files may use the same words, and plain pytest runs both in one process.
    key = (make.__module__, make.__qualname__, *what)
    if key not in _MADE:
        _MADE[key] = make()
    made: Made = deepcopy(_MADE[key])  # type: ignore[assignment]  # put there by a call with the same words
    return made
