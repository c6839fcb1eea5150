"""Which releases of a package exist: asked of pip, which knows the indexes configured here, and kept for a day."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import time
from typing import TYPE_CHECKING

from packaging.version import InvalidVersion, Version

from harness.environment import cache_folder

if TYPE_CHECKING:
    from collections.abc import Iterable

_KEPT_S = 24 * 3600
_PATIENCE_S = 60
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


def parse_releases(text: str) -> tuple[str, ...]:
    """Read the line ``Available versions: 0.2.0, 0.1.0`` of ``pip index versions``, without pre-releases."""
    line = re.search(r"^Available versions: (.*)$", text, re.MULTILINE)
    versions = []
    for word in line[1].split(",") if line else ():
        try:
            versions.append(Version(word.strip()))
        except InvalidVersion:
            continue
    final = {Version(version.public) for version in versions if not version.is_prerelease}
    return tuple(str(version) for version in sorted(final))


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
    command = [sys.executable, "-m", "pip"] if importlib.util.find_spec("pip") else [shutil.which("pip") or ""]
    if not command[0]:
        return ()
    environ = {**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    if index := os.environ.get("UV_DEFAULT_INDEX"):
        environ.setdefault("PIP_INDEX_URL", index)
    question = [*command, "index", "versions", package, "--retries", "1", "--timeout", "15"]
    try:
        done = subprocess.run(  # noqa: S603 - pip, with a package's name
            question, capture_output=True, text=True, check=False, env=environ, timeout=_PATIENCE_S
        )
    except subprocess.TimeoutExpired:
        return ()
    return parse_releases(done.stdout) if done.returncode == 0 else ()
