"""Filters that a person types: ``method=prefix_tuning,peft>=0.12,<0.14`` (pure)."""

from __future__ import annotations

import fnmatch
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from packaging.specifiers import InvalidSpecifier, SpecifierSet

from harness.contracts.record import StateRecord
from harness.errors import UsageError
from harness.judge.verdicts import covers
from harness.packages import PACKAGES
from harness.selectors import nearest

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from harness.contracts.record import CellFacts, Record

_WORD = re.compile(r"^\s*([\w-]*?)\s*(~=|===?|!=|<=|>=|<|>|=)\s*(.+?)\s*$")
_VERSIONED = (*PACKAGES, "python")

NEWEST = "newest"
"""In place of a specifier: the newest release that was measured."""


@dataclass(frozen=True, kw_only=True)
class Where:
    """Bounds on versions and patterns for the axes of variants; all of them have to hold.

    ``versions`` maps packages to specifiers, ``axes`` maps an axis to patterns of which one has to fit.
    """

    versions: Mapping[str, str] = field(default_factory=dict)
    axes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def in_bounds(self, cell: CellFacts) -> bool:
        """Return whether the versions of a cell are within the bounds."""
        return covers(self.versions, {}, cell.versions, {})

    def fits(self, variant: Mapping[str, str]) -> bool:
        """Return whether a variant is one of those that are asked for."""
        return all(
            any(fnmatch.fnmatch(variant.get(axis, ""), pattern) for pattern in patterns)
            for axis, patterns in self.axes.items()
        )

    def select(self, records: Iterable[Record]) -> list[Record]:
        """Return the records within the bounds; a cell's state concerns every variant."""
        return [
            one
            for one in records
            if self.in_bounds(one.cell) and (isinstance(one, StateRecord) or self.fits(one.variant))
        ]


def parse_where(text: str, axes: Collection[str]) -> Where:
    """Read conditions joined by commas: ``AXIS=PATTERN``, ``AXIS=A|B``, or a package with a specifier.

    A bound without a name belongs to the package before it. ``axes`` are the axes that variants
    have. Raises :class:`UsageError` naming what is not understood.
    """
    versions: dict[str, list[str]] = {}
    patterns: dict[str, tuple[str, ...]] = {}
    before = ""
    for word in filter(str.strip, text.split(",")):
        found = _WORD.match(word)
        if found is None:
            message = f"{word.strip()!r} is no condition; write AXIS=VALUE or PACKAGE>=VERSION, with commas between"
            raise UsageError(message)
        name, operator, value = found[1] or before, found[2], found[3]
        if name in _VERSIONED:
            versions.setdefault(name, []).append(exactly(value) if operator == "=" else operator + value)
        elif name in axes and operator in {"=", "=="}:
            patterns[name] = (*patterns.get(name, ()), *value.split("|"))
        elif name in axes:
            message = f"{word.strip()!r}: the axis {name} takes {name}=VALUE, with * and ? in it"
            raise UsageError(message)
        else:
            message = f"no axis or package {name!r} in {text!r}; {nearest(name, sorted({*axes, *_VERSIONED}))}"
            raise UsageError(message)
        before = name if name in _VERSIONED else ""
    return Where(versions={name: specifier(name, ",".join(ends)) for name, ends in versions.items()}, axes=patterns)


def specifier(package: str, text: str) -> str:
    """Check a specifier such as ``>=0.12,<0.14``; a bare ``0.13.0`` means that release, and ``0.13`` the whole minor.

    Raises :class:`UsageError` when it is none.
    """
    wanted = exactly(text.strip()) if re.match(r"\s*\d", text) else text
    try:
        return str(SpecifierSet(wanted, prereleases=True))
    except InvalidSpecifier:
        message = f"{package}: {text!r} is not a specifier such as '>=0.12,<0.14' or '0.13'"
        raise UsageError(message) from None


def exactly(version: str) -> str:
    """Return the specifier for a version as a person types it: a release, or all releases of a minor or major."""
    return f"=={version}.*" if re.fullmatch(r"\d+(\.\d+)?", version) else f"=={version}"
