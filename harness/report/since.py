"""What changed since an earlier run, as reports show it (pure, but for reading that run)."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.against.difference import Change, Difference, difference
from harness.contracts.records import read_run
from harness.interface import variant_id
from harness.run.runs import Run

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from harness.contracts.record import Record
    from harness.report.page_data import Place


@dataclass(frozen=True, kw_only=True)
class Since:
    """The difference of a run from what was measured before; ``label`` says since when."""

    label: str
    difference: Difference

    @property
    def changes(self) -> Mapping[Place, str]:
        """Say of each place that changed how, and what it gave before."""
        return {
            (one.after.cell.id, one.case, variant_id(one.variant)): f"{one.change}; before: {_said(one.before)}"
            for one in self.difference.flips
            if one.variant
        }

    @property
    def words(self) -> str:
        """Count the changes in a line."""
        counts = Counter(one.change for one in self.difference.flips)
        told = ", ".join(f"{counts[change]} {change}" for change in Change if counts[change])
        return f"{told or 'no difference'} in {self.difference.count} variants"


def since_run(records: Iterable[Record], name: str) -> Since:
    """Compare records with those of an earlier run, cell by cell; what one of them did not measure has not changed.

    Raises :class:`harness.errors.UsageError` when there is no run of that name.
    """
    earlier = Run(id=name)
    earlier.plan()
    now, then = _by_cell(records), _by_cell(read_run(earlier.folder))
    found = Difference()
    for cell in now.keys() & then.keys():
        found += difference(then[cell], now[cell], cell)
    return Since(label=f"since {name}", difference=found)


def _by_cell(records: Iterable[Record]) -> dict[str, list[Record]]:
    found: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        found[record.cell.id].append(record)
    return found


def _said(record: Record) -> str:
    return f"{record.result}: {record.words}" if record.words else record.result
