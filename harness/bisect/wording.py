"""Words (pure): what a search came to, in sentences."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from harness.bisect.releases import OTHERWISE
from harness.bisect.search import Answer, Change, Find
from harness.bisect.symptom import shown

if TYPE_CHECKING:
    from harness.bisect.releases import Found

_SHOWN = 160
_LISTED = 6
_KINDS = {str(Answer.BAD): "Another break", str(Answer.GOOD): "Another fix"}


def short(text: str, limit: int = _SHOWN) -> str:
    """Cut a text to ``limit`` characters."""
    return text if len(text) <= limit else text[: limit - 3] + "..."


def headline(found: Found) -> str:
    """Return the answer of one axis in one sentence."""
    package, change = found.axis.package, found.finding.change
    if change is None:
        return _refusal(found)
    name = f"{package} {_version(found, change.right)}"
    if _fails_otherwise(found, change.right):
        return _change(found, change, f"{name} is the first release without this failure")
    return _change(found, change, f"{name} is the {found.ends.find} release")


def details(found: Found) -> list[str]:
    """List what else has to be said: what is open, other changes, flaky answers, what came along."""
    finding, change, package = found.finding, found.finding.change, found.axis.package
    lines = [f"Bad is: {found.rule.describe()}"] if found.rule else []
    if change is not None:
        lines += [
            f"{package} {_version(found, end)} does not show it but fails otherwise: {_shown(found, end)}"
            for end in (change.left, change.right)
            if _fails_otherwise(found, end)
        ]
        if lines[1:]:
            lines.append("Where failing itself began or ended is what --any-failure asks for.")
        if change.between:
            lines.append(_open(found, change))
    lines += _other_changes(found)
    lines += _other_failures(found)
    lines += [f"Flaky, settled by a quorum: {package} {_version(found, index)}" for index in finding.flaky]
    if found.came_along:
        moved = ", ".join(f"{name} {old} -> {new}" for name, (old, new) in found.came_along.items())
        lines.append(f"Came along with it (the two locks differ in more than {package}): {moved}")
    elif change is not None:
        lines.append(f"Nothing but {package} differs between the two locks.")
    asked = f"{finding.probes} releases asked of {found.ends.high - found.ends.low + 1}, {finding.repeats} repeats"
    lines.append(f"{asked}, {finding.skips} skips; ends {found.ends_from}.")
    return lines


def boundary(found: Found) -> str | None:
    """Say where the bad side of an axis begins: ``>= 4.48.0`` or ``< 0.14.0``; None without an answer."""
    change = found.finding.change
    if change is None:
        return None
    sign = ">=" if found.ends.find is Find.FIRST_BAD else "<"
    return f"{sign} {_version(found, change.right)}"


def _refusal(found: Found) -> str:
    index, answer = found.finding.refused or (found.ends.low, Answer.SKIP)
    end = "old" if index == found.ends.low else "new"
    wanted = found.ends.find.old if end == "old" else found.ends.find.new
    name = f"{found.axis.package} {_version(found, index)}"
    state = OTHERWISE if found.standing(index) == OTHERWISE else f"is {answer}"
    return f"{name} should be {wanted} but {state} ({_shown(found, index)}); choose another --{wanted}"


def _change(found: Found, change: Change, plain: str) -> str:
    left, right = _version(found, change.left), _version(found, change.right)
    states = ", ".join(
        _stands(found, version, index) for version, index in ((left, change.left), (right, change.right))
    )
    if not change.between:
        return f"{plain}: {states}"
    return f"{found.ends.find} release: one of {_version(found, change.left + 1)} to {right} ({states})"


def _open(found: Found, change: Change) -> str:
    asked = [index for index in change.between if index in found.records]
    unasked = len(change.between) - len(asked)
    told = "; ".join(f"{_version(found, index)} ({_shown(found, index)})" for index in asked[:_LISTED])
    more = f" and {len(asked) - _LISTED} more" if len(asked) > _LISTED else ""
    left = f"; {unasked} more were not asked" if unasked else ""
    return f"Could not be answered, so the change may lie in any of them: {told}{more}{left}"


def _other_failures(found: Found) -> list[str]:
    """Name what fails in another way, away from the change: the symptom could hide behind it."""
    change = found.finding.change
    ends = {change.left, change.right} if change else set()
    groups: dict[str, list[str]] = {}
    for index in sorted(found.records):
        if index not in ends and found.ends.low <= index <= found.ends.high and _fails_otherwise(found, index):
            groups.setdefault(_shown(found, index), []).append(_version(found, index))
    return [f"Fails otherwise, and counts as without it: {', '.join(them)} ({words})" for words, them in groups.items()]


def _fails_otherwise(found: Found, index: int) -> bool:
    return found.standing(index) == OTHERWISE


def _stands(found: Found, version: str, index: int) -> str:
    standing = found.standing(index)
    return f"{version} {standing if standing == OTHERWISE else f'is {standing}'}"


def _other_changes(found: Found) -> list[str]:
    """Tell of other changes that are known, from new to old: measured here, or in the published records."""
    change, records = found.finding.change, {**found.published, **found.records}
    standings = {index: found.standing(index) for index in sorted(records)}
    answered = [index for index, standing in standings.items() if standing != Answer.SKIP]
    others = [
        (left, right)
        for left, right in pairwise(answered)
        if standings[left] != standings[right] and (change is None or right <= change.left or left >= change.right)
    ]
    lines = []
    for left, right in reversed(others[-_LISTED:]):
        source = "" if {left, right} <= found.records.keys() else ", by the published records"
        narrowed = "" if right == left + 1 else ", not narrowed down"
        states = ", ".join(
            f"{_stands(found, _version(found, one), one)} ({_shown(found, one)})" for one in (left, right)
        )
        lines.append(f"{_KINDS.get(standings[right], 'Another failure')} is known: {states}{narrowed}{source}")
    return lines


def _shown(found: Found, index: int) -> str:
    record = found.records.get(index) or found.published.get(index)
    return short(shown(record)) if record else "not asked"


def _version(found: Found, index: int) -> str:
    return found.axis.releases[index].version
