"""Which releases there are: a folder of wheels is asked."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from harness.environments.releases import known_releases

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_what_is_asked_is_kept_for_a_day(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the index said is kept; offline, what was kept counts; a package unknown to it is left out."""
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    for version in ("0.9.0", "0.10.0", "0.11.0.dev1"):
        (wheels / f"planted_package-{version}-py3-none-any.whl").touch()
    monkeypatch.setenv("PROMPT_BENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("UV_NO_INDEX", "1")
    monkeypatch.setenv("UV_FIND_LINKS", str(wheels))
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
