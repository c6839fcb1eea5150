"""Packages from git and from checkouts: fixed to a commit or to the files as they stand."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from harness.contracts.plan import Plan
from harness.matrix.plan import PlannedCell
from harness.matrix.source import Unreachable, _commit, fix, is_source, problem, redact, slug
from harness.matrix.spec import Cell
from harness.run.runs import Run
from harness.run.workers import cell_facts

if TYPE_CHECKING:
    from pathlib import Path


def git(folder: Path, *arguments: str) -> str:
    """Run git as a person without a configuration."""
    who = ["-c", "user.name=a", "-c", "user.email=a@b"]
    return subprocess.run(["git", *who, *arguments], cwd=folder, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Make a repository with one commit, a tag and a branch."""
    folder = tmp_path / "thing"
    folder.mkdir()
    git(folder, "init", "-q", "-b", "main")
    (folder / "pyproject.toml").write_text("[project]\nname = 'thing'\nversion = '1'\n")
    (folder / ".gitignore").write_text("*.pyc\n")
    git(folder, "add", ".")
    git(folder, "commit", "-qm", "first")
    git(folder, "tag", "-am", "one", "v1")
    return folder


def test_a_branch_and_a_tag_mean_their_commit(checkout: Path) -> None:
    """The same commit by each of its names; a name that is not there is unreachable."""
    commit = git(checkout, "rev-parse", "HEAD").strip()
    url = f"git+file://{checkout}"
    assert {fix(f"{url}@{ref}") for ref in ("main", "v1", commit)} | {fix(url)} == {f"{url}@{commit}"}
    with pytest.raises(Unreachable, match="Needed a single revision"):
        fix(f"{url}@nonsense")
    with pytest.raises(Unreachable):
        fix("git+https://127.0.0.1:9/nobody/peft@main")


def test_an_edit_of_a_checkout_counts_and_byte_code_does_not(checkout: Path) -> None:
    """The digest follows the files that git would keep, committed or not."""
    before = fix(str(checkout))
    (checkout / "ignored.pyc").write_text("x")
    assert fix(str(checkout)) == before
    (checkout / "new.py").write_text("x = 1\n")
    assert fix(str(checkout)) != before
    with pytest.raises(Unreachable, match="no checkout"):
        fix(str(checkout.parent))


def test_a_cell_is_named_by_its_branch() -> None:
    """The id is fit for a file name, and the cell floats."""
    url = "git+https://github.com/huggingface/peft@feature/new"
    cell = Cell(python="3.11", pins={"peft": url, "torch": "2.13.0"})
    assert cell.id == "peft@feature_new-torch2.13.0-py3.11"
    assert cell.floating
    assert not replace(cell, pins={"peft": "git+https://github.com/huggingface/peft@" + "0123456789" * 4}).floating
    assert is_source(url)
    assert is_source("../peft")
    assert not is_source("0.13.0")
    assert problem(url) is None
    assert problem("git+nonsense") is not None
    assert slug("git+file:///a/b@" + "0123456789" * 4) == "0123456789"


@pytest.mark.parametrize("ref", ["--upload-pack=touch PLANTED;", "-oProxyCommand=x", "--output=PLANTED"])
def test_a_ref_is_never_an_option_to_git(checkout: Path, ref: str) -> None:
    """A ref that begins with a hyphen is refused where it is written, and does nothing where it is used."""
    planted = checkout.parent / "planted"
    ref = ref.replace("PLANTED", str(planted))
    for url in (f"git+file://{checkout}", "git+https://127.0.0.1:9/a/peft", f"git+ssh://127.0.0.1:9{checkout}"):
        assert problem(f"{url}@{ref}") is not None
        with pytest.raises(Unreachable):
            _commit(url.removeprefix("git+"), ref)
    assert not planted.exists()


def test_a_transport_that_runs_commands_is_refused() -> None:
    """Git's ``ext`` transport runs what follows; only the usual ones are sources."""
    assert problem("git+ext://sh -c true/@main") is not None


def test_credentials_are_in_no_words() -> None:
    """A URL with a token in it: what a person or a file is shown has stars in its place."""
    url = "git+https://user:sesame@127.0.0.1:9/nobody/peft"
    assert redact(f"{url}@main and {url}") == "git+https://***@127.0.0.1:9/nobody/peft@main and " + url.replace(
        "user:sesame", "***"
    )
    assert redact("git@github.com:a/b https://host/a@b") == "git@github.com:a/b https://host/a@b"
    with pytest.raises(Unreachable) as caught:
        fix(f"{url}@main")
    assert "sesame" not in str(caught.value)
    assert "sesame" not in str(problem(f"{url}@-x"))


def test_plan_hides_credentials(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The plan of a run, which is published, and the facts of a record name the source without them."""
    monkeypatch.setenv("PROMPT_BENCH_REPORTS", str(tmp_path))
    cell = Cell(python="3.11", pins={"peft": "git+https://user:sesame@127.0.0.1:9/nobody/peft@main", "torch": "2.13.0"})
    run = Run(id="r")
    run.add_plan(Plan(matrix="m", title="", device="cpu", run="r"), (PlannedCell(cell=cell, variants=()),))
    assert "nobody/peft@main" in run.plan_path.read_text()
    assert "sesame" not in run.plan_path.read_text()
    assert "sesame" not in str(cell_facts(cell, "m", None))
