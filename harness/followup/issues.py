"""Which issues of a tracker a night opens, updates, reopens and closes (pure).

An issue carries its cause in its first line, an HTML comment with JSON in it: an id, the places (case and variant)
that were seen to fail, and the cells in which they did. A cause is recognised by its id, or else by its places: a
night that measured less, or a new release, may name the same cause in other words.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from harness.interface import variant_id
from harness.judge.verdicts import Verdict

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from harness.judge.causes import Group
    from harness.judge.verdicts import Judged

_MARK = re.compile(r"\A<!-- prompt-bench (\{.*?\}) -->\n", re.DOTALL)
_MOST_PLACES = 200
"""Places that are written into an issue: its text may have 65,536 characters."""


@dataclass(frozen=True, kw_only=True)
class Cause:
    """A cause that is to be told; ``places`` are what fails of it as ``CASE:VARIANT``, ``cells`` where it does."""

    id: str
    places: tuple[str, ...]
    cells: tuple[str, ...]
    title: str
    text: str

    @property
    def body(self) -> str:
        """Return the text of an issue, with the mark by which the next night knows it."""
        mark = json.dumps({"cause": self.id, "places": self.places[:_MOST_PLACES], "cells": self.cells})
        # Two hyphens and a bracket would end the comment.
        return f"<!-- prompt-bench {mark.replace('-->', '--')} -->\n{self.text}"


@dataclass(frozen=True, kw_only=True)
class Mark:
    """What an issue says to the next night: the cause's id, the places that failed, and the cells in which they did."""

    cause: str
    places: frozenset[str]
    cells: frozenset[str]


@dataclass(frozen=True, kw_only=True)
class Issue:
    """An issue of the tracker. ``is_ours`` says whether the account that asks has written it."""

    number: int
    body: str
    is_open: bool
    is_ours: bool = True

    @property
    def mark(self) -> Mark | None:
        """Return what the issue is about; None for an issue of somebody else, or without a mark that can be read."""
        found = _MARK.match(self.body.replace("\r\n", "\n")) if self.is_ours else None
        try:
            data = json.loads(found.group(1)) if found else None
        except ValueError:
            return None
        match data:
            case {"cause": str(cause), "places": list(places), "cells": list(cells)}:
                return Mark(cause=cause, places=_texts(places), cells=_texts(cells))
        return None


@dataclass(frozen=True, kw_only=True)
class Action:
    """What is to be done with one issue; ``number`` is None for one that is to be made."""

    kind: Literal["create", "update", "reopen", "close"]
    number: int | None
    title: str = ""
    body: str = ""
    comment: str = ""
    places: tuple[str, ...] = field(default=(), compare=False)


def cause_id(group: Group) -> str:
    """Return a name for a cause that is the same on each night: of the step at which it begins, and its mechanism."""
    return hashlib.sha256(f"{group.step}\n{group.mechanism}".encode()).hexdigest()[:12]


def place_of(one: Judged) -> str:
    """Return ``CASE:VARIANT``, which a case expression understands."""
    return f"{one.case}:{variant_id(one.variant)}"


def places_of(group: Group) -> tuple[str, ...]:
    """Return the places of a group, each once, the representative's first."""
    first = place_of(group.representative)
    return (first, *sorted({place_of(one) for one in group.members} - {first}))


def decide(issues: Sequence[Issue], causes: Iterable[Cause], judged: Iterable[Judged], night: str) -> list[Action]:
    """Say what is to be done so that each cause has exactly one open issue, and what is green again none.

    An open issue without a cause tonight is closed only when its places were measured, in the cells in which they
    failed, and are as expected: what a lost shard did not measure says nothing. Where those cells are not asked any
    more, because newer releases are, all cells that were measured count. ``night`` is the run, named in comments.
    """
    left = {issue.number: (issue, issue.mark) for issue in issues if issue.mark is not None}
    actions: list[Action] = []
    for cause in causes:
        match = _match(cause, left.values())
        if match is None:
            actions.append(Action(kind="create", number=None, title=cause.title, body=cause.body, places=cause.places))
            continue
        del left[match.number]
        actions.append(
            Action(
                kind="update" if match.is_open else "reopen",
                number=match.number,
                title=cause.title,
                body=cause.body,
                comment="" if match.is_open else f"It fails again in the night `{night}`.",
                places=cause.places,
            )
        )
    results = list(judged)
    for issue, mark in left.values():
        told = [one for one in actions if one.kind != "close" and mark.places & set(one.places)]
        if issue.is_open and told:
            # Two nights that saw other parts of one cause took it for two.
            actions.append(Action(kind="close", number=issue.number, comment=f"The same as #{told[0].number}."))
        elif issue.is_open and (count := _green(mark, results)):
            words = f"As expected again in the night `{night}`: {count} results."
            actions.append(Action(kind="close", number=issue.number, comment=words))
    return actions


def _match(cause: Cause, issues: Iterable[tuple[Issue, Mark]]) -> Issue | None:
    """Find the issue of a cause: by id, else the one that shares the most places; open ones before closed ones."""
    best: tuple[tuple[bool, bool, int, int], Issue] | None = None
    for issue, mark in issues:
        shared = len(mark.places & set(cause.places))
        if mark.cause != cause.id and not shared:
            continue
        rank = (mark.cause == cause.id, issue.is_open, shared, -issue.number)
        if best is None or rank > best[0]:
            best = (rank, issue)
    return best[1] if best else None


def _green(mark: Mark, judged: Sequence[Judged]) -> int:
    """Count the results that show that nothing of an issue fails any more; 0 where one fails or was not measured."""
    asked = [one for one in judged if place_of(one) in mark.places]
    there = [one for one in asked if one.cell in mark.cells]
    if not there:
        measured = {one.cell for one in asked if _is_measured(one)}
        there = [one for one in asked if one.cell in measured]
    return len(there) if all(_is_measured(one) and not one.needs_a_person for one in there) else 0


def _is_measured(one: Judged) -> bool:
    return one.record is not None and one.verdict is not Verdict.UNKNOWN


def _texts(values: Iterable[object]) -> frozenset[str]:
    return frozenset(value for value in values if isinstance(value, str))
