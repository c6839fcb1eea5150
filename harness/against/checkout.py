"""The files of a checkout as a commit has them, for the environment that is active; needs git and nothing else."""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

PACKAGES = ("peft", "transformers")
"""What a checkout may be of: the packages that have their code in ``src/``."""


@dataclass(frozen=True, kw_only=True)
class Checkout:
    """A checkout of a package: its folder, and the package."""

    folder: Path
    package: str

    @property
    def code(self) -> Path:
        """Return the folder that goes onto the path."""
        return self.folder / "src"

    def export(self, revision: str, folder: Path) -> Checkout:
        """Write the code of a commit, a branch or a tag under ``folder``.

        Raises :class:`UsageError` when there is no such revision, or no such code in it.
        """
        commit = _git(self.folder, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}")
        if not commit:
            message = f"no commit {revision!r} in {self.folder}; fetch it, or name another one"
            raise UsageError(message)
        archive = _git(self.folder, "archive", "--format=tar", commit.decode().strip(), f"src/{self.package}")
        if not archive:
            message = f"commit {revision!r} has no src/{self.package}; name another one"
            raise UsageError(message)
        with tarfile.open(fileobj=io.BytesIO(archive)) as files:
            files.extractall(folder, filter="data")
        return Checkout(folder=folder, package=self.package)

    def environment(self, environ: Mapping[str, str]) -> dict[str, str]:
        """Return an environment in which Python imports the package from here."""
        before = environ.get("PYTHONPATH")
        return {**environ, "PYTHONPATH": os.pathsep.join([str(self.code), *([before] if before else [])])}


def find_checkout(folder: Path) -> Checkout:
    """Return the checkout that a folder is in. Raises :class:`UsageError` when it is in none of a known package."""
    top = _git(folder, "rev-parse", "--show-toplevel").decode().strip()
    if top:
        for package in PACKAGES:
            if (Path(top) / "src" / package / "__init__.py").is_file():
                return Checkout(folder=Path(top), package=package)
    message = f"{folder} is in no checkout of {' or '.join(PACKAGES)}; change into one, or leave out --against"
    raise UsageError(message)


def _git(folder: Path, *arguments: str) -> bytes:
    """Return the output of git, or nothing when it refuses."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    try:
        done = subprocess.run(  # noqa: S603
            ["git", "-C", str(folder), *arguments],  # noqa: S607
            capture_output=True, env={**environ, "GIT_TERMINAL_PROMPT": "0"}, check=False,
        )  # fmt: skip
    except FileNotFoundError:
        message = "git is not installed; --against needs it"
        raise UsageError(message) from None
    return done.stdout if done.returncode == 0 else b""
