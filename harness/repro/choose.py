"""Choose what a script is about: one case, one of its variants, one cell and its lock."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.contracts.record import FAILED
from harness.environments.locks import lock_book
from harness.environments.resolve import Lock, resolve
from harness.errors import UsageError
from harness.interface import variant_id
from harness.judge.verdicts import expectation_for
from harness.matrix.cases import read_selector

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.matrix.cases import Case
    from harness.matrix.spec import Cell, Matrix

_NAMED_CHOICES = 12


def lock_of(matrix: Matrix, cell: Cell) -> Lock:
    """Return a cell's kept lock, or resolve it. Raises :class:`UsageError` when it has none that others can use."""
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
    """Return the variant that ``part`` names, or the first one of those that is expected to fail.

    ``versions`` are the cell's, python among them. Raises :class:`UsageError` with the choices
    when it stays open which one is meant.
    """
    selected = read_selector(f"{case.name}:{part or ''}", (case,))
    found = [one for one in case.variants if selected(case.name, one)]
    if len(found) == 1:
        return found[0]
    for one in found:
        expectation = expectation_for(case, versions, one)
        if expectation is not None and expectation.outcome in FAILED:
            return one
    choices = _listed([variant_id(one) for one in found])
    message = f"none of {len(found)} variants is expected to fail here; name one with --variant: {choices}"
    raise UsageError(message)


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _NAMED_CHOICES} more" if len(names) > _NAMED_CHOICES else ""
    return ", ".join(names[:_NAMED_CHOICES]) + more
