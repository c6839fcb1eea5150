"""Words (pure): what a search came to, in sentences."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.bisect.search import Answer, Change, Find
from harness.bisect.symptom import fails, shown

if TYPE_CHECKING:
    from harness.bisect.releases import Found

_SHOWN = 160
_LISTED = 6


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
    for one in finding.others:
        word = "Another break" if one.becomes is Answer.BAD else "Another fix"
        narrowed = "" if _is_asked(found, one) else ", not narrowed down"
        left, right = _version(found, one.left), _version(found, one.right)
        lines.append(
            f"{word} was seen: {left} is {_state(found, one.left)}, {right} is {_state(found, one.right)}{narrowed}"
        )
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
    return f"{name} should be {wanted} but is {answer} ({_shown(found, index)}); choose another --{wanted}"


def _change(found: Found, change: Change, plain: str) -> str:
    left, right = _version(found, change.left), _version(found, change.right)
    states = ", ".join(
        f"{version} {'fails otherwise' if _fails_otherwise(found, index) else f'is {found.answer(index)}'}"
        for version, index in ((left, change.left), (right, change.right))
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
    return found.answer(index) is Answer.GOOD and fails(found.records[index])


def _is_asked(found: Found, change: Change) -> bool:
    return all(index in found.records for index in change.between)


def _state(found: Found, index: int) -> str:
    return f"{found.answer(index)} ({_shown(found, index)})"


def _shown(found: Found, index: int) -> str:
    return short(shown(found.records[index])) if index in found.records else "not asked"


def _version(found: Found, index: int) -> str:
    return found.axis.releases[index].version
