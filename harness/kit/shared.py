"""What several variants of a case begin with: made once in a process, and each has a copy of its own."""

from __future__ import annotations

import random
from contextlib import contextmanager, nullcontext
from copy import deepcopy
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator

Made = TypeVar("Made")

_MADE: dict[Hashable, object] = {}


def made_once(make: Callable[[], Made], *what: Hashable) -> Made:
    """Return a deep copy of what ``make``, a function of a case, gave when ``what`` was first asked for here.

    The first to ask has a copy as well, and what ``make`` draws leaves the random numbers as they were, so that a
    variant gives the same alone, first, last, or in a process of its own. What ``make`` gives may depend on ``what``
    alone. Raises what ``make`` raises, each time.
    """
    # Two case files may use the same words, and plain pytest runs both in one process.
    key = (make.__module__, make.__qualname__, *what)
    if key not in _MADE:
        with _same_random_numbers():
            _MADE[key] = make()
    made: Made = deepcopy(_MADE[key])  # type: ignore[assignment]  # put there by a call with the same words
    return made


@contextmanager
def _same_random_numbers() -> Iterator[None]:
    """Put the states of the random numbers of Python, numpy and torch back at the end."""
    import numpy as np

    try:
        import torch
    except ImportError:
        torch = None  # only in tests: a cell has it
    python, arrays = random.getstate(), np.random.get_state()  # noqa: NPY002 - the state that the packages draw from
    try:
        with torch.random.fork_rng() if torch else nullcontext():
            yield
    finally:
        random.setstate(python)
        np.random.set_state(arrays)  # noqa: NPY002
