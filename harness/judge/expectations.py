"""Hold what is expected of a case against records: each entry must be needed, seen, and no broader than measured.

A window may end only at versions that were measured and fail there. An end may be left open
where the oldest, or the newest, release that was measured still fails.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from packaging.specifiers import Specifier, SpecifierSet
from packaging.version import Version

from harness.contracts.records import measured_of
from harness.interface import Outcome, variant_id
from harness.judge.verdicts import covers, matches, raised
from harness.judge.windows import version_of
from harness.packages import WINDOW_AXES

if TYPE_CHECKING:
    from collections.abc import Iterable

    from harness.contracts.record import Record, VariantRecord
    from harness.matrix.cases import Case
    from harness.matrix.expected import Expectation

_INCLUSIVE = {">=", "<=", "=="}


@dataclass(frozen=True, kw_only=True)
class Problem:
    """What is wrong with an entry. ``line`` is 1-based, in the case's file of expectations."""

    case: str
    line: int
    text: str


def check_windows(case: Case, records: Iterable[Record]) -> list[Problem]:
    """List what is wrong with the expectations of a case, held against all records of it."""
    mine = measured_of(case.name, records)
    entries = case.expectations
    problems = []
    covering: dict[int, list[int]] = {
        index: [number for number, one in enumerate(entries) if _covers(one, record)]
        for index, record in enumerate(mine)
    }
    first = {numbers[0] for numbers in covering.values() if numbers}
    for number, entry in enumerate(entries):
        covered = [mine[index] for index, numbers in covering.items() if number in numbers]
        texts = _problems(entry, covered, mine)
        if covered and number not in first:
            texts.append("earlier entries account for every record of this one; remove it")
        problems += [Problem(case=case.name, line=entry.line, text=text) for text in texts]
    overlaps: dict[tuple[int, int], list[VariantRecord]] = defaultdict(list)
    for index, numbers in covering.items():
        # Entries of one defect that agree on a record may share it: an L of versions is two boxes.
        agreed = all(matches(entries[number], mine[index]) for number in numbers)
        for later in numbers[1:]:
            if not agreed or entries[later].defect != entries[numbers[0]].defect:
                overlaps[numbers[0], later].append(mine[index])
    for (earlier, later), both in overlaps.items():
        text = f"overlaps with line {entries[earlier].line} in {len(both)} records, e.g. {describe(both[0])}"
        problems.append(Problem(case=case.name, line=entries[later].line, text=text))
    return sorted(problems, key=lambda one: one.line)


def describe(record: VariantRecord) -> str:
    """Return the name of a record for a person: its variant and its cell."""
    return f"{variant_id(record.variant)} in {record.cell.id}"


def _covers(expectation: Expectation, record: VariantRecord) -> bool:
    return covers(expectation.where, expectation.only, record.cell.versions, record.variant)


def _problems(expectation: Expectation, covered: list[VariantRecord], records: list[VariantRecord]) -> list[str]:
    if expectation.outcome == Outcome.PASSED:
        return ["expects what is expected anyway; remove it"]
    if not covered:
        return ["no measured cell is in this window; measure one, or remove it"]
    agreeing = [one for one in covered if matches(expectation, one)]
    if not agreeing:
        seen = f"{covered[0].outcome}: {covered[0].signature or covered[0].message}"
        return [f"outcome and signature match none of the {len(covered)} records in the window; there is {seen}"]
    amiss = [one for one in covered if not matches(expectation, one)]
    problems = [f"{len(amiss)} records in the window say otherwise, e.g. {describe(amiss[0])}"] if amiss else []
    for axis, values in expectation.only.items():
        unseen = [value for value in values if not any(one.variant.get(axis) == value for one in agreeing)]
        problems += [f"{axis} {value!r} was never seen to fail here" for value in unseen]
    problems += _places(expectation, agreeing)
    for package in dict.fromkeys([*WINDOW_AXES, *expectation.where]):
        problems += _too_broad(package, expectation, agreeing, records)
    return problems


def _places(expectation: Expectation, agreeing: Iterable[VariantRecord]) -> list[str]:
    """List what an entry says of where an error raises and was not seen, or does not say."""
    if expectation.outcome != Outcome.ERROR:
        return []
    seen = {place for one in agreeing if (place := raised(one))}
    if seen and not expectation.raises:
        return [f"a message alone may be that of another fault; write raises = {sorted(seen)}"]
    return [f"raises {place!r}: never seen here" for place in expectation.raises if place not in seen]


def _too_broad(
    package: str, expectation: Expectation, agreeing: list[VariantRecord], records: list[VariantRecord]
) -> list[str]:
    """List where a window reaches past the measured versions of one package."""
    seen = sorted({version_of(one, package) for one in agreeing})
    rest = {name: specifier for name, specifier in expectation.where.items() if name != package}
    around = [
        version_of(one, package)
        for one in records
        if covers(rest, expectation.only, one.cell.versions, one.variant) and package in one.cell.versions
    ]
    bounds = list(SpecifierSet(expectation.where.get(package, "")))
    problems = [
        f"{package} {one}: write the last measured version with >=, <= or ==; it is {seen[0]} to {seen[-1]}"
        for one in bounds
        if one.operator not in _INCLUSIVE or one.version.endswith(".*")
    ]
    if problems:
        return problems
    problems += [
        f"{package} {one} reaches past what was measured: the window holds {seen[0]} to {seen[-1]}"
        for one in bounds
        if Version(one.version) not in seen
    ]
    if not _has(bounds, {">=", "=="}) and seen[0] != min(around):
        problems.append(f"{package} has no lower end, and {min(around)} was measured: it does not fail so")
    if not _has(bounds, {"<=", "=="}) and seen[-1] != max(around):
        problems.append(f"{package} has no upper end, and {max(around)} was measured: it does not fail so")
    return problems


def _has(bounds: Iterable[Specifier], operators: set[str]) -> bool:
    return any(one.operator in operators for one in bounds)
