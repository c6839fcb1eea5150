"""Choose what a script is about: one case, one of its variants, one cell and its lock."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

from harness.contracts.records import FAILED
from harness.environments.locks import lock_book
from harness.environments.resolve import Lock, resolve
from harness.errors import UsageError
from harness.interface import selects, variant_id
from harness.judge.verdicts import expectation_for

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.matrix.cases import Case
    from harness.matrix.spec import Cell, Matrix

_NAMED_CHOICES = 12


def choose_case(cases: tuple[Case, ...], name: str) -> Case:
    """Give a case by its name. Raises :class:`UsageError` naming the closest one."""
    known = {case.name: case for case in cases}
    if name in known:
        return known[name]
    close = difflib.get_close_matches(name, known, n=1)
    message = f"no case {name!r}; " + (f"did you mean {close[0]!r}?" if close else f"cases: {', '.join(known)}")
    raise UsageError(message)


def lock_of(matrix: Matrix, cell: Cell) -> Lock:
    """Give a cell's kept lock, or resolve it. Raises :class:`UsageError` when it has none that others can use."""
    lock = lock_book(matrix).get(cell) or resolve(cell)
    if not isinstance(lock, Lock):
        message = f"cell {cell.id} is {lock.state}, so no script can have its versions: {lock.words[:300]}"
        raise UsageError(message)
    local = [name for name, source in lock.sources.items() if source.startswith("file:")]
    if local:
        message = f"{', '.join(local)} of cell {cell.id} is a checkout on this machine; pin git+URL@COMMIT instead"
        raise UsageError(message)
    return lock


def choose_variant(case: Case, part: str | None, versions: Mapping[str, str]) -> dict[str, str]:
    """Give the variant that ``part`` names, or the first one of those that is expected to fail.

    ``versions`` are the cell's, python among them. Raises :class:`UsageError` with the choices
    when it stays open which one is meant.
    """
    found = [one for one in case.variants if selects(f"{case.name}:{part or ''}", case.name, one)]
    exact = [one for one in found if variant_id(one) == part]
    if exact or len(found) == 1:
        return (exact or found)[0]
    for one in found:
        expectation = expectation_for(case, versions, one)
        if expectation is not None and expectation.outcome in FAILED:
            return one
    choices = _listed([variant_id(one) for one in found or case.variants])
    why = f"none of {len(found)} variants is expected to fail here" if found else f"{case.name} has no variant {part!r}"
    message = f"{why}; name one with --variant: {choices}"
    raise UsageError(message)


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _NAMED_CHOICES} more" if len(names) > _NAMED_CHOICES else ""
    return ", ".join(names[:_NAMED_CHOICES]) + more
