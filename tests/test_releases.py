"""Which releases there are: asked of the real pip, from a folder of wheels."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from harness.releases import known_releases, parse_releases

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_final_releases_are_read_ascending() -> None:
    """Pre-releases, builds and other lines do not count."""
    text = "peft (0.10.0)\nAvailable versions: 0.10.0, 0.9.0, 0.9.0rc1, 0.2.0+cpu, odd\n  INSTALLED: 0.1.0"
    assert parse_releases(text) == ("0.2.0", "0.9.0", "0.10.0")
    assert parse_releases("ERROR: No matching distribution found") == ()


def test_pip_is_asked_once_a_day_and_may_be_silent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the index said is kept; offline, what was kept counts; a package unknown to it is left out."""
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    for version in ("0.9.0", "0.10.0", "0.11.0.dev1"):
        (wheels / f"planted_package-{version}-py3-none-any.whl").touch()
    monkeypatch.setenv("PROMPT_BENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheels))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    assert known_releases(["planted-package"], ask=False) == {}
    asked = known_releases(["planted-package", "no-such-package"])
    assert asked == {"planted-package": ("0.9.0", "0.10.0")}
    (wheels / "planted_package-0.9.0-py3-none-any.whl").unlink()
    assert known_releases(["planted-package"]) == asked
    kept = tmp_path / "cache" / "releases" / "planted-package.json"
    os.utime(kept, (0, 0))
    assert known_releases(["planted-package"], ask=False) == asked
    assert known_releases(["planted-package"]) == {"planted-package": ("0.10.0",)}


def test_python_stands_for_its_minor_versions() -> None:
    """No index is asked for the interpreter."""
    assert "3.11" in known_releases(["python"])["python"]
