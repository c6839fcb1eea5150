"""What a package index has that was not there before: the releases that are known are kept in a file of JSON.

The file maps each watched package to its versions, ascending, pre-releases among them::

    {"peft": ["0.21.1", "0.21.2"], "transformers": ["5.23.0", "5.24.0rc1"]}
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from packaging.version import InvalidVersion, Version

from harness.errors import InputError
from harness.paths import write_whole

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

WATCHED = ("peft", "transformers", "torch", "sentence-transformers", "accelerate")


@dataclass(frozen=True, kw_only=True)
class NewRelease:
    """A version of a package that was not known, and the newest known one below it ("" where there is none)."""

    package: str
    version: str
    before: str


def new_releases(known: Mapping[str, Sequence[str]], listed: Mapping[str, Sequence[str]]) -> tuple[NewRelease, ...]:
    """Return the newest release of each package that is listed and was not known, in the order of ``listed``.

    A package of which nothing was known is asked for the first time, and has nothing new. Before a final release stands
    a final one; before a pre-release whatever is below it.
    """
    found = []
    for package, versions in listed.items():
        there = set(map(Version, known.get(package, ())))
        fresh = {Version(one) for one in versions} - there
        if not there or not fresh:
            continue
        newest = max(fresh)
        below = [one for one in there if one < newest and (newest.is_prerelease or not one.is_prerelease)]
        found.append(
            NewRelease(package=package, version=str(newest), before=str(max(below, default="")) if below else "")
        )
    return tuple(found)


def newest_final(versions: Sequence[str]) -> str:
    """Return the newest version that is no pre-release; "" where there is none."""
    return str(max((one for one in map(Version, versions) if not one.is_prerelease), default=""))


def joined(known: Mapping[str, Sequence[str]], listed: Mapping[str, Sequence[str]]) -> dict[str, tuple[str, ...]]:
    """Return everything known by now, ascending: what an index does not list any more stays known."""
    return {
        package: tuple(map(str, sorted({Version(one) for some in (known, listed) for one in some.get(package, ())})))
        for package in {**known, **listed}
    }


def read_known(path: Path) -> dict[str, tuple[str, ...]]:
    """Read the file of known releases; nothing is known where there is none.

    Raises :class:`InputError` when the file holds something else.
    """
    if not path.is_file():
        return {}
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        known = {str(package): tuple(str(Version(one)) for one in versions) for package, versions in data.items()}
    except (ValueError, TypeError, AttributeError, InvalidVersion) as error:
        problem = f"no file of known releases: {error}; remove it, and what the index has now is known"
        raise InputError(str(path), problem) from None
    return known


def write_known(path: Path, known: Mapping[str, Sequence[str]]) -> None:
    """Write the file of known releases, whole or not at all."""
    write_whole(path, json.dumps({name: list(some) for name, some in known.items()}, indent=1) + "\n")
