"""Repositories of a real peft with a planted fault, for tests that hold one commit against another."""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from harness.environments.build import Environment

ORDINARY = "prompt_embeddings = self.embedding(indices)"
PLANTED = f"raise RuntimeError('planted')\n        {ORDINARY}"


def pyproject(version: str) -> str:
    """Return the pyproject.toml of a checkout whose package is peft of a version, for setuptools."""
    return f"""
[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"

[project]
name = "peft"
version = "{version}"

[tool.setuptools.packages.find]
where = ["src"]
"""


CASE = "generate_with_cache:llama-prompt_tuning-workaround,generate_with_cache:llama-p_tuning-workaround"
"""One variant that the fault breaks, and one that it does not."""


def make_checkout(folder: Path, environment: Environment) -> Path:
    """Make a repository with two commits on ``main``: peft as it was released, and with prompt tuning broken."""
    (overlay,) = (one for one in environment.overlays if (one / "peft").is_dir())
    shutil.copytree(overlay / "peft", folder / "src" / "peft", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "pyproject.toml").write_text(pyproject("0.13.0"), encoding="utf-8")
    (folder / ".gitignore").write_text("__pycache__/\n*.egg-info/\nbuild/\n", encoding="utf-8")
    git(folder, "init", "--quiet", "--initial-branch=main")
    commit(folder, "as it was released")
    file = folder / "src" / "peft" / "tuners" / "prompt_tuning" / "model.py"
    text = file.read_text(encoding="utf-8")
    if ORDINARY not in text:
        message = f"{file} has no {ORDINARY!r}; plant the fault elsewhere"
        raise ValueError(message)
    file.write_text(text.replace(ORDINARY, PLANTED), encoding="utf-8")
    commit(folder, "with a fault")
    return folder


def commit(folder: Path, title: str) -> None:
    """Commit everything."""
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "-m", title)


def git(folder: Path, *arguments: str) -> str:
    """Run git as somebody."""
    who = {f"GIT_{role}_{part}": "a@b" for role in ("AUTHOR", "COMMITTER") for part in ("NAME", "EMAIL")}
    done = subprocess.run(
        ["git", *arguments], capture_output=True, text=True, cwd=folder, env={**os.environ, **who}, check=True
    )
    return done.stdout.strip()
