"""What changed since the last time that a matrix was measured on this machine (pure)."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from harness.against.difference import Difference, difference
from harness.contracts.record import MEASURED, VariantRecord
from harness.contracts.records import place_of
from harness.escape import one_line

if TYPE_CHECKING:
    from collections.abc import Iterable

    from harness.contracts.record import Record

_SHOWN = 5


def since_last_time(run: str, now: Iterable[Record], history: Iterable[VariantRecord]) -> Difference:
    """Hold what a run measured itself against the newest earlier record of the same place.

    ``history`` is what the store has of the matrix, the oldest first. What the run took from the store is as it was,
    and what was never measured before is no difference.
    """
    last = {place_of(one): one for one in history if one.run != run and one.outcome in MEASURED}
    cells: dict[str, list[tuple[VariantRecord, VariantRecord]]] = defaultdict(list)
    for one in now:
        if isinstance(one, VariantRecord) and one.run == run and (before := last.get(place_of(one))):
            cells[one.cell.id].append((before, one))
    whole = Difference()
    for cell, pairs in cells.items():
        whole += difference([before for before, _ in pairs], [after for _, after in pairs], cell)
    return whole


def lines_of(found: Difference, since: str = "since last time") -> list[str]:
    """Say in a few lines what changed; none when there is nothing to hold it against."""
    if not found.count:
        return []
    if not found.flips:
        return [f"{since}: no difference in {found.count} variants"]
    causes = found.causes
    lines = [f"{since}, in {found.count} variants:"]
    for cause in causes[:_SHOWN]:
        words = cause.after if cause.before == cause.after else f"{cause.before} -> {cause.after}"
        words = one_line(f"{words}, e.g. {cause.representative.name}")
        lines.append(f"  {cause.change} {len(cause.flips)} x {words}")
    if len(causes) > _SHOWN:
        lines.append(f"  and {len(causes) - _SHOWN} more causes")
    return lines
