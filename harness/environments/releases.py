"""Candidates: the releases of a package as the package index lists them.

Reads the simple repository API (https://packaging.python.org/en/latest/specifications/simple-repository-api/),
as JSON where the index has it and as HTML otherwise. Only JSON is specified to say when a file was
uploaded; some indexes say it in HTML, too.
"""

from __future__ import annotations

import json
import os
import re
import ssl
import time
import urllib.error
import urllib.request
from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlparse

from packaging.utils import InvalidWheelFilename, parse_wheel_filename
from packaging.version import Version

from harness.environments.index import uv_environment
from harness.errors import EnvironmentFailure
from harness.paths import cache_folder, write_whole

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


_ACCEPT = "application/vnd.pypi.simple.v1+json, text/html;q=0.1"
_PYPI = "https://pypi.org/simple"
_LIMIT_S = 60


@dataclass(frozen=True, kw_only=True)
class File:
    """A file as an index lists it; ``uploaded`` is None where the index does not say."""

    name: str
    yanked: bool = False
    uploaded: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class Release:
    """A release that can be installed from a wheel."""

    version: str
    uploaded: datetime | None = None


def list_releases(package: str, *, wheels_alone: bool = True, prereleases: bool = False) -> tuple[Release, ...]:
    """List the releases of a package from every index that uv would ask, old to new; none of them with ``UV_NO_INDEX``.

    Pre-releases are among them with ``prereleases``.
    With ``wheels_alone`` the wheels in ``UV_FIND_LINKS`` serve where an index cannot be read. Raises
    :class:`EnvironmentFailure` when no index could be read or none has the package, or without ``wheels_alone`` when
    one of them could not be read.
    """
    environ = uv_environment()
    indexes = [environ.get("UV_DEFAULT_INDEX") or environ.get("UV_INDEX_URL") or _PYPI]
    indexes += (environ.get("UV_INDEX") or environ.get("UV_EXTRA_INDEX_URL") or "").split()
    if environ.get("UV_NO_INDEX"):
        indexes = []
    files: list[File] = []
    troubles = []
    for index in indexes:
        url = index.partition("=")[2] if re.match(r"[\w-]+=", index) else index
        try:
            files += read_listing(*_fetch(f"{url.rstrip('/')}/{package}/", environ.get("SSL_CERT_FILE")))
        except (OSError, ValueError) as error:
            troubles.append(f"{url}: {error}")
    if not wheels_alone and (troubles or not indexes):
        why = "; ".join(troubles) or "UV_NO_INDEX is set"
        message = f"the releases of {package} are not known without the package index ({why}); make it readable"
        raise EnvironmentFailure(message)
    for place in (environ.get("UV_FIND_LINKS") or "").split(","):
        folder = Path(urlparse(place).path)
        if place and folder.is_dir():
            files += [File(name=path.name) for path in folder.iterdir()]
    if found := order(files, package, prereleases=prereleases):
        return found
    asked = ", ".join(indexes) or "UV_FIND_LINKS"
    message = f"no release of {package} in {asked}; set UV_DEFAULT_INDEX. {'; '.join(troubles)}"
    raise EnvironmentFailure(message)


def order(files: Iterable[File], package: str, *, prereleases: bool = False) -> tuple[Release, ...]:
    """Make releases of files, ordered by version: wheels alone, no yanked files, pre-releases where they are wanted."""
    dates: dict[Version, list[datetime]] = defaultdict(list)
    for file in files:
        if file.yanked or not file.name.endswith(".whl"):
            continue
        try:
            name, version, _, _ = parse_wheel_filename(file.name)
        except InvalidWheelFilename:
            continue
        # A build with a local label (2.13.0+cpu) is the same release.
        public = Version(version.public)
        if name == package and (prereleases or not public.is_prerelease):
            dates[public] += [file.uploaded] if file.uploaded else []
    return tuple(Release(version=str(version), uploaded=min(dates[version], default=None)) for version in sorted(dates))


def last_patches(releases: Sequence[Release]) -> tuple[Release, ...]:
    """Keep the last patch of each minor."""
    newest = {Version(one.version).release[:2]: one for one in releases}
    return tuple(newest.values())


def read_listing(kind: str, text: str) -> list[File]:
    """Read a project page, JSON or HTML by its content type. Raises ``ValueError`` when it is neither."""
    if "json" in kind:
        return [
            File(name=one["filename"], yanked=bool(one.get("yanked")), uploaded=_moment(one.get("upload-time")))
            for one in json.loads(text)["files"]
        ]
    page = _Links()
    page.feed(text)
    return page.files


class _Links(HTMLParser):
    """Collect the links of a project page."""

    def __init__(self) -> None:
        super().__init__()
        self.files: list[File] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        facts = dict(attrs)
        if tag == "a" and facts.get("href"):
            name = unquote(Path(urlparse(facts["href"] or "").path).name)
            uploaded = _moment(facts.get("data-upload-time"))
            self.files.append(File(name=name, yanked="data-yanked" in facts, uploaded=uploaded))


def _moment(text: str | None) -> datetime | None:
    if not text:
        return None
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _fetch(url: str, certificates: str | None) -> tuple[str, str]:
    request = urllib.request.Request(url, headers={"Accept": _ACCEPT})  # noqa: S310 - the person's own index
    trust = certificates if certificates and os.path.exists(certificates) else None  # noqa: PTH110 - a string setting
    if urlparse(url).scheme == "file":
        folder = Path(unquote(urlparse(url).path))
        page = folder / "index.html"
        return ("text/html", page.read_text(encoding="utf-8")) if page.is_file() else ("text/html", "")
    try:
        with urllib.request.urlopen(  # noqa: S310 - the person's own index
            request, timeout=_LIMIT_S, context=ssl.create_default_context(cafile=trust)
        ) as answer:
            return answer.headers.get_content_type(), answer.read().decode("utf-8")
    except urllib.error.HTTPError as error:
        if error.code == 404:  # noqa: PLR2004 - not found: another index may have it
            return "text/html", ""
        raise


_KEPT_S = 24 * 3600
_PYTHONS = range(8, 16)


def known_releases(packages: Iterable[str], *, ask: bool = True) -> dict[str, tuple[str, ...]]:
    """Return the final releases of packages, ascending. A package that nobody can tell about is left out.

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
        write_whole(path, json.dumps(asked))
    # An index that cannot be reached today does not take away what it said yesterday.
    return asked or kept


def _ask(package: str) -> tuple[str, ...]:
    try:
        return tuple(one.version for one in list_releases(package))
    except EnvironmentFailure:
        return ()
