"""Hold the expectation windows of a case against records: each must be needed, seen, and no broader than measured.

A window may end only at versions that were measured and fail there. An end may be left open
where the oldest, or the newest, release that was measured still fails.
"""

from __future__ import annotations

import ast
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from packaging.specifiers import Specifier, SpecifierSet
from packaging.version import Version

from harness.contracts.records import measured_of
from harness.interface import Outcome, variant_id
from harness.judge.verdicts import covers, matches
from harness.packages import WINDOW_AXES

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from harness.contracts.record import Record, VariantRecord
    from harness.interface import Expectation
    from harness.matrix.cases import Case

_INCLUSIVE = {">=", "<=", "=="}


@dataclass(frozen=True, kw_only=True)
class Problem:
    """What is wrong with a window. ``line`` is 1-based, in the case's file."""

    case: str
    line: int
    text: str


def expectation_nodes(source: str) -> list[ast.expr]:
    """Give the syntax of each entry of ``EXPECTATIONS``, in order; it knows its lines."""
    for node in ast.parse(source).body:
        target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
        value = getattr(node, "value", None)
        if isinstance(target, ast.Name) and target.id == "EXPECTATIONS" and isinstance(value, ast.Tuple | ast.List):
            return list(value.elts)
    return []


def check_windows(case: Case, records: Iterable[Record], lines: Sequence[int]) -> list[Problem]:
    """List what is wrong with the windows of a case, held against all records of it.

    ``lines`` has the line of each expectation.
    """
    mine = measured_of(case.name, records)
    problems = []
    covering: dict[int, list[int]] = {
        index: [number for number, one in enumerate(case.expectations) if _covers(one, record)]
        for index, record in enumerate(mine)
    }
    for number, expectation in enumerate(case.expectations):
        covered = [mine[index] for index, numbers in covering.items() if number in numbers]
        texts = _problems(expectation, covered, mine)
        problems += [Problem(case=case.name, line=lines[number], text=text) for text in texts]
    overlaps: dict[tuple[int, int], list[VariantRecord]] = defaultdict(list)
    for index, numbers in covering.items():
        # Windows that agree on a record may share it: an L of versions is two boxes.
        if not all(matches(case.expectations[number], mine[index]) for number in numbers):
            for later in numbers[1:]:
                overlaps[numbers[0], later].append(mine[index])
    for (first, later), both in overlaps.items():
        text = f"overlaps with line {lines[first]} in {len(both)} records, e.g. {describe(both[0])}"
        problems.append(Problem(case=case.name, line=lines[later], text=text))
    return sorted(problems, key=lambda one: one.line)


def describe(record: VariantRecord) -> str:
    """Name a record for a person: its variant and its cell."""
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
    for package in dict.fromkeys([*WINDOW_AXES, *expectation.where]):
        problems += _too_broad(package, expectation, agreeing, records)
    return problems


def _too_broad(
    package: str, expectation: Expectation, agreeing: list[VariantRecord], records: list[VariantRecord]
) -> list[str]:
    """Tell where a window reaches past the measured versions of one package."""
    seen = sorted({_version(one, package) for one in agreeing})
    rest = {name: specifier for name, specifier in expectation.where.items() if name != package}
    around = [
        _version(one, package)
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


def _version(record: VariantRecord, package: str) -> Version:
    versions: Mapping[str, str] = record.cell.versions
    return Version(versions[package].partition("+")[0])
