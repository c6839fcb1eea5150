"""A package from git or from a checkout, in the place of a release.

A matrix writes ``peft = "git+https://github.com/huggingface/peft@main"`` or the path of a
checkout. Before anything is installed the source is fixed to what it means now: a commit, or a
digest of the files as they stand, edits included.
"""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
from pathlib import Path

_GIT = re.compile(r"git\+(?P<url>(?:https?|ssh|git|file)://[^/]*/[^@]*)(?:@(?P<ref>[^-\s][^\s]*))?")
"""A ref that begins with a hyphen would be an option to git."""

_CREDENTIALS = re.compile(r"(\w://)[^/\s@'\"]+@")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_FETCH_LIMIT_S = 60


class Unreachable(Exception):
    """A source could not be had: no network, no such branch, no such folder. The message is git's, less credentials."""

    def __init__(self, words: str) -> None:
        """``words`` may quote a URL."""
        super().__init__(redact(words))


def redact(text: str) -> str:
    """Replace the credentials of every URL in a text: ``https://user:token@host/`` becomes ``https://***@host/``."""
    return _CREDENTIALS.sub(r"\1***@", text)


def is_source(value: str) -> bool:
    """Return whether a pin names a source: a git URL, or a path with a slash in it."""
    return value.startswith("git+") or "/" in value


def is_fixed(value: str) -> bool:
    """Return whether a source means the same for ever: a whole commit of a git URL."""
    git = _GIT.fullmatch(value)
    return git is not None and _COMMIT.fullmatch(git["ref"] or "") is not None


def problem(value: str) -> str | None:
    """Say what is wrong with how a source is written; None when nothing is."""
    if value.startswith("git+") and not _GIT.fullmatch(value):
        return f"{redact(value)!r} is not git+URL@REF such as 'git+https://github.com/huggingface/peft@main'"
    return None


def slug(value: str) -> str:
    """Name a source shortly, fit for a file name: its branch, tag or commit, or its folder."""
    git = _GIT.fullmatch(value)
    word = (git["ref"] or "HEAD") if git else Path(value).name
    word = word[:10] if _COMMIT.fullmatch(word) else word
    return re.sub(r"[^A-Za-z0-9._]+", "_", word)


def fix(value: str) -> str:
    """Fix a source to what it means now: ``git+URL@COMMIT`` or ``file://PATH#DIGEST``.

    Raises :class:`Unreachable`.
    """
    git = _GIT.fullmatch(value)
    if git is None:
        return _fix_checkout(Path(value).expanduser())
    ref = git["ref"] or "HEAD"
    return f"git+{git['url']}@{ref if _COMMIT.fullmatch(ref) else _commit(git['url'], ref)}"


def _commit(url: str, ref: str) -> str:
    local = url.removeprefix("file://")
    if local != url:
        return _git("-C", local, "rev-parse", "--verify", "--end-of-options", f"{ref}^{{commit}}").strip()
    lines = [line.split("\t") for line in _git("ls-remote", "--", url, ref, f"{ref}^{{}}").splitlines()]
    # An annotated tag is listed twice; the line with ^{} is the commit that it stands for.
    found = {name: commit for commit, name in lines}
    for name in (f"refs/tags/{ref}^{{}}", f"refs/heads/{ref}", f"refs/tags/{ref}", f"refs/{ref}", ref):
        if name in found:
            return found[name]
    message = f"{redact(url)} has no branch or tag {ref!r}; give a full commit instead"
    raise Unreachable(message)


def _fix_checkout(folder: Path) -> str:
    if not any((folder / name).is_file() for name in ("pyproject.toml", "setup.py")):
        message = f"{folder} is no checkout: it has neither pyproject.toml nor setup.py"
        raise Unreachable(message)
    folder = folder.resolve()
    digest = hashlib.sha256()
    # What git knows or would add; ignored files (byte code, build folders) change nothing.
    for name in sorted(set(_git("-C", str(folder), "ls-files", "-co", "--exclude-standard", "-z").split("\0")) - {""}):
        path = folder / name
        if path.is_file():
            digest.update(name.encode() + b"\0" + path.read_bytes() + b"\0")
    return f"{folder.as_uri()}#{digest.hexdigest()[:16]}"


def _git(*arguments: str) -> str:
    environ = {**os.environ, "GIT_TERMINAL_PROMPT": "0"}
    try:
        done = subprocess.run(  # noqa: S603
            ["git", *arguments],  # noqa: S607
            capture_output=True,
            text=True,
            env=environ,
            timeout=_FETCH_LIMIT_S,
            check=False,
        )
    except FileNotFoundError:
        message = "git is not installed; a package from a source needs it"
        raise Unreachable(message) from None
    except subprocess.TimeoutExpired:
        message = f"no answer within {_FETCH_LIMIT_S} s: git {' '.join(arguments[:2])}"
        raise Unreachable(message) from None
    if done.returncode != 0:
        raise Unreachable(" ".join(done.stderr.split())[-600:])
    return done.stdout
