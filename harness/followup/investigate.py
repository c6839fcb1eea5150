"""Find out about a cause before it is told: measure it again, bisect it, write the short script; within a time budget.

The budget is of the whole night. What there was no time for is said in the issue, with the command that asks it.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from harness.bisect.bisection import Options, find
from harness.bisect.report import commit_lines
from harness.bisect.wording import headline
from harness.contracts.record import FAILED
from harness.contracts.records import read_run, variants_in
from harness.environments.build import InstallFailed
from harness.environments.resolve import Lock
from harness.errors import HarnessError
from harness.followup.findings import Finding
from harness.interface import variant_id
from harness.judge.windows import declared
from harness.matrix.plan import Selection, find_cell
from harness.packages import TOLD_PACKAGES
from harness.repro.choose import lock_of
from harness.repro.script import script
from harness.repro.verify import verified_here
from harness.run.pipeline import How, run_matrix
from harness.run.runs import new_run

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from harness.judge.causes import Group
    from harness.judge.verdicts import Judged
    from harness.matrix.cases import Case
    from harness.matrix.spec import Cell, Matrix

    Say = Callable[[str], None]


_MOST_TRIED = 2
"""Members of a cause whose short form is tried; each takes about half a minute."""


class _TimeIsUp(Exception):
    """The budget of the night is spent."""


@dataclass(frozen=True, kw_only=True)
class Investigation:
    """How a night's causes are looked into.

    ``locks`` are the pins of the night's cells; ``clones`` maps packages to clones in which commits are searched;
    ``budget_s`` is the wall time of all bisects and scripts together, from ``begun`` on.
    """

    matrix: Matrix
    cases: tuple[Case, ...]
    locks: Mapping[str, Sequence[str]]
    clones: Mapping[str, str]
    budget_s: float
    say: Say
    begun: float = field(default_factory=time.monotonic)

    def is_confirmed(self, group: Group, run: str) -> bool:
        """Measure the representative of a cause again in its cell; return whether it fails again, or cannot be asked.

        A night on which it cannot be asked says nothing against it.
        """
        first = group.representative
        if first.record is None:
            return True
        again = new_run(f"again-{run}")
        selection = Selection(case=_place(first), cells=(first.cell,), device=first.variant["device"])
        # The very lock of the night: what floats may have moved since.
        locks = {self._cell(first): self._lock(first)} if first.cell in self.locks else {}
        run_matrix(self.matrix, self.cases, selection, again, How(fresh=True, jobs=1, locks=locks))
        outcomes = {one.outcome for one in variants_in(read_run(again.folder)) if one.variant == dict(first.variant)}
        return not outcomes or bool(outcomes & FAILED)

    def finding(self, group: Group) -> Finding:
        """Bisect a cause and write its short script; what there is no time or no way for is said."""
        found = self._script(group, Finding())
        return self._bisected(group, found)

    def _bisected(self, group: Group, found: Finding) -> Finding:
        first, ends = group.representative, group.first_bad
        if ends is None or first.record is None:
            why = "which release it begins with: no neighbour was measured in which one package alone differs"
            return replace(found, unknown=(*found.unknown, why))
        if any(name in first.record.cell.sources for name in TOLD_PACKAGES):
            why = "which release it begins with: the cell has a source that is no release"
            return replace(found, unknown=(*found.unknown, why))
        packages = first.record.cell.packages
        options = Options(
            case=_place(first), axis=ends.package, good=ends.good, bad=ends.bad,
            python=".".join(first.record.cell.python.split(".")[:2]),
            pins={
                name: packages[name].partition("+")[0]
                for name in TOLD_PACKAGES
                if name in packages and name != ends.package
            },
            repo=self.clones.get(ends.package), device=first.variant["device"],
        )  # fmt: skip
        try:
            result = find(options, self._tell)
        except _TimeIsUp:
            return replace(found, unknown=(*found.unknown, "the bisect: the time of the night was spent"))
        except HarnessError as error:
            return replace(found, unknown=(*found.unknown, f"the bisect: {error}"))
        # An end that fails of another cause is no answer; the measured neighbours are all there is.
        answered = [one for one in result.axes if one.finding.change is not None]
        unknown = [*found.unknown, *result.refusals]
        unknown += [f"the bisect: {headline(one)}" for one in result.axes if one not in answered]
        if result.commit is None and ends.package not in self.clones:
            unknown.append(f"the commit: give a clone with --clone {ends.package}=PATH")
        return replace(
            found,
            begins=tuple(headline(one) for one in answered),
            commits=tuple(commit_lines(result.commit)) if result.commit else (),
            unknown=tuple(unknown),
        )

    def _script(self, group: Group, found: Finding) -> Finding:
        """Add the short script of the first member that has one: the representative, else one of another family."""
        by_model = {one.variant.get("model", ""): one for one in reversed(group.members) if one.record is not None}
        first = group.representative
        others = [one for model, one in by_model.items() if model != first.variant.get("model", "")]
        why = ""
        for one in [first, *others][:_MOST_TRIED]:
            if self._is_late():
                why = why or "the time of the night was spent"
                break
            text, reason = self._short(one)
            if text:
                return replace(found, script=text)
            why = why or reason
        return replace(found, unknown=(*found.unknown, f"a short script: {why}"))

    def _short(self, one: Judged) -> tuple[str, str]:
        """Return a short script that shows in the cell of a failure what it shows, or "" and why there is none."""
        case = next((case for case in self.cases if case.name == one.case), None)
        if case is None or one.record is None:
            return "", "nothing was measured"
        try:
            lock, python = self._lock(one), self._cell(one).python
            short = verified_here(case, one.variant, lock, python, whole=script(case, one.variant, lock, python))
        except (HarnessError, InstallFailed) as error:
            return "", str(error)
        return short.text or "", short.why

    def _cell(self, one: Judged) -> Cell:
        return find_cell(self.matrix, one.cell)

    def _lock(self, one: Judged) -> Lock:
        pins = self.locks.get(one.cell)
        return Lock(pins=tuple(pins)) if pins else lock_of(self.matrix, self._cell(one))

    def _is_late(self) -> bool:
        return time.monotonic() - self.begun > self.budget_s

    def _tell(self, words: str) -> None:
        """Say a step of a bisect, and end it when the time is spent: what it asked is kept in its journal."""
        self.say(words)
        if self._is_late():
            raise _TimeIsUp


def _place(one: Judged) -> str:
    return f"{one.case}:{variant_id(declared(one.variant))}"
