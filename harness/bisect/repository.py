"""A repository to bisect in: a bare copy under the cache folder, and a private worktree of it.

The caller's own repository is only ever read.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from filelock import FileLock

from harness.errors import EnvironmentFailure, UsageError
from harness.paths import cache_folder

if TYPE_CHECKING:
    from collections.abc import Iterator

_PULL = re.compile(r"\(#(\d+)\)\s*$|^Merge pull request #(\d+)")
_GITHUB = re.compile(r"github\.com[:/]+([\w.-]+/[\w-]+(?:\.(?!git\b)[\w-]+)*)")
_PROJECT_FILES = ("pyproject.toml", "setup.cfg", "setup.py")


@dataclass(frozen=True, kw_only=True)
class Commit:
    """A commit as a report names it; ``pull`` is the number of its pull request, as text."""

    sha: str
    title: str
    date: str
    pull: str | None
    files: tuple[str, ...]


class Repository:
    """A bare copy of a repository, brought up to date when it is opened."""

    def __init__(self, source: str) -> None:
        """``source`` is the path of a clone, or a URL. Raises :class:`UsageError` when it cannot be read."""
        path = Path(source).expanduser()
        self.origin = str(path.resolve()) if path.exists() else source
        name = re.sub(r"[^\w.-]+", "-", Path(self.origin).name).removesuffix(".git")
        digest = hashlib.sha256(self.origin.encode()).hexdigest()[:12]
        self.folder = cache_folder() / "repositories" / f"{name}-{digest}"
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{self.folder}.lock"):
            if (self.folder / "complete").is_file():
                # Without a network the copy stands as it was.
                run_git(["-C", str(self.folder), "fetch", "--quiet", "--prune", "--force", "origin", "+refs/*:refs/*"])
                return
            shutil.rmtree(self.folder, ignore_errors=True)
            done = run_git(["clone", "--quiet", "--bare", self.origin, str(self.folder)])
            if done.returncode != 0:
                message = f"--repo {source}: {' '.join(done.stderr.split())[-300:]}; give the path of a clone, or a URL"
                raise UsageError(message)
            (self.folder / "complete").touch()

    def git(self, *arguments: str) -> str:
        """Run git in the copy and give its output. Raises :class:`EnvironmentFailure` with git's words."""
        done = run_git(["-C", str(self.folder), *arguments])
        if done.returncode != 0:
            message = f"git {arguments[0]} failed: {' '.join(done.stderr.split())[-300:]}; look at {self.folder}"
            raise EnvironmentFailure(message)
        return done.stdout

    def commit_of(self, package: str, version: str) -> str:
        """Return the commit that a release was made from: its tag, else the commit that says so in its title.

        Raises :class:`UsageError` when there is neither.
        """
        for name in (f"v{version}", version, f"release-{version}", f"{package}-{version}", f"{package}-v{version}"):
            done = run_git(["-C", str(self.folder), "rev-parse", "--verify", "--quiet", f"refs/tags/{name}^{{commit}}"])
            if done.returncode == 0:
                return done.stdout.strip()
        log = self.git(
            "log", "--all", "--format=%H %s", "-i", "-E", f"--grep=^(bump.* )?release:? v?{re.escape(version)}"
        )
        titled = re.compile(rf"release:? v?{re.escape(version)}(?![\w.]*\d)", re.IGNORECASE)
        for line in log.splitlines():
            sha, _, title = line.partition(" ")
            if titled.search(title):
                return sha
        message = (
            f"{self.origin} has no tag v{version} and no commit titled 'Release {version}'; "
            "name the commits: --good-commit SHA --bad-commit SHA"
        )
        raise UsageError(message)

    def resolve(self, name: str) -> str:
        """Return the full hash of a commit. Raises :class:`UsageError` when it is not there."""
        done = run_git(["-C", str(self.folder), "rev-parse", "--verify", "--quiet", f"{name}^{{commit}}"])
        if done.returncode != 0:
            message = f"no commit {name!r} in {self.origin}"
            raise UsageError(message)
        return done.stdout.strip()

    def merge_base(self, one: str, other: str) -> str:
        """Return the newest common ancestor of two commits."""
        return self.git("merge-base", one, other).strip()

    def between(self, old: str, new: str) -> int:
        """Count the commits after ``old`` up to ``new``."""
        return int(self.git("rev-list", "--count", f"{old}..{new}"))

    def describe(self, sha: str) -> Commit:
        """Read title, date, pull request and files of a commit."""
        head = self.git("show", "--no-patch", "--format=%H%n%cs%n%s", sha).splitlines()
        pull = _PULL.search(head[2])
        files = self.git("diff-tree", "--no-commit-id", "--name-only", "-r", "-m", "--first-parent", sha).split("\n")
        return Commit(
            sha=head[0],
            title=head[2],
            date=head[1],
            pull=(pull[1] or pull[2]) if pull else None,
            files=tuple(one for one in files if one),
        )

    def web(self) -> str | None:
        """Return the address of the repository on GitHub: as its origin says, else its project file."""
        told = [run_git(["-C", folder, "remote", "get-url", "origin"]).stdout.strip() for folder in self._folders]
        told += [run_git(["-C", str(self.folder), "show", f"HEAD:{name}"]).stdout for name in _PROJECT_FILES]
        found = next((match for text in told if (match := _GITHUB.search(text))), None)
        return f"https://github.com/{found[1]}" if found else None

    @property
    def _folders(self) -> tuple[str, str]:
        return self.origin, str(self.folder)

    @contextmanager
    def worktree(self, sha: str) -> Iterator[Path]:
        """Make a private worktree without files, for one bisect; it goes away at the end."""
        with TemporaryDirectory(prefix="prompt-bench-git-") as parent:
            folder = Path(parent) / "worktree"
            self.git("worktree", "prune")
            self.git("worktree", "add", "--quiet", "--no-checkout", "--detach", str(folder), sha)
            try:
                yield folder
            finally:
                run_git(["-C", str(self.folder), "worktree", "remove", "--force", str(folder)])

    def source(self, sha: str) -> str:
        """Write a commit the way a cell pins a source."""
        return f"git+{self.folder.as_uri()}@{sha}"


def run_git(arguments: list[str]) -> subprocess.CompletedProcess[str]:
    """Run git, never asking anybody anything. Raises :class:`EnvironmentFailure` when there is no git."""
    try:
        return subprocess.run(  # noqa: S603
            ["git", "-c", "advice.detachedHead=false", *arguments],  # noqa: S607
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            env=git_environment(),
            check=False,
        )
    except FileNotFoundError:
        message = "git is not installed; --repo needs it"
        raise EnvironmentFailure(message) from None


def git_environment() -> dict[str, str]:
    """Return an environment in which git finds its repository by the folder alone, and never prompts."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    return {**kept, "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}
