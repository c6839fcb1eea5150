"""What is new on an index, and the pair of cells that is measured for it."""

from __future__ import annotations

import json
import tomllib
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from packaging.version import Version

from harness.cli import cli
from harness.environments.new_releases import WATCHED, joined, new_releases, newest_final, read_known, write_known
from harness.errors import InputError
from harness.matrix.read import load_matrix

if TYPE_CHECKING:
    from pathlib import Path

VERSIONS = ["0.21.1", "0.21.2", "0.22.0rc1", "0.22.0", "1.0.dev3", "1.0"]
states = st.dictionaries(st.sampled_from(WATCHED), st.lists(st.sampled_from(VERSIONS), unique=True))


@given(states, states)
def test_new_is_what_is_listed_and_was_not_known(known: dict[str, list[str]], listed: dict[str, list[str]]) -> None:
    """The newest such version; before it a version that was known and is below. Asked again nothing is new."""
    found = new_releases(known, listed)
    for one in found:
        assert one.version in listed[one.package]
        assert one.version not in known[one.package]
        assert all(
            version in known[one.package] or Version(version) <= Version(one.version) for version in listed[one.package]
        )
        if one.before:
            assert one.before in known[one.package]
            assert Version(one.before) < Version(one.version)
    quiet = [name for name in listed if known.get(name) and name not in {one.package for one in found}]
    assert all(set(listed[name]) <= set(known[name]) for name in quiet)
    assert new_releases(joined(known, listed), listed) == ()


def test_before_a_final_release_stands_a_final_one() -> None:
    """A release candidate is measured against whatever is below it, the release itself against the last one."""
    (candidate,) = new_releases({"peft": ["0.21.2"]}, {"peft": ["0.21.2", "0.22.0rc1"]})
    (final,) = new_releases({"peft": ["0.21.2", "0.22.0rc1"]}, {"peft": ["0.22.0rc1", "0.22.0"]})
    assert (candidate.version, candidate.before) == ("0.22.0rc1", "0.21.2")
    assert (final.version, final.before) == ("0.22.0", "0.21.2")
    assert newest_final(["0.21.2", "0.22.0rc1"]) == "0.21.2"


def test_the_state_is_read_back_and_anything_else_is_refused(tmp_path: Path) -> None:
    """One line with the file's name; no file is nothing known."""
    path = tmp_path / "deep" / "known.json"
    assert read_known(path) == {}
    write_known(path, {"peft": ("0.21.2",)})
    assert read_known(path) == {"peft": ("0.21.2",)}
    for text in ("[]", "{", '{"peft": 3}', '{"peft": ["; touch pwned"]}', '{"peft": [1]}'):
        path.write_text(text, encoding="utf-8")
        with pytest.raises(InputError, match=r"known\.json: no file of known releases"):
            read_known(path)


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Be the index: a folder of wheels of the watched packages."""
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    for name in WATCHED:
        publish(wheels, name, "1.0")
    publish(wheels, "transformers", "5.23.0")
    monkeypatch.setenv("UV_NO_INDEX", "1")
    monkeypatch.setenv("UV_FIND_LINKS", str(wheels))
    return wheels


def publish(wheels: Path, package: str, version: str) -> None:
    """Put a wheel into the folder."""
    (wheels / f"{package.replace('-', '_')}-{version}-py3-none-any.whl").touch()


def ask(folder: Path) -> tuple[int, str, dict[str, str]]:
    """Call the command as the workflow does: exit status, what it said, its outputs."""
    outputs = folder / "outputs"
    outputs.write_text("", encoding="utf-8")
    told = CliRunner().invoke(
        cli,
        ["admin", "releases", "--state", str(folder / "known.json"), "--matrix-file", str(folder / "released.toml"),
         "--outputs", str(outputs)],
    )  # fmt: skip
    lines = outputs.read_text(encoding="utf-8").splitlines()
    return told.exit_code, told.output, dict(line.split("=", 1) for line in lines)


def test_a_release_is_seen_once_and_its_pair_is_a_matrix(tmp_path: Path, index: Path) -> None:
    """The first look learns, the second has nothing, a release gives a matrix of two cells, and then is known."""
    assert ask(tmp_path)[0] == 0
    assert ask(tmp_path)[2] == {"new": "false"}
    publish(index, "transformers", "5.24.0rc1")
    status, said, outputs = ask(tmp_path)
    assert status == 1
    assert "transformers 5.24.0rc1 is new, after 5.23.0" in said
    before, after = load_matrix(str(tmp_path / "released.toml")).cells
    assert outputs == {"new": "true", "before": before.id, "after": after.id}
    assert (before.pins["transformers"], after.pins["transformers"]) == ("5.23.0", "5.24.0rc1")
    assert {**before.pins, "transformers": ""} == {**after.pins, "transformers": ""}
    assert before.cases == load_matrix("nightly").cells[0].cases
    assert not before.floating
    assert not after.floating
    assert ask(tmp_path)[0] == 0


def test_a_package_that_no_cell_pins_by_itself_is_pinned_on_both_sides(tmp_path: Path, index: Path) -> None:
    """A new accelerate is held against the one before it, all else equal."""
    ask(tmp_path)
    publish(index, "accelerate", "1.1")
    assert ask(tmp_path)[0] == 1
    data = tomllib.loads((tmp_path / "released.toml").read_text(encoding="utf-8"))
    assert [cell["accelerate"] for cell in data["cell"]] == ["1.0", "1.1"]


def test_an_index_without_a_package_is_no_news(tmp_path: Path, index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be asked is a refusal, and neither 0 nor 1; the state stays as it was."""
    ask(tmp_path)
    state = (tmp_path / "known.json").read_text(encoding="utf-8")
    monkeypatch.setenv("UV_FIND_LINKS", str(tmp_path / "nowhere"))
    status, said, outputs = ask(tmp_path)
    assert status == 2
    assert "no release of peft" in said
    assert outputs == {}
    assert (tmp_path / "known.json").read_text(encoding="utf-8") == state
    assert json.loads(state)["transformers"] == ["1.0", "5.23.0"]
    assert index.is_dir()
