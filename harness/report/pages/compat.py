"""What works with what, as data for other programs: ``compat.json`` and its JSON Schema (pure).

In the manner of browser-compat-data: a feature (a method of prompt learning on a family of models), the versions in
which it was measured, and notes that name the defects.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache
from typing import TYPE_CHECKING, Any

import msgspec
from packaging.version import InvalidVersion, Version

from harness.contracts.record import FAILED, MEASURED, StateRecord, VariantRecord
from harness.interface import Outcome
from harness.packages import WINDOW_AXES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from harness.contracts.record import CellFacts, Record
    from harness.judge.defects import Defect

VERSION = 1
"""Of the form of ``compat.json``."""

GENERATE = ("generate_with_cache", "generate_families")
UNCACHED = ("workaround", "uncached")
"""The cases that a version map shows first, ``generate`` with the cache, and their aspects that do without it."""


class Support(StrEnum):
    """How a method on a family does in a pair of releases."""

    WORKS = "works"
    SILENTLY_WRONG = "silently-wrong"
    PARTLY = "partly"
    """Some of it works, and the rest raises."""
    FAILS = "fails"
    UNSUPPORTED = "unsupported"


class Result(msgspec.Struct, kw_only=True, frozen=True):
    """What was measured of a case, or of one aspect of it, in a pair of releases.

    ``defects`` account for what did not pass.
    """

    peft: str
    transformers: str
    case: str
    aspect: str
    support: Support
    passed: int
    wrong: int
    failed: int
    defects: list[str]


class Note(msgspec.Struct, kw_only=True, frozen=True):
    """A defect in words."""

    title: str
    status: str
    sees: str
    who: str
    way_round: str


class Unready(msgspec.Struct, kw_only=True, frozen=True):
    """A pair of releases that cannot be installed or imported together."""

    peft: str
    transformers: str
    state: str
    defect: str


class Compat(msgspec.Struct, kw_only=True, frozen=True):
    """The whole file. ``methods`` maps a method to families, and these to results; ``time`` is the newest record's."""

    version: int
    time: str
    records: int
    methods: dict[str, dict[str, list[Result]]]
    unready: list[Unready]
    defects: dict[str, Note]


@dataclass
class _Count:
    passed: int = 0
    wrong: int = 0
    failed: int = 0
    unsupported: int = 0
    defects: set[str] = field(default_factory=set)

    @property
    def support(self) -> Support:
        if self.wrong:
            return Support.SILENTLY_WRONG
        if self.failed:
            return Support.PARTLY if self.passed else Support.FAILS
        return Support.WORKS if self.passed else Support.UNSUPPORTED


def compat_of(records: Iterable[Record], defects: Mapping[str, Defect], cause: Callable[[Record], str]) -> Compat:
    """Sort records by method, family, releases, case and aspect.

    ``cause`` gives the defect of a record, "" where none is known. Releases alone count: what was measured of a branch
    is left out.
    """
    counts: dict[tuple[str, str], dict[tuple[str, ...], _Count]] = defaultdict(lambda: defaultdict(_Count))
    unready: dict[tuple[str, str], Unready] = {}
    time, number = "", 0
    for record in records:
        pair = releases_of(record.cell)
        if pair is None:
            continue
        number += 1
        time = max(time, record.time)
        if isinstance(record, StateRecord):
            unready[pair] = Unready(peft=pair[0], transformers=pair[1], state=str(record.state), defect=cause(record))
        elif record.outcome in MEASURED and {"method", "model"} <= record.variant.keys():
            mine = counts[record.variant["method"], record.variant["model"]][
                (*pair, record.case, record.variant.get("aspect", ""))
            ]
            _add(mine, record, cause)
    methods: dict[str, dict[str, list[Result]]] = defaultdict(dict)
    for (method, family), found in sorted(counts.items()):
        methods[method][family] = [
            Result(
                peft=peft, transformers=transformers, case=case, aspect=aspect, support=one.support, passed=one.passed,
                wrong=one.wrong, failed=one.failed, defects=sorted(one.defects),
            )
            for (peft, transformers, case, aspect), one in sorted(found.items(), key=lambda item: _age(item[0]))
        ]  # fmt: skip
    measured = {(key[0], key[1]) for found in counts.values() for key in found}
    return Compat(
        version=VERSION,
        time=time,
        records=number,
        methods=dict(methods),
        unready=[one for pair, one in sorted(unready.items(), key=lambda item: _age(item[0])) if pair not in measured],
        defects={
            name: Note(
                title=one.title, status=str(one.kept.status) if one.kept else "", sees=str(one.sees), who=one.who,
                way_round=one.way_round,
            )
            for name, one in defects.items()
        },
    )  # fmt: skip


def _add(count: _Count, record: VariantRecord, cause: Callable[[Record], str]) -> None:
    count.passed += record.outcome == Outcome.PASSED
    count.wrong += record.outcome == Outcome.WRONG
    count.failed += record.outcome in FAILED - {Outcome.WRONG}
    count.unsupported += record.outcome == Outcome.UNSUPPORTED
    if record.outcome in FAILED and (defect := cause(record)):
        count.defects.add(defect)


def releases_of(cell: CellFacts) -> tuple[str, str] | None:
    """Return the releases of peft and transformers in a cell; None where one of them is a branch, or missing."""
    versions = tuple(cell.packages.get(name, "").partition("+")[0] for name in WINDOW_AXES)
    if any(name in cell.sources for name in WINDOW_AXES) or not all(map(_is_release, versions)):
        return None
    return versions[0], versions[1]


@cache
def _is_release(version: str) -> bool:
    try:
        return not Version(version).is_prerelease
    except InvalidVersion:
        return False


def newest_pair(pairs: Iterable[tuple[str, str]]) -> tuple[str, str]:
    """Return the newest of some pairs of releases."""
    return max(pairs, key=_age)


def versions_in_order(versions: Iterable[str]) -> list[str]:
    """Return different versions, the newest first."""
    return sorted(set(versions), key=Version, reverse=True)


def schema() -> dict[str, Any]:
    """Return the JSON Schema of ``compat.json``, drawn from the types that write it."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **msgspec.json.schema(Compat)}


def _age(key: tuple[str, ...]) -> tuple[Version, Version, tuple[str, ...]]:
    return Version(key[0]), Version(key[1]), key
