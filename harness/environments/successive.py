"""Install a commit from one that is installed: what lies between them is written anew, and the rest is linked.

A wheel of pure Python has the files of ``src/NAME`` as they are, and metadata that follow from the files at the top of
the repository (``pyproject.toml``, ``setup.py``, ``README.md``). So between two commits that differ in Python files of
the package alone, the wheel differs in those files alone, and nothing has to be built. Everything else is left to uv.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tarfile
from io import BytesIO
from operator import itemgetter
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from harness.environments.resolve import name_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_PIN = re.compile(r"\S+ @ git\+file://(?P<path>/[^@#]*)@(?P<sha>[0-9a-f]{40})")
_ORIGIN = "direct_url.json"
"""Where an installation says which commit it is of (packaging.python.org, direct URL origin)."""

_TRIES = 4
"""How many of the commits that were used last are held against a new one."""


def install_from_neighbour(folder: Path, pin: str) -> bool:
    """Install a commit of a clone on this machine into ``folder`` from one that is installed beside it.

    Returns False, with nothing written, where no installed commit differs from it in Python files of the package alone.
    """
    found = _PIN.fullmatch(pin)
    if found is None:
        return False
    repository, sha, package = Path(unquote(found["path"])), found["sha"], name_of(pin)
    for neighbour, facts in _installed(folder, f"file://{found['path']}", package):
        changes = _changes(repository, facts["vcs_info"]["commit_id"], sha, package)
        if changes is None:
            continue
        try:
            _link(neighbour, folder)
            _write(repository, sha, changes, folder)
            facts["vcs_info"] |= {"commit_id": sha, "requested_revision": sha}
            _replace(next(folder.glob(f"*.dist-info/{_ORIGIN}")), json.dumps(facts).encode())
        except OSError:
            # Another process made room, and has removed it; or links are not to be had here.
            shutil.rmtree(folder, ignore_errors=True)
            continue
        return True
    return False


def _installed(folder: Path, url: str, package: str) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Yield whole installations of commits of a clone, the one that was used last first, with what pip notes of each.

    Only wheels of pure Python, which are the same for every interpreter.
    """
    found = []
    for path in folder.parent.glob(f"{package}-*/*.dist-info/{_ORIGIN}"):
        marker, facts = path.parents[1] / "complete.json", json.loads(path.read_text(encoding="utf-8"))
        pure = "Tag: py3-none-any" in path.with_name("WHEEL").read_text(encoding="utf-8")
        if facts["url"] == url and pure and marker.is_file():
            found.append((marker.stat().st_mtime, path.parents[1], facts))
    for _, neighbour, facts in sorted(found, key=itemgetter(0), reverse=True)[:_TRIES]:
        yield neighbour, facts


def _changes(repository: Path, old: str, new: str, package: str) -> dict[str, str] | None:
    """Return the state (A, M, D) of each file of the package that differs; None where more than that would change."""
    try:
        text = _git(repository, "diff", "--no-renames", "--name-status", "-z", old, new).decode()
    except (subprocess.CalledProcessError, UnicodeDecodeError):
        return None
    words = text.split("\0")[:-1]
    changes = dict(zip(words[1::2], words[::2], strict=True))
    inside = f"src/{package}/"
    own = {path: state for path, state in changes.items() if path.startswith("src/")}
    if any("/" not in path for path in changes) or not all(map({"A", "M", "D"}.__contains__, own.values())):
        return None
    if not all(path.startswith(inside) and path.endswith(".py") for path in own):
        return None
    # A folder without an __init__.py is no package, and is left out of a wheel or not as its build decides.
    folders = {str(PurePosixPath(path).parent) for path, state in own.items() if state != "M"}
    there = set(_git(repository, "ls-tree", "-r", "--name-only", new, "--", "src").decode().splitlines())
    if any(f"{folder}/__init__.py" not in there for folder in folders):
        return None
    return own


def _link(neighbour: Path, folder: Path) -> None:
    """Copy an installed package by links, byte code included: a file of which is replaced, and never written into."""
    folder.mkdir()
    for entry in neighbour.iterdir():
        if entry.is_dir():
            shutil.copytree(entry, folder / entry.name, copy_function=os.link, symlinks=True)


def _write(repository: Path, sha: str, changes: dict[str, str], folder: Path) -> None:
    """Write the files that differ, and take the byte code of the old ones away."""
    for path in changes:
        target = _target(folder, path)
        target.unlink(missing_ok=True)
        for code in (target.parent / "__pycache__").glob(f"{target.stem}.*.pyc"):
            code.unlink()
    wanted = [path for path, state in changes.items() if state != "D"]
    for path, data in _files(repository, sha, wanted):
        target = _target(folder, path)
        target.parent.mkdir(parents=True, exist_ok=True)
        _replace(target, data)


def _files(repository: Path, sha: str, paths: Sequence[str]) -> Iterator[tuple[str, bytes]]:
    if not paths:
        return
    archive = _git(repository, "archive", "--format=tar", sha, "--", *paths)
    with tarfile.open(fileobj=BytesIO(archive)) as files:
        for member in files:
            data = files.extractfile(member)
            if data is not None:
                yield member.name, data.read()


def _replace(path: Path, data: bytes) -> None:
    """Write a file that may be a link to another installation's: that one stays as it is."""
    path.unlink(missing_ok=True)
    path.write_bytes(data)


def _target(folder: Path, path: str) -> Path:
    return folder / path.removeprefix("src/")


def _git(repository: Path, *arguments: str) -> bytes:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    return subprocess.run(  # noqa: S603 - commits of a clone that somebody named
        ["git", "-C", str(repository), *arguments],  # noqa: S607
        env={**kept, "LC_ALL": "C"}, capture_output=True, check=True,
    ).stdout  # fmt: skip
