"""Which releases of a package exist: asked of the package index, and kept for a day."""

from __future__ import annotations

import json
import os
import time
from typing import TYPE_CHECKING

from harness.environment import cache_folder
from harness.errors import EnvironmentFailure
from harness.simple_index import list_releases

if TYPE_CHECKING:
    from collections.abc import Iterable

_KEPT_S = 24 * 3600
_PYTHONS = range(8, 16)


def known_releases(packages: Iterable[str], *, ask: bool = True) -> dict[str, tuple[str, ...]]:
    """Give the final releases of packages, ascending. A package that nobody can tell about is left out.

    ``python`` stands for its minor versions. Without ``ask``, only what was kept counts.
    """
    found = {}
    for package in packages:
        releases = (
            tuple(f"3.{minor}" for minor in _PYTHONS) if package == "python" else _kept_or_asked(package, ask=ask)
        )
        if releases:
            found[package] = releases
    return found


def _kept_or_asked(package: str, *, ask: bool) -> tuple[str, ...]:
    path = cache_folder() / "releases" / f"{package}.json"
    kept: tuple[str, ...] = tuple(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else ()
    if not ask or (kept and time.time() - path.stat().st_mtime < _KEPT_S):
        return kept
    asked = _ask(package)
    if asked:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(f".{os.getpid()}")
        partial.write_text(json.dumps(asked), encoding="utf-8")
        partial.replace(path)
    # An index that cannot be reached today does not take away what it said yesterday.
    return asked or kept


def _ask(package: str) -> tuple[str, ...]:
    try:
        return tuple(one.version for one in list_releases(package))
    except EnvironmentFailure:
        return ()
