"""The files of expectations that would make every record expected, as text and as one diff (pure)."""

from __future__ import annotations

import difflib
import re
import textwrap
from collections import defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from harness.contracts.records import measured_of
from harness.errors import CaseError
from harness.interface import Outcome
from harness.judge.expectations import check_windows
from harness.judge.verdicts import covers, expectation_for, matches, raised
from harness.judge.windows import Inseparable, draft_windows
from harness.matrix.expected import (
    UNATTRIBUTED,
    Expectation,
    entry_text,
    entry_texts,
    expected_path,
    expected_text,
)
from harness.paths import ROOT
from harness.program import PROGRAM

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from harness.contracts.record import Record, VariantRecord
    from harness.matrix.cases import Case

_PLACEHOLDER = re.compile(r"<\w+>|(?<![A-Za-z])\d+")
_SHORT, _LONG = 12, 60
_REASON = 100


def proposed(case: Case, records: Iterable[Record]) -> str:
    """Return the text of a case's file of expectations that every record bears out, "" where all pass.

    An entry that is right stays as it is, to the letter, with the comments above it. One that is not is drawn anew over
    the records that it accounts for. An error outside of all entries joins the first one with its signature for the
    same variant; every other failure gets entries of its own, whose defect is ``unattributed`` until a person names it.
    Raises :class:`CaseError` when no windows of versions can say it.
    """
    mine = measured_of(case.name, records)
    path = expected_path(case.path)
    written = entry_texts(path.read_text(encoding="utf-8")) if path.is_file() else []
    amiss = {problem.line for problem in check_windows(case, mine)}
    assigned = _assign(case, mine)
    try:
        texts = []
        for number, entry in enumerate(case.expectations):
            if entry.line in amiss or number in assigned.moved:
                texts += _drawn(entry, assigned.owned[number], mine, case)
            else:
                texts.append(written[number])
        for (outcome, pattern), failing in assigned.orphans.items():
            texts += _drawn(_unnamed(outcome, pattern, failing), failing, mine, case)
    except Inseparable as error:
        name = case.path.name
        message = f"{name}: {error}; measure them again: {PROGRAM} run MATRIX --fresh --case {case.name}"
        raise CaseError(message) from None
    return expected_text(case.name, texts)


def proposed_diff(cases: Sequence[Case], records: Sequence[Record]) -> str:
    """Return a diff that `git apply` takes, empty when no entry has to change. Raises :class:`CaseError`."""
    return "".join(diff_of(case, proposed(case, records)) for case in cases)


def diff_of(case: Case, after: str) -> str:
    """Return the diff from a case's file of expectations as it is to another text; "" is no file."""
    path = expected_path(case.path)
    before = path.read_text(encoding="utf-8") if path.is_file() else ""
    name = path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else f"{path.parent.name}/{path.name}"
    lines = difflib.unified_diff(
        before.splitlines(keepends=True),
        after.splitlines(keepends=True),
        f"a/{name}" if before else "/dev/null",
        f"b/{name}" if after else "/dev/null",
    )
    return "".join(lines)


def write_expected(case: Case, text: str) -> None:
    """Write a case's file of expectations, or remove it where the text is empty."""
    path = expected_path(case.path)
    if text:
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    else:
        path.unlink(missing_ok=True)


def pattern_of(record: VariantRecord) -> str:
    """Return a regular expression for how a record failed: the first long piece without numbers or paths."""
    text = record.signature or record.message or ""
    pieces = [piece.strip() for piece in _PLACEHOLDER.split(text.partition(" @ ")[0])]
    piece = next((piece for piece in pieces if len(piece) >= _SHORT), max(pieces, key=len, default=""))
    if len(piece) > _LONG:
        piece = piece[:_LONG].rpartition(" ")[0]
    return re.escape(piece.strip()).replace("\\ ", " ").replace("\\'", "'").replace("\\-", "-")


def unexpected(case: Case, records: Iterable[Record]) -> list[VariantRecord]:
    """List the records of a case that are not what its entries expect."""
    mine = measured_of(case.name, records)
    return [one for one in mine if not matches(expectation_for(case, one.cell.versions, one.variant), one)]


@dataclass(frozen=True, kw_only=True)
class _Assigned:
    """The failing records of a case by the number of their entry, those of no entry by kind.

    ``moved`` are the entries that were given records from outside.
    """

    owned: dict[int, list[VariantRecord]]
    moved: set[int]
    orphans: dict[tuple[str, str], list[VariantRecord]]


def _assign(case: Case, records: Sequence[VariantRecord]) -> _Assigned:
    owned: dict[int, list[VariantRecord]] = defaultdict(list)
    moved: set[int] = set()
    orphans: dict[tuple[str, str], list[VariantRecord]] = defaultdict(list)
    for record in records:
        if record.outcome == Outcome.PASSED:
            continue
        versions = record.cell.versions
        like = [
            number
            for number, one in enumerate(case.expectations)
            if matches(one, record) and covers({}, one.only, versions, record.variant)
        ]
        inside = [one for one in like if covers(case.expectations[one].where, {}, versions, {})]
        # The words of a wrong answer are the same whatever the cause; those of an error are its own.
        near = [one for one in like if case.expectations[one].signature and record.outcome != Outcome.WRONG]
        if inside:
            owned[inside[0]].append(record)
        elif near:
            owned[near[0]].append(record)
            moved.add(near[0])
        else:
            orphans[record.outcome, pattern_of(record)].append(record)
    return _Assigned(owned=owned, moved=moved, orphans=orphans)


def _drawn(
    entry: Expectation, failing: Sequence[VariantRecord], records: Sequence[VariantRecord], case: Case
) -> list[str]:
    """Return the texts of entries like one, over these failing records and no other."""
    ids = {id(one) for one in failing}
    others = [one for one in records if id(one) not in ids]
    drawn = []
    for draft in draft_windows(failing, others, case.variants):
        one = replace(entry, where=dict(draft.where), only=dict(draft.only), raises=())
        if entry.outcome == Outcome.ERROR:
            mine = [record for record in failing if covers(one.where, one.only, record.cell.versions, record.variant)]
            one = replace(one, raises=tuple(sorted({place for record in mine if (place := raised(record))})))
        drawn.append(entry_text(one))
    return drawn


def _unnamed(outcome: str, pattern: str, failing: Sequence[VariantRecord]) -> Expectation:
    """Return an entry without a window for records that no entry accounts for."""
    if outcome == Outcome.UNSUPPORTED:
        words = textwrap.shorten(failing[0].words or "not said", _REASON)
        return Expectation(outcome=outcome, reason=words, signature=pattern)
    return Expectation(outcome=outcome, defect=UNATTRIBUTED, signature=pattern)
