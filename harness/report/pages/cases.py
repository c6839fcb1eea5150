"""The catalogue of cases as Markdown: what each one asks, and what came out wherever it was measured (pure)."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING

from packaging.version import Version

from harness.contracts.record import FAILED, VariantRecord
from harness.interface import Oracle, Outcome, variant_id
from harness.packages import WINDOW_AXES
from harness.report.grid import MARKS, ORDER
from harness.report.pages.failures import table

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from harness.matrix.cases import Case

_ORACLES = {
    Oracle.CACHE: "`generate` against a plain loop over `forward`, which uses neither `generate` nor a cache",
    Oracle.PROMPT_USED: "with a strong prompt the answer is not the base model's",
    Oracle.RELOAD: "saved and loaded again answers as in memory",
    Oracle.BATCH: "a row alone answers as the same row in a padded batch",
    Oracle.ROUND_TRIP: "training teaches what the base does not say, and it survives",
    Oracle.SAME_CALL: "two ways of asking for one thing give one answer",
    Oracle.ALONE: "an adapter among others, or switched off, answers as it does, or as the base does, by itself",
    Oracle.BY_HAND: "the definition, written out",
    Oracle.REFUSAL: "what cannot be done is refused, in words that name the reason",
    Oracle.FROZEN: "another release's answer to the same numbers, kept as data",
}
_HEAD = """# The cases

Generated from the case files and the reference records by `prompt-bench cases catalogue --write`;
`nox -s lint` fails when it is stale. How to add a case: [cases.md](cases.md). At the end, for each case and each
defect: [the cell where it failed, and the nearest where it passed](#failed-there-passed-here).
"""
_PAIRS = """One row for each case and each [defect](defects.md) that it meets.
Of all measured cells, the nearest two of which one failed and the other passed at least one of the same variants; the
last column says how many. What differs between the two is bold. `nowhere measured`: no cell passed, and the case's
other variants are its control. A case without a row never failed on a release, only on a planted fault
(`tests/test_cases_can_fail.py`, `tests/test_family_cases.py`)."""
_COLUMNS = "| case | what must hold | oracle | variants | newest cell | everywhere | seen failing in |"


def catalogue_page(cases: Sequence[Case], records: Iterable[VariantRecord], sources: str) -> str:
    """Write the page. ``sources`` names in words what the records are."""
    by_case: dict[str, list[VariantRecord]] = {case.name: [] for case in cases}
    for record in records:
        if isinstance(record, VariantRecord) and record.case in by_case:
            by_case[record.case].append(record)
    variants = sum(len(case.variants) for case in cases)
    measured = sum(map(len, by_case.values()))
    words = f"{len(cases)} cases with {variants} variants; {measured} records from {sources}."
    marks = " ".join(f"{MARKS[outcome]} {outcome}," for outcome in ORDER).rstrip(",")
    lines = [_HEAD, words, f"Marks: {marks}.", "", _COLUMNS, "| --- " * 7 + "|"]
    lines += [_row(case, by_case[case.name]) for case in cases]
    used = {case.oracle for case in cases}
    lines += ["", "## Oracles", ""]
    lines += [f"- **{oracle}**: {told}." for oracle, told in _ORACLES.items() if oracle in used]
    for case in cases:
        lines += ["", f"## {case.name}", "", *_section(case)]
    lines += ["", "## Failed there, passed here", "", _PAIRS, "", *table(cases, by_case)]
    return "\n".join(lines) + "\n"


def tally(records: Iterable[VariantRecord]) -> str:
    """Write outcomes as counts with marks."""
    counts = Counter(Outcome(record.outcome) for record in records)
    return " ".join(f"{counts[outcome]}{MARKS[outcome]}" for outcome in ORDER if counts[outcome]) or "not measured"


def newest(records: Sequence[VariantRecord]) -> list[VariantRecord]:
    """Return the records of the newest peft beside the newest transformers, of releases alone."""
    if not records:
        return []
    best = max(_age(record.cell.packages) for record in records)
    seen = {}
    for record in records:
        if _age(record.cell.packages) == best:
            seen[variant_id(record.variant)] = record
    return list(seen.values())


def _row(case: Case, records: Sequence[VariantRecord]) -> str:
    name = f"[{case.name}](#{case.name})"
    what = case.summary.replace("``", "`").replace("|", "\\|")
    cells = (
        name,
        what,
        case.oracle,
        len(case.variants),
        tally(newest(records)),
        tally(records),
        _failing_cell(records),
    )
    return "| " + " | ".join(str(cell) for cell in cells) + " |"


def _failing_cell(records: Iterable[VariantRecord]) -> str:
    """Name the cell in which most variants fail that pass elsewhere, and a variant that does both."""
    records = list(records)
    passes = {variant_id(one.variant) for one in records if one.outcome == Outcome.PASSED}
    failing = [one for one in records if one.outcome in FAILED]
    both = [one for one in failing if variant_id(one.variant) in passes]
    if not failing:
        return "a planted fault alone"
    # A silent fault says most; a pair of releases in which everything raises says least.
    told = [one for one in both if one.outcome == Outcome.WRONG] or both or failing
    worst, _ = Counter(_versions(one) for one in told).most_common(1)[0]
    return worst + ("" if both else ", and passed nowhere but by its control")


def _versions(record: VariantRecord) -> str:
    packages = record.cell.packages
    return f"peft {packages['peft']}, transformers {packages['transformers']}"


def _age(packages: Mapping[str, str]) -> tuple[bool, Version, Version]:
    versions = [Version(packages.get(name, "0")) for name in WINDOW_AXES]
    return not any(one.is_devrelease or one.is_prerelease for one in versions), versions[0], versions[1]


def _section(case: Case) -> list[str]:
    """Write where a case comes from and over which axes it goes."""
    axes: dict[str, dict[str, None]] = {}
    for variant in case.variants:
        for axis, value in variant.items():
            axes.setdefault(axis, {})[value] = None
    lines = [case.summary.replace("``", "`"), ""]
    if case.document:
        lines.append(f"- document {case.document}, {len(case.claims)} claims")
    if case.upstream:
        lines.append("- upstream: " + ", ".join(_link(link) for link in case.upstream))
    lines += [f"- {axis}: {', '.join(values)}" for axis, values in axes.items()]
    lines.append(f"- file: [cases/{case.path.name}](../cases/{case.path.name})" + _expected(case))
    return lines


def _expected(case: Case) -> str:
    """Say what is expected to fail, and where that stands."""
    if not case.expectations:
        return ", expected to pass everywhere"
    defects = len({one.defect for one in case.expectations if one.defect})
    return f", meets [{defects} defects](../cases/expected/{case.name}.toml)"


def _link(link: str) -> str:
    found = re.fullmatch(r"https://github\.com/([^/]+/[^/]+)/(?:issues|pull)/(\d+)", link)
    return f"[{found[1]}#{found[2]}]({link})" if found else f"[{link.rpartition('/')[2]}]({link})"
