"""The proposed edits of all case files, as one diff."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

from harness.errors import CaseError
from harness.paths import ROOT
from harness.propose.drafts import Inseparable
from harness.propose.edit import propose

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from harness.catalogue import Case
    from harness.records import Record


def proposed(case: Case, source: str, records: Iterable[Record]) -> str:
    """Give the proposed source. Raises :class:`CaseError` when no windows of versions can say it."""
    try:
        return propose(case, source, records)
    except Inseparable as error:
        name = case.path.name
        message = f"{name}: {error}; measure them again: python -m harness run MATRIX --fresh --case {case.name}"
        raise CaseError(message) from None


def proposed_diff(cases: Sequence[Case], records: Sequence[Record]) -> str:
    """Give a diff that `git apply` takes, empty when no window has to change. Raises :class:`CaseError`."""
    return "".join(diff_of(case, proposed(case, case.path.read_text(encoding="utf-8"), records)) for case in cases)


def diff_of(case: Case, after: str) -> str:
    """Give the diff from a case file as it is to another source."""
    before = case.path.read_text(encoding="utf-8")
    name = case.path.relative_to(ROOT).as_posix() if case.path.is_relative_to(ROOT) else case.path.name
    lines = difflib.unified_diff(
        before.splitlines(keepends=True), after.splitlines(keepends=True), f"a/{name}", f"b/{name}"
    )
    return "".join(lines)
