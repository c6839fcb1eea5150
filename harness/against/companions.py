"""What stands beside both sides when nobody says so: the newest, the oldest that works, and the main branch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from packaging.version import Version

from harness.against.question import UPSTREAM
from harness.contracts.record import VariantRecord
from harness.interface import Outcome
from harness.judge.reference import read_reference
from harness.matrix.source import Unreachable, fix
from harness.matrix.spec import NEWEST

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from harness.contracts.record import Record

_REFERENCE = "grid"


def default_companions(package: str) -> tuple[tuple[Mapping[str, str], ...], tuple[str, ...]]:
    """Return the pins beside a package, and in words what is left out because it cannot be reached.

    PEFT bounds no transformers in its metadata, so that the oldest is taken from the published records.
    """
    other = "transformers" if package == "peft" else "peft"
    companions = [{other: NEWEST}]
    skipped = []
    if oldest := oldest_working(read_reference(_REFERENCE), package, other):
        companions.append({other: oldest})
    try:
        companions.append({other: fix(f"git+{UPSTREAM.format(other)}@main")})
    except Unreachable as error:
        skipped.append(f"left out, beside {other} main: {error}")
    return tuple(companions), tuple(skipped)


def oldest_working(records: Iterable[Record], package: str, other: str) -> str:
    """Return the oldest release of ``other`` beside which something passes with the newest measured ``package``.

    "" where nothing is known.
    """
    passed = [
        (Version(one.cell.packages[package]), Version(one.cell.packages[other]))
        for one in records
        if isinstance(one, VariantRecord) and one.outcome == Outcome.PASSED
        if {package, other} <= one.cell.packages.keys()
    ]
    newest = max((own for own, _ in passed), default=None)
    return str(min(beside for own, beside in passed if own == newest)) if newest else ""
