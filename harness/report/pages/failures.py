"""Where each case failed and where the same variant passed, as Markdown (pure)."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

from packaging.version import Version

from harness.interface import Outcome, variant_id
from harness.judge.verdicts import defect_of
from harness.matrix.expected import UNATTRIBUTED
from harness.packages import TOLD_PACKAGES, WINDOW_AXES
from harness.report.grid import MARKS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from harness.contracts.record import VariantRecord
    from harness.matrix.cases import Case

WIDEST = 110
HEAD = "| case | defect | failed in | how | passed in | variants that do both |"

Versions = tuple[str, ...]


@dataclass(frozen=True)
class Pair:
    """Two cells as near to each other as were measured: these variants fail in one and pass in the other."""

    failed: Versions
    passed: Versions
    variants: tuple[str, ...]
    how: str


def table(cases: Iterable[Case], by_case: Mapping[str, Sequence[VariantRecord]]) -> list[str]:
    """Write one row for each case and each defect that it meets.

    The pair of cells is the nearest one: as few packages as possible differ, then as few releases as possible lie
    between, then the later cell is the one that passes, then most variants do both.
    """
    lines = [HEAD, "| --- " * 6 + "|"]
    for case in cases:
        records = by_case[case.name]
        for defect, failing in failures_by_defect(case, records).items():
            lines.append(_row(case, defect, failing, records))
    return lines


def failures_by_defect(case: Case, records: Iterable[VariantRecord]) -> dict[str, list[VariantRecord]]:
    """Sort the failing records by the defect that accounts for them, in order of the entries."""
    found: dict[str, list[VariantRecord]] = {one.defect: [] for one in case.expectations}
    for record in records:
        if defect := defect_of(case, record):
            found.setdefault(defect, []).append(record)
    return {defect: failing for defect, failing in found.items() if failing}


def axes_of(case: Case) -> tuple[str, ...]:
    """Name the packages by which a case's cells are told apart: peft, transformers, and what its windows speak of."""
    named = {package for one in case.expectations for package in one.where}
    return tuple(name for name in TOLD_PACKAGES if name in {*WINDOW_AXES, *named})


def nearest_pair(
    packages: Sequence[str], failing: Iterable[VariantRecord], records: Iterable[VariantRecord]
) -> Pair | None:
    """Return the nearest two cells of which one failed and the other passed the same variants; ``None`` without any.

    A cell is known by its versions of ``packages``.
    """
    fails: dict[Versions, dict[str, VariantRecord]] = defaultdict(dict)
    passes: dict[Versions, set[str]] = defaultdict(set)
    for record in failing:
        fails[_versions(record, packages)][_variant(record)] = record
    for record in records:
        if record.outcome == Outcome.PASSED:
            passes[_versions(record, packages)].add(_variant(record))
    rank = _ranks({*fails, *passes})
    best: tuple[tuple[int, int, bool, int, Versions, Versions], Pair] | None = None
    for (bad, broken), (good, working) in product(fails.items(), passes.items()):
        steps = [abs(rank[i, bad[i]] - rank[i, good[i]]) for i in range(len(packages)) if bad[i] != good[i]]
        # The intersection costs most and decides last: pairs that lie farther apart are out before it.
        near = (len(steps), sum(steps))
        if best and near > best[0][:2]:
            continue
        both = sorted(working & broken.keys())
        if not both:
            continue
        order = (*near, _age(good) < _age(bad), -len(both), bad, good)
        if best is None or order < best[0]:
            best = order, Pair(bad, good, tuple(both), _how(broken[one] for one in both))
    return best[1] if best else None


def _row(case: Case, defect: str, failing: Sequence[VariantRecord], records: Sequence[VariantRecord]) -> str:
    packages = axes_of(case)
    pair = nearest_pair(packages, failing, records)
    total = len({_variant(one) for one in failing})
    if pair is None:
        worst, _ = Counter(_versions(one, packages) for one in failing).most_common(1)[0]
        how = _how(one for one in failing if _versions(one, packages) == worst)
        cells = [_words(packages, worst, worst), how, "nowhere measured", f"0 of {total}"]
    else:
        failed, passed = pair.failed, pair.passed
        both = f"{len(pair.variants)} of {total}, such as `{pair.variants[0]}`"
        cells = [_words(packages, failed, passed), pair.how, _words(packages, passed, failed), both]
    return "| " + " | ".join([f"[{case.name}](#{case.name})", _link(defect), *cells]) + " |"


def _how(records: Iterable[VariantRecord]) -> str:
    """Name the gravest way of failing that most of the records share: a silent fault says more than an error."""
    told = Counter((record.outcome != Outcome.WRONG, record.outcome, _signature(record)) for record in records)
    (_, outcome, signature), _ = min(told.items(), key=lambda item: (item[0][0], -item[1], item[0]))
    return f"{MARKS[Outcome(outcome)]} {signature}".rstrip()


def _signature(record: VariantRecord) -> str:
    """Return what tells one way of failing from another: the signature of an error, the words of a wrong answer."""
    text = " ".join((record.signature or record.message or "").partition(" @ ")[0].split())
    short = text if len(text) <= WIDEST else text[: WIDEST - 1].rstrip() + "…"
    return "`" + short.replace("|", "\\|").replace("`", "'") + "`" if short else ""


def _variant(record: VariantRecord) -> str:
    return variant_id({axis: value for axis, value in record.variant.items() if axis not in {"device", "dtype"}})


def _versions(record: VariantRecord, packages: Sequence[str]) -> Versions:
    there = record.cell.packages
    return tuple(there.get(name, "").partition("+")[0] for name in packages)


def _ranks(cells: Iterable[Versions]) -> dict[tuple[int, str], int]:
    columns = [sorted(set(column), key=_number) for column in zip(*cells, strict=True)]
    return {(i, version): rank for i, column in enumerate(columns) for rank, version in enumerate(column)}


def _age(cell: Versions) -> tuple[Version, ...]:
    return tuple(map(_number, cell))


def _number(version: str) -> Version:
    return Version(version or "0")


def _words(packages: Sequence[str], cell: Versions, other: Versions) -> str:
    """Name a cell by peft and transformers, and by whatever else differs; in bold what differs."""
    shown = []
    for name, version, beside in zip(packages, cell, other, strict=True):
        if name in WINDOW_AXES or version != beside:
            told = f"{name} {version or 'none'}"
            shown.append(f"**{told}**" if version != beside else told)
    return ", ".join(shown)


def _link(defect: str) -> str:
    """Write a defect as a link from a page in ``docs/``."""
    return "none: unexpected" if defect == UNATTRIBUTED else f"[{defect}](../cases/defects/{defect}.md)"
