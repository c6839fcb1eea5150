"""Candidates: what an index lists, in order, without what nobody is meant to install."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.version import Version

from harness.bisect.releases import make_axis
from harness.environments.releases import File, Release, last_patches, list_releases, order, read_listing
from harness.errors import EnvironmentFailure, UsageError
from harness.matrix.spec import Cell
from tests.strategies import versions

if TYPE_CHECKING:
    from pathlib import Path

HTML = """<!DOCTYPE html><html><body>
<a href="../../files/peft-0.13.0-py3-none-any.whl#sha256=1" data-upload-time="2024-09-25T10:00:00Z">x</a>
<a href="peft-0.9.0-py3-none-any.whl">x</a>
<a href="peft-0.10.0-py3-none-any.whl" data-yanked="broken">x</a>
<a href="peft-0.14.0rc1-py3-none-any.whl">x</a>
<a href="peft-0.15.0.tar.gz">no wheel</a>
<a href="peft_extras-9.0-py3-none-any.whl">another project</a>
<a>no link</a></body></html>"""
JSON = json.dumps({
    "meta": {"api-version": "1.1"},
    "files": [
        {"filename": "peft-0.13.0-py3-none-any.whl", "yanked": False, "upload-time": "2024-09-25T10:00:00.5Z"},
        {"filename": "peft-0.9.0-py3-none-any.whl", "yanked": False},
        {"filename": "peft-0.10.0-py3-none-any.whl", "yanked": "broken"},
    ],
})  # fmt: skip


@pytest.mark.parametrize(("kind", "text"), [("text/html", HTML), ("application/vnd.pypi.simple.v1+json", JSON)])
def test_a_listing_gives_releases_in_order(kind: str, text: str) -> None:
    """0.9 before 0.13; neither yanked files, pre-releases, source archives nor other projects."""
    releases = order(read_listing(kind, text), "peft")
    assert [one.version for one in releases] == ["0.9.0", "0.13.0"]
    assert releases[0].uploaded is None
    assert releases[1].uploaded is not None
    assert releases[1].uploaded.date().isoformat() == "2024-09-25"


@given(st.lists(versions))
def test_the_order_is_that_of_versions(some: list[str]) -> None:
    """Each version once, old to new, whatever the order of files; the date is the first upload."""
    late = datetime(2025, 1, 2, tzinfo=UTC)
    files = [File(name=f"torch-{one}+cpu-cp311-cp311-linux_x86_64.whl", uploaded=late) for one in some]
    files += [File(name=f"torch-{one}-py3-none-any.whl", uploaded=late.replace(day=1)) for one in some]
    releases = order(files, "torch")
    found = [Version(one.version) for one in releases]
    assert found == sorted({Version(one) for one in some})
    assert all(one.uploaded == late.replace(day=1) for one in releases)


@given(st.lists(versions, unique=True))
def test_the_last_patch_of_each_minor(some: list[str]) -> None:
    """One release a minor, and none of its minor is newer."""
    releases = order([File(name=f"p-{one}-py3-none-any.whl") for one in some], "p")
    kept = last_patches(releases)
    minors = [Version(one.version).release[:2] for one in kept]
    assert len(minors) == len(set(minors)) == len({Version(one).release[:2] for one in some})
    for one in releases:
        (mine,) = [two for two in kept if Version(two.version).release[:2] == Version(one.version).release[:2]]
        assert Version(mine.version) >= Version(one.version)


def test_every_index_that_uv_asks_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file index and a folder of wheels add up; an index without the package is no failure."""
    for name in ("PIP_FIND_LINKS", "PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "UV_INDEX", "UV_DEFAULT_INDEX"):
        monkeypatch.delenv(name, raising=False)
    page = tmp_path / "index" / "peft" / "index.html"
    page.parent.mkdir(parents=True)
    page.write_text(HTML, encoding="utf-8")
    (tmp_path / "wheels").mkdir()
    (tmp_path / "wheels" / "peft-0.20.0-py3-none-any.whl").touch()
    monkeypatch.setenv("UV_DEFAULT_INDEX", (tmp_path / "index").as_uri())
    monkeypatch.setenv("UV_INDEX", f"more={(tmp_path / 'empty').as_uri()}")
    monkeypatch.setenv("UV_FIND_LINKS", str(tmp_path / "wheels"))
    assert [one.version for one in list_releases("peft")] == ["0.9.0", "0.13.0", "0.20.0"]
    with pytest.raises(EnvironmentFailure, match="UV_DEFAULT_INDEX"):
        list_releases("nonsense")


def test_following_dates_needs_dates() -> None:
    """Each release is put into the state of its day; an index that tells no day is said to be one."""
    held = Cell(python="3.11", pins={"torch": "2.13.0", "transformers": "newest"})
    dated = Release(version="0.13.0", uploaded=datetime(2024, 9, 25, 23, 30, tzinfo=UTC))
    axis = make_axis("peft", (dated,), held, follow_dates=True)
    assert axis.cells[0].id == "peft0.13.0-tfnewest-torch2.13.0-py3.11@20240925"
    assert not axis.cells[0].floating, "what was newest on a day stays so"
    with pytest.raises(UsageError, match=r"does not say when peft 0\.9\.0 was uploaded"):
        make_axis("peft", (Release(version="0.9.0"),), held, follow_dates=True)
    assert make_axis("peft", (Release(version="0.9.0"),), held).cells[0].as_of is None


def test_a_version_that_is_no_candidate_names_its_neighbours() -> None:
    """A yanked release is easily asked for; what stands around it is said."""
    held = Cell(python="3.11", pins={"torch": "2.13.0"})
    axis = make_axis("peft", tuple(Release(version=f"0.{n}.0") for n in range(5, 15)), held)
    with pytest.raises(UsageError, match=r"near it: 0\.7\.0, 0\.8\.0, 0\.9\.0, 0\.10\.0, 0\.11\.0, 0\.12\.0$"):
        axis.index("0.9.9")
    with pytest.raises(UsageError, match=r"near it: 0\.12\.0, 0\.13\.0, 0\.14\.0$"):
        axis.index("nonsense")
