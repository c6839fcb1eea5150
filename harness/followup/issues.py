"""Which issues of a tracker a night opens, updates, reopens and closes (pure).

An issue carries its cause in its first line, an HTML comment with JSON in it: an id, and the places (case and variant)
that were seen to fail. A cause is recognised by its id, or else by its places: a night that measured less, or a new
release, may name the same cause in other words.
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
    """A cause that is to be told: its id, the places that fail of it (``CASE:VARIANT``), the title and the text."""

    id: str
    places: tuple[str, ...]
    title: str
    text: str

    @property
    def body(self) -> str:
        """Return the text of an issue, with the mark by which the next night knows it."""
        mark = json.dumps({"cause": self.id, "places": self.places[:_MOST_PLACES]})
        # Two hyphens and a bracket would end the comment.
        return f"<!-- prompt-bench {mark.replace('-->', '--')} -->\n{self.text}"


@dataclass(frozen=True, kw_only=True)
class Issue:
    """An issue of the tracker. ``is_ours`` says whether the account that asks has written it."""

    number: int
    body: str
    is_open: bool
    is_ours: bool = True

    @property
    def mark(self) -> tuple[str, frozenset[str]] | None:
        """Return the cause's id and places; None for an issue of somebody else, or without a mark that can be read."""
        found = _MARK.match(self.body.replace("\r\n", "\n")) if self.is_ours else None
        try:
            data = json.loads(found.group(1)) if found else None
        except ValueError:
            return None
        match data:
            case {"cause": str(cause), "places": list(places)}:
                return cause, frozenset(place for place in places if isinstance(place, str))
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

    An open issue without a cause tonight is closed only when its places were measured and are as expected: what a
    lost shard did not measure says nothing. ``night`` is the run, named in comments.
    """
    left = {issue.number: issue for issue in issues if issue.mark is not None}
    actions: list[Action] = []
    for cause in causes:
        match = _match(cause, left.values())
        if match is None:
            actions.append(Action(kind="create", number=None, title=cause.title, body=cause.body, places=cause.places))
            continue
        del left[match.number]
        again = "" if match.is_open else f"It fails again in the night `{night}`."
        actions.append(
            Action(
                kind="update" if match.is_open else "reopen",
                number=match.number,
                title=cause.title,
                body=cause.body,
                comment=again,
                places=cause.places,
            )
        )
    green, red = _green(judged)
    for issue in left.values():
        _, places = issue.mark or ("", frozenset())
        told = [one for one in actions if one.kind != "close" and places & set(one.places)]
        if issue.is_open and told:
            # Two nights that saw other parts of one cause took it for two.
            actions.append(Action(kind="close", number=issue.number, comment=f"The same as #{told[0].number}."))
        elif issue.is_open and places & green and not places & red:
            words = f"As expected again in the night `{night}`: {len(places & green)} of its variants were measured."
            actions.append(Action(kind="close", number=issue.number, comment=words))
    return actions


def _match(cause: Cause, issues: Iterable[Issue]) -> Issue | None:
    """Find the issue of a cause: by id, else the one that shares the most places; open ones before closed ones."""
    best: tuple[tuple[bool, bool, int, int], Issue] | None = None
    for issue in issues:
        name, places = issue.mark or ("", frozenset())
        shared = len(places & set(cause.places))
        if name != cause.id and not shared:
            continue
        rank = (name == cause.id, issue.is_open, shared, -issue.number)
        if best is None or rank > best[0]:
            best = (rank, issue)
    return best[1] if best else None


def _green(judged: Iterable[Judged]) -> tuple[frozenset[str], frozenset[str]]:
    """Return the places that were measured and are as expected in every cell, and those that need a person in one."""
    green, red = set[str](), set[str]()
    for one in judged:
        if one.record is None or one.verdict is Verdict.UNKNOWN:
            continue
        (red if one.needs_a_person else green).add(place_of(one))
    return frozenset(green - red), frozenset(red)
