"""An account in sentences, and as plain data for other programs (pure)."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

from harness.explain.account import conditions_of
from harness.explain.table import PASSED, names, word

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from harness.explain.account import Account, Group, Told
    from harness.explain.certainty import Bound
    from harness.explain.table import Axis, Label

WIDTH = 100
_KINDS = 3
_INDENT = " " * 9


def in_words(account: Account) -> list[str]:
    """Tell an account in lines of at most 100 columns, as long as no single word is longer."""
    spans = [
        f"{axis.package} {axis.versions[0]} to {axis.versions[-1]} ({len(axis.versions)})" for axis in account.axes
    ]
    lines = [f"{account.case}: {account.cells} cells", *_wrapped(", ".join(spans), "  ")]
    if account.shared:
        lines += ["", "every variant"]
        lines += _labels(account.shared, account.axes)
    for group in account.groups:
        lines += ["", *(line for name in names(group.table.variants) for line in _wrapped(name, ""))]
        counts = ", ".join(f"{_label(label)} in {count}" for label, count in group.counts())
        lines += _wrapped(f"{counts} of {len(group.table.labels)} cells", "  ")
        own = [told for told in group.told if not _is_shared(told, account)]
        lines += _labels(own, account.axes)
        if not group.proven:
            lines.append("  (exact, but too large to prove that fewer windows would not do)")
        if group.table.undecided:
            ids = ", ".join(group.table.cells[point].id for point in group.table.undecided[:3])
            lines += _wrapped(
                f"versions alone do not decide in {len(group.table.undecided)} cells, such as {ids}", "  "
            )
    return lines


def _is_shared(told: Told, account: Account) -> bool:
    return any(told.window == one.window for one in account.shared)


def _labels(told: Sequence[Told], axes: Sequence[Axis]) -> list[str]:
    lines = []
    by_label: dict[Label, list[Told]] = {}
    for one in told:
        by_label.setdefault(one.window.label, []).append(one)
    for label, windows in by_label.items():
        everywhere = len(windows) == 1 and not conditions_of(windows[0].window.box, axes)
        lines += _wrapped(_label(label) + (" everywhere" if everywhere else " if and only if"), "  ")
        for number, one in enumerate(windows):
            lines += _window(one, axes, first=number == 0)
    return lines


def _window(told: Told, axes: Sequence[Axis], *, first: bool) -> list[str]:
    condition = sentence(conditions_of(told.window.box, axes))
    head = f"{len(told.window.points):>6}   " if first else f"{len(told.window.points):>6}   or "
    lines = _wrapped(condition, head, _INDENT)
    if not told.window.label.kind:
        for kind, count in told.kinds[:_KINDS]:
            times = "" if len(told.kinds) == 1 else f"{count} x "
            lines.append(_cut(f"{_INDENT}{times}{kind}"))
        if len(told.kinds) > _KINDS:
            lines.append(f"{_INDENT}and of other kinds: {sum(count for _, count in told.kinds[_KINDS:])}")
    certain = [bound for bound in told.bounds if bound.certain]
    if certain:
        lines += _wrapped("certain: " + ", ".join(f"{b.package} {b.below} | {b.above}" for b in certain), _INDENT)
    for bound in told.bounds:
        if not bound.certain:
            lines += _wrapped(_open(bound), _INDENT)
    for hole in told.holes:
        rival = sentence(conditions_of(hole.alternative, axes))
        lines += _wrapped(f"or else: {rival}; would need one more cell to decide: {hole.cell.id}", _INDENT)
    return lines


def _open(bound: Bound) -> str:
    span = f"open: {bound.package} between {bound.below} and {bound.above}"
    if bound.cell is None:
        return f"{span}, releases between them not known"
    match len(bound.between or ()):
        case 0:
            why = "measured beside different versions of the others"
        case 1:
            why = "1 release between"
        case count:
            why = f"{count} releases between"
    return f"{span}, {why}; would need one more cell to decide: {bound.cell.id}"


def sentence(where: dict[str, str]) -> str:
    """Write conditions as words: ``peft >= 0.12.0 and < 0.14.0, and transformers >= 5.1.0``."""
    parts = []
    for package, specifier in where.items():
        ends = [end.replace(">=", ">= ").replace("<", "< ") for end in specifier.split(",")]
        parts.append(f"{package} {' and '.join(ends)}")
    return ", and ".join(parts) if parts else "in every measured cell"


def _label(label: Label) -> str:
    return f"{label.outcome} ({label.kind})" if label.kind else label.outcome


def _wrapped(text: str, indent: str, later: str | None = None) -> list[str]:
    return textwrap.wrap(
        text,
        WIDTH,
        initial_indent=indent,
        subsequent_indent=(" " * len(indent) if later is None else later) + ("  " if later is None else ""),
        break_long_words=False,
        break_on_hyphens=False,
    )


def _cut(line: str) -> str:
    return line if len(line) <= WIDTH else f"{line[: WIDTH - 4]} ..."


def command_line(command: str) -> str:
    """Show a command to copy, in lines of at most 100 columns where its words allow that."""
    lines = textwrap.wrap(command, WIDTH - 6, break_long_words=False, break_on_hyphens=False)
    return " \\\n".join(f"{'  ' if number == 0 else '      '}{line}" for number, line in enumerate(lines))


def as_data(account: Account) -> dict[str, Any]:
    """Return an account as plain data: windows as specifiers, counts, ends, and the cells that would decide."""
    return {
        "case": account.case,
        "cells": account.cells,
        "axes": {axis.package: list(axis.versions) for axis in account.axes},
        "groups": [_group_data(group, account) for group in account.groups],
    }


def _group_data(group: Group, account: Account) -> dict[str, Any]:
    return {
        "variants": [dict(variant) for variant in group.table.variants],
        "select": [word(account.case, variant) for variant in group.table.variants],
        "cells": len(group.table.labels),
        "counts": [{**_label_data(label), "cells": count} for label, count in group.counts()],
        "otherwise": PASSED.outcome,
        "proven_smallest": group.proven,
        "not_decided_by_versions": [group.table.cells[point].id for point in group.table.undecided],
        "windows": [_window_data(told, group) for told in group.told],
    }


def _label_data(label: Label) -> dict[str, str]:
    return {"outcome": label.outcome, **({"kind": label.kind} if label.kind else {})}


def _window_data(told: Told, group: Group) -> dict[str, Any]:
    return {
        **_label_data(told.window.label),
        "where": conditions_of(told.window.box, group.table.axes),
        "cells": [group.table.cells[point].id for point in told.window.points],
        "kinds": [{"kind": kind, "cells": count} for kind, count in told.kinds],
        "bounds": [
            {
                "package": bound.package,
                "below": bound.below,
                "above": bound.above,
                "certain": bound.certain,
                "alike": bound.alike,
                "between": None if bound.between is None else list(bound.between),
                "next_cell": bound.cell.id if bound.cell else None,
            }
            for bound in told.bounds
        ],
        "alternatives": [
            {"where": conditions_of(hole.alternative, group.table.axes), "next_cell": hole.cell.id}
            for hole in told.holes
        ],
    }


def count_open(account: Account) -> tuple[int, int]:
    """Count the bounds that are certain, and all of them; a window that groups share counts once."""
    bounds = [bound for told in _distinct(account) for bound in told.bounds]
    return sum(bound.certain for bound in bounds), len(bounds)


def _distinct(account: Account) -> Iterable[Told]:
    yield from account.shared
    for group in account.groups:
        yield from (told for told in group.told if not _is_shared(told, account))
