"""Commits: git's own bisect in a repository that the test makes. What a commit answers stands in a file."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING, cast

import pytest

from harness.bisect.commits import CommitSearch, NoCommit
from harness.bisect.repository import Repository
from harness.bisect.search import Answer, Find
from harness.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from harness.bisect.probe import Prober
    from harness.bisect.question import Asking
    from harness.bisect.releases import Rule
    from harness.matrix.spec import Cell


class Origin:
    """A repository with commits whose file ``state`` says what they answer."""

    def __init__(self, folder: Path) -> None:
        """Make an empty repository."""
        self.folder = folder
        self.git("init", "--quiet", "--initial-branch=main", str(folder))

    def git(self, *arguments: str) -> str:
        """Run git as somebody; inside the repository."""
        who = {
            "GIT_AUTHOR_NAME": "A",
            "GIT_AUTHOR_EMAIL": "a@b",
            "GIT_COMMITTER_NAME": "A",
            "GIT_COMMITTER_EMAIL": "a@b",
        }
        environ = {**os.environ, **who, "GIT_COMMITTER_DATE": "2024-08-01T00:00:00Z"}
        place = [] if arguments[0] == "init" else ["-C", str(self.folder)]
        done = subprocess.run(["git", *place, *arguments], capture_output=True, text=True, env=environ, check=True)
        return done.stdout.strip()

    def commit(self, state: str, title: str) -> str:
        """Commit a state; every commit touches a file of its own, too."""
        (self.folder / "state").write_text(state, encoding="utf-8")
        (self.folder / f"{abs(hash(title)) % 10**8}.txt").write_text(title, encoding="utf-8")
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "-m", title)
        return self.git("rev-parse", "HEAD")


class Reading(CommitSearch):
    """Reads what a commit answers, in place of installing it."""

    def __init__(self, repository: Repository) -> None:
        """There is no cell, no worker and nothing to ask."""
        nothing = cast("Cell", None)
        super().__init__(
            repository, "planted", nothing,
            rule=cast("Rule", None), asking=cast("Asking", None), prober=cast("Prober", None),
        )  # fmt: skip
        self.seen: list[tuple[str, str]] = []
        self.flips: dict[str, Answer] = {}

    def answer(self, sha: str, why: str) -> Answer:
        """Read ``state`` at a commit; a flipping commit answers otherwise when it is repeated."""
        self.seen.append((sha, why))
        answer = Answer(self._repository.git("show", f"{sha}:state").strip())
        if why == "repeat" and sha in self.flips:
            return self.flips[sha]
        self._asked.setdefault(sha, answer)
        return answer


@pytest.fixture
def origin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Origin:
    """Make a repository; copies of it go to a cache of the test's."""
    monkeypatch.setenv("PROMPT_BENCH_CACHE", str(tmp_path / "cache"))
    return Origin(tmp_path / "origin")


def line_of(origin: Origin, states: str) -> list[str]:
    """Commit a line of states: g, b and s for good, bad and skip."""
    words = {"g": "good", "b": "bad", "s": "skip"}
    return [origin.commit(words[one], f"Commit {place} (#{100 + place})") for place, one in enumerate(states)]


@pytest.mark.parametrize(
    ("states", "find", "first"),
    [
        ("gggggbbb", Find.FIRST_BAD, 5),
        ("gb", Find.FIRST_BAD, 1),
        ("bbbggggggg", Find.FIRST_FIXED, 3),
        ("ggsgsbbsb", Find.FIRST_BAD, None),
    ],
)
def test_git_finds_the_commit(origin: Origin, tmp_path: Path, states: str, find: Find, first: int | None) -> None:
    """The first bad or first fixed one with its facts; where only skips are left, all that it may be."""
    shas = line_of(origin, states)
    before = origin.git("status", "--porcelain", "--branch"), origin.git("for-each-ref")
    search = Reading(Repository(str(origin.folder)))
    answer = search.run(shas[0], shas[-1], find, tmp_path)
    named = [commit.sha for commit in answer.commits]
    if first is None:
        assert set(named) == {shas[4], shas[5]}
    else:
        assert named == [shas[first]]
        (commit,) = answer.commits
        assert (commit.title, commit.pull, commit.date) == (
            f"Commit {first} (#{100 + first})",
            str(100 + first),
            "2024-08-01",
        )
        assert "state" in commit.files
        assert len(commit.files) == 2
    assert answer.candidates == len(states) - 1
    assert f"# {'first' if first else 'only skipped commits left to test'}" in answer.log.replace("possible ", "")
    assert (tmp_path / "git-bisect.log").read_text(encoding="utf-8") == answer.log
    assert [why for _, why in search.seen[:2]] == ["end", "end"]
    assert (origin.git("status", "--porcelain", "--branch"), origin.git("for-each-ref")) == before
    assert origin.git("worktree", "list").count("\n") == 0, "nothing is left in the caller's repository"


def test_ends_that_do_not_answer_like_their_releases_are_refused(origin: Origin, tmp_path: Path) -> None:
    """Before git bisect begins."""
    shas = line_of(origin, "gggb")
    search = Reading(Repository(str(origin.folder)))
    with pytest.raises(NoCommit, match="should be bad like its release, but is good"):
        search.run(shas[0], shas[2], Find.FIRST_BAD, tmp_path)
    with pytest.raises(NoCommit, match="the other way round"):
        Reading(Repository(str(origin.folder))).run(shas[3], shas[0], Find.FIRST_FIXED, tmp_path)


@pytest.mark.parametrize("fixed_on_branch", [False, True])
def test_a_release_that_was_cut_on_a_branch(origin: Origin, tmp_path: Path, fixed_on_branch: bool) -> None:
    """The merge base stands for the old end when it answers alike; else the change is on the branch."""
    root = line_of(origin, "bb" if fixed_on_branch else "gg")
    origin.git("checkout", "--quiet", "-b", "v1-release")
    pick = origin.commit("good", "Pick the fix for 1.0.1 (#7)")
    released = origin.commit("good", "Release 1.0.1")
    origin.git("checkout", "--quiet", "main")
    broken = origin.commit("bad", "Break it (#8)")
    newest = origin.commit("bad", "Something else (#9)")
    answer = Reading(Repository(str(origin.folder))).run(released, newest, Find.FIRST_BAD, tmp_path)
    assert [commit.sha for commit in answer.commits] == [pick if fixed_on_branch else broken]
    assert answer.find is (Find.FIRST_FIXED if fixed_on_branch else Find.FIRST_BAD)
    assert root[-1][:12] in answer.notes[0]
    assert ("came on the branch" if fixed_on_branch else "stands for it") in answer.notes[0]


def test_first_parent_names_the_merge(origin: Origin, tmp_path: Path) -> None:
    """With ``--first-parent`` the merge is the answer, without it the commit on the side."""
    old = origin.commit("good", "Old")
    origin.git("checkout", "--quiet", "-b", "side")
    inner = origin.commit("bad", "Inner")
    origin.commit("bad", "Inner again")
    origin.git("checkout", "--quiet", "main")
    origin.git("merge", "--quiet", "--no-ff", "side", "-m", "Merge pull request #42 from side")
    merge = origin.git("rev-parse", "HEAD")
    new = origin.commit("bad", "New")
    for first_parent, expected in ((True, merge), (False, inner)):
        search = Reading(Repository(str(origin.folder)))
        answer = search.run(old, new, Find.FIRST_BAD, tmp_path, first_parent=first_parent)
        assert [commit.sha for commit in answer.commits] == [expected]
        assert answer.commits[0].pull == ("42" if first_parent else None)


def test_a_commit_that_answers_otherwise_the_second_time_is_told(origin: Origin, tmp_path: Path) -> None:
    """Git keeps no second answers; the two that decide are asked again, and a change is said."""
    shas = line_of(origin, "ggbb")
    search = Reading(Repository(str(origin.folder)))
    search.flips = {shas[2]: Answer.GOOD}
    answer = search.run(shas[0], shas[3], Find.FIRST_BAD, tmp_path)
    assert "flaky" in answer.notes[-1]
    assert shas[2][:12] in answer.notes[-1]


def test_a_release_is_found_by_its_tag_or_its_title(origin: Origin) -> None:
    """A tag first, then a commit titled so; 1.0 is not 1.0.1; otherwise it says what to give."""
    first = origin.commit("good", "Release 1.0.1 (#3)")
    tagged = origin.commit("good", "Anything")
    origin.git("tag", "-a", "v1.1.0", "-m", "annotated")
    repository = Repository(str(origin.folder))
    assert repository.commit_of("planted", "1.1.0") == tagged
    assert repository.commit_of("planted", "1.0.1") == first
    with pytest.raises(UsageError, match="--good-commit SHA"):
        repository.commit_of("planted", "1.0")
    newer = origin.commit("good", "Release 1.2.0")
    assert Repository(str(origin.folder)).commit_of("planted", "1.2.0") == newer, "the copy is brought up to date"
    assert repository.resolve(first[:10]) == first
    with pytest.raises(UsageError, match="no commit 'nonsense'"):
        repository.resolve("nonsense")


def test_a_path_that_is_no_repository_is_one_clear_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With what to give instead."""
    monkeypatch.setenv("PROMPT_BENCH_CACHE", str(tmp_path / "cache"))
    with pytest.raises(UsageError, match="give the path of a clone, or a URL"):
        Repository(str(tmp_path))


def test_the_address_on_github_comes_from_the_origin_or_the_project(origin: Origin) -> None:
    """For the links of a report; none when nobody says it."""
    origin.commit("good", "One")
    assert Repository(str(origin.folder)).web() is None
    (origin.folder / "setup.py").write_text('setup(url="https://github.com/somebody/planted.py")', encoding="utf-8")
    origin.commit("good", "Two")
    assert Repository(str(origin.folder)).web() == "https://github.com/somebody/planted.py"
    origin.git("remote", "add", "origin", "git@github.com:huggingface/peft.git")
    assert Repository(str(origin.folder)).web() == "https://github.com/huggingface/peft"
