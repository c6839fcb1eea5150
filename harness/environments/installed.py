"""The versions of an environment or of a file that pins one, read without importing anything that they install."""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import canonicalize_name

from harness.errors import InputError, UsageError
from harness.packages import PACKAGES
from harness.program import PROGRAM

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

_NEEDED = ("peft", "transformers")
_OPTION = re.compile(r"\s--?[a-z].*$")
_COMMENT = re.compile(r"(^|\s)#.*$")


@dataclass(frozen=True, kw_only=True)
class Installed:
    """Specifiers of the packages that matter, ``==1.2.3`` where one is pinned, and in words where they are from."""

    specifiers: Mapping[str, str]
    where: str


def read_installed(file: str) -> Installed:
    """Read the active environment (``file`` is empty), or a requirements or lock file.

    Raises :class:`UsageError` where there is no such file or it names neither peft nor transformers, and
    :class:`InputError` for one that cannot be read.
    """
    found = _of_file(Path(file)) if file else _of_environment()
    missing = [name for name in _NEEDED if name not in found.specifiers]
    if missing:
        message = (
            f"no {' and no '.join(missing)} in {found.where}; activate the environment that has them, or name a "
            f"requirements or lock file: {PROGRAM} advise --installed FILE"
        )
        raise UsageError(message)
    return found


def _of_environment() -> Installed:
    """Return the first environment that has peft: the active one, ``.venv`` here, or the one that runs this."""
    folders = [Path(os.environ[name]) for name in ("VIRTUAL_ENV", "CONDA_PREFIX") if os.environ.get(name)]
    folders = [*folders, Path(".venv"), Path(sys.prefix)]
    for folder in folders:
        versions = _pinned(_distributions(folder))
        if "peft" in versions:
            return Installed(specifiers=versions, where=str(folder))
    return Installed(specifiers={}, where=str(folders[0]))


def _distributions(folder: Path) -> Iterator[tuple[str, str]]:
    """Iterate over the names and versions that are installed in an environment."""
    sites = [str(path) for path in (*folder.glob("lib*/python3*/site-packages"), *folder.glob("Lib/site-packages"))]
    if folder == Path(sys.prefix):
        sites = [*sites, *sys.path]
    for one in importlib.metadata.distributions(path=sites):
        if name := one.metadata["Name"]:
            yield name, one.version


def _of_file(path: Path) -> Installed:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        message = f"--installed {path}: cannot be read ({error}); name a requirements or lock file"
        raise UsageError(message) from None
    try:
        if path.suffix == ".toml" or path.name in {"uv.lock", "poetry.lock"}:
            specifiers = _of_lock(tomllib.loads(text))
        elif text.lstrip().startswith("{"):
            specifiers = _of_pipfile(json.loads(text))
        else:
            specifiers = _of_requirements(text)
    except (ValueError, AttributeError, TypeError) as error:
        raise InputError(str(path), f"no requirements or lock file: {error}") from None
    return Installed(specifiers=specifiers, where=str(path))


def _of_lock(data: Mapping[str, Any]) -> dict[str, str]:
    """Read ``pylock.toml`` (packages), ``uv.lock`` or ``poetry.lock`` (package), or a project's dependencies."""
    listed = [*data.get("packages", ()), *data.get("package", ())]
    pinned = _pinned((one["name"], one["version"]) for one in listed if "version" in one and "name" in one)
    return pinned or _of_requirements("\n".join(data.get("project", {}).get("dependencies", ())))


def _of_pipfile(data: Mapping[str, Any]) -> dict[str, str]:
    """Read ``Pipfile.lock``, or what ``pip list --format json`` would be as a mapping of names to versions."""
    listed = data.get("default", data)
    return _pinned(
        (name, (value["version"] if isinstance(value, dict) else value).lstrip("="))
        for name, value in listed.items()
        if isinstance(value, str) or (isinstance(value, dict) and "version" in value)
    )


def _of_requirements(text: str) -> dict[str, str]:
    """Read requirement lines; options, comments and what is no release are passed over."""
    found: dict[str, str] = {}
    for line in text.replace("\\\n", " ").splitlines():
        try:
            requirement = Requirement(_OPTION.sub("", _COMMENT.sub("", f" {line}")).strip())
        except InvalidRequirement:
            continue
        name = canonicalize_name(requirement.name)
        # With neither a version nor a bound a requirement says nothing; any release may be there.
        if name in PACKAGES and requirement.url is None:
            found[name] = str(requirement.specifier).replace("===", "==")
    return found


def _pinned(versions: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return exact specifiers for the packages that matter, without the builds of a release."""
    found: dict[str, str] = {}
    for name, version in versions:
        package = canonicalize_name(name)
        if package in PACKAGES and package not in found:
            specifier = f"=={version.partition('+')[0]}"
            try:
                SpecifierSet(specifier)
            except InvalidSpecifier:
                continue
            found[package] = specifier
    return found
