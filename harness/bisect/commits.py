"""Commits: from two neighbouring releases on to the commit, with git's own bisect."""

from __future__ import annotations

import re
import selectors
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from harness.bisect import client
from harness.bisect.repository import Commit, git_environment
from harness.bisect.search import Answer, Find
from harness.environments.resolve import Lock, name_of
from harness.errors import ExitStatus, HarnessError

if TYPE_CHECKING:
    from harness.bisect.probe import Prober
    from harness.bisect.question import Asking
    from harness.bisect.releases import Rule
    from harness.bisect.repository import Repository
    from harness.matrix.spec import Cell

_SKIP_STATUS = 125
_NAMED = re.compile(r"^# (possible )?first \w+ commit: \[([0-9a-f]{40})\]", re.MULTILINE)


class NoCommit(HarnessError):
    """The commits of two releases do not answer as the releases did."""

    exit_status = ExitStatus.NEEDS_A_PERSON


@dataclass(frozen=True, kw_only=True)
class CommitAnswer:
    """What git bisect came to.

    ``seconds`` is the wall time of ``git bisect run``.
    ``commits`` has one entry, or all that may be it when only skipped ones were left. ``log`` is
    git's own log; ``compare`` the address of the difference between the ends, if there is one.
    """

    package: str
    find: Find
    old: str
    new: str
    candidates: int
    commits: tuple[Commit, ...]
    probes: int
    seconds: float
    log: str
    web: str | None
    notes: tuple[str, ...] = field(default=())

    @property
    def compare(self) -> str | None:
        """Return the address of the comparison between the two ends."""
        return f"{self.web}/compare/{self.old[:12]}...{self.new[:12]}" if self.web else None


class CommitSearch:
    """Searches between two commits; each is installed as an overlay and measured in the held cell."""

    def __init__(
        self, repository: Repository, package: str, held: Cell, *, rule: Rule, asking: Asking, prober: Prober
    ) -> None:
        """``held`` is the cell that the package of each commit is put into."""
        self._repository, self._package, self._held = repository, package, held
        self._rule, self._asking, self._prober = rule, asking, prober
        self._asked: dict[str, Answer] = {}

    def run(self, old: str, new: str, find: Find, folder: Path, *, first_parent: bool = False) -> CommitAnswer:
        """Search between the commits of the old and the new end; git's logs go to ``folder``.

        Where the old end is no ancestor of the new one (a release that was cut on a branch) their
        merge base decides: it stands for the old end when it answers like it. Otherwise the change
        came on the branch of the old end, and is looked for there. Raises :class:`NoCommit`.
        """
        notes = []
        self._verify(old, find.old)
        self._verify(new, find.new)
        base = self._repository.merge_base(old, new)
        if base == new:
            message = f"commit {new[:12]} is an ancestor of {old[:12]}: give the ends the other way round"
            raise NoCommit(message)
        if base != old:
            answer = self.answer(base, "merge base")
            if answer is Answer.SKIP:
                message = f"the merge base {base[:12]} cannot be answered; name ancestors: --good-commit, --bad-commit"
                raise NoCommit(message)
            if answer is find.old:
                notes.append(
                    f"{old[:12]} was cut on a branch; its merge base {base[:12]} answers alike and stands for it"
                )
                old = base
            else:
                notes.append(
                    f"the merge base {base[:12]} answers like {new[:12]}: the change came on the branch of {old[:12]}"
                )
                find = Find.FIRST_FIXED if find is Find.FIRST_BAD else Find.FIRST_BAD
                old, new = base, old
        begin = time.monotonic()
        named, log = self._git_bisect(old, new, find, folder, first_parent=first_parent)
        seconds = time.monotonic() - begin
        if len(named) == 1:
            notes += self._confirm(named[0])
        return CommitAnswer(
            package=self._package,
            find=find,
            old=old,
            new=new,
            candidates=self._repository.between(old, new),
            commits=tuple(self._repository.describe(sha) for sha in named),
            probes=len(self._asked),
            seconds=round(seconds, 2),
            log=log,
            web=self._repository.web(),
            notes=tuple(notes),
        )

    def cell(self, sha: str) -> Cell:
        """Return the held cell with the package from a commit; everything else in its lock stays.

        Raises :class:`NoCommit` when the held cell has no lock.
        """
        lock = self._prober.locks.get(self._held)
        if not isinstance(lock, Lock):
            message = f"{self._held.id} cannot be resolved: {lock.words}"
            raise NoCommit(message)
        source = self._repository.source(sha)
        cell = replace(self._held, pins={**self._held.pins, self._package: source})
        others = [pin for pin in lock.pins if name_of(pin) != self._package]
        self._prober.locks.put(cell, Lock(pins=tuple(sorted([*others, f"{self._package} @ {source}"]))))
        return cell

    def answer(self, sha: str, why: str) -> Answer:
        """Install a commit, measure the variant, and say good, bad or skip."""
        cell = self.cell(sha)
        known = self._prober.known(cell) if self._asking.is_new(cell.id) else None
        title = self._repository.git("show", "--no-patch", "--format=%s", sha).strip()
        record = self._asking.ask(
            cell.id, f"{sha[:10]} {title}", why, known=known, measure=lambda: self._prober.measure(cell)
        )
        answer = self._rule.answer(record)
        self._asked.setdefault(sha, answer)
        return answer

    def _verify(self, sha: str, wanted: Answer) -> None:
        answer = self.answer(sha, "end")
        if answer is not wanted:
            message = (
                f"commit {sha[:12]} should be {wanted} like its release, but is {answer}; "
                "name another one: --good-commit SHA --bad-commit SHA"
            )
            raise NoCommit(message)

    def _confirm(self, sha: str) -> list[str]:
        """Ask the answer and its parent again; say so when one of them answers otherwise now."""
        parents = self._repository.git("rev-list", "--parents", "-n", "1", sha).split()[1:2]
        again = {one: self.answer(one, "repeat") for one in (sha, *parents) if one in self._asked}
        return [
            f"flaky: {one[:12]} was {self._asked[one]} and is {now} when asked again; the answer is not certain"
            for one, now in again.items()
            if now is not self._asked[one]
        ]

    def _git_bisect(self, old: str, new: str, find: Find, folder: Path, *, first_parent: bool) -> tuple[list[str], str]:
        terms = [] if find is Find.FIRST_BAD else ["--term-old=broken", "--term-new=fixed"]
        with self._repository.worktree(new) as worktree, TemporaryDirectory(prefix="prompt-bench-line-") as parent:
            start = ["start", "--no-checkout", *terms, *(["--first-parent"] if first_parent else []), new, old]
            output = _bisect(worktree, *start)
            path = Path(parent) / "line"
            with socket.socket(socket.AF_UNIX) as line:
                line.bind(str(path))
                line.listen()
                output += self._serve(line, worktree, path, find)
            log = _bisect(worktree, "log")
        (folder / "git-bisect-run.txt").write_text(output, encoding="utf-8")
        (folder / "git-bisect.log").write_text(log, encoding="utf-8")
        named = list(dict.fromkeys(match[2] for match in _NAMED.finditer(log)))
        if not named:
            message = f"git bisect named no commit; its words are in {folder / 'git-bisect-run.txt'}"
            raise NoCommit(message)
        return named, log

    def _serve(self, line: socket.socket, worktree: Path, path: Path, find: Find) -> str:
        """Answer ``git bisect run`` until it ends; the exit status of each commit goes over the line."""
        script = [sys.executable, "-I", "-S", client.__file__, str(path)]
        run = subprocess.Popen(  # noqa: S603
            ["git", "bisect", "run", *script],  # noqa: S607
            cwd=worktree,
            env=git_environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        output = b""
        assert run.stdout is not None  # noqa: S101 - PIPE was asked for
        try:
            with run, selectors.DefaultSelector() as ready:
                ready.register(line, selectors.EVENT_READ)
                ready.register(run.stdout, selectors.EVENT_READ)
                while True:
                    for key, _ in ready.select():
                        if key.fileobj is line:
                            connection, _address = line.accept()
                            with connection:
                                sha = _head(worktree)
                                connection.sendall(str(self._status(sha, find)).encode())
                        elif chunk := run.stdout.read1():  # type: ignore[attr-defined]
                            output += chunk
                        else:
                            return output.decode(errors="replace")
        finally:
            if run.poll() is None:
                run.kill()

    def _status(self, sha: str, find: Find) -> int:
        answer = self.answer(sha, "git bisect")
        return _SKIP_STATUS if answer is Answer.SKIP else int(answer is find.new)


def _head(worktree: Path) -> str:
    return _run(worktree, "rev-parse", "BISECT_HEAD").strip()


def _bisect(worktree: Path, *arguments: str) -> str:
    return _run(worktree, "bisect", *arguments)


def _run(worktree: Path, *arguments: str) -> str:
    done = subprocess.run(  # noqa: S603
        ["git", *arguments],  # noqa: S607
        cwd=worktree, env=git_environment(), capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode != 0:
        message = f"git {arguments[0]} refused: {' '.join(done.stderr.split())[-300:]}"
        raise NoCommit(message)
    return done.stdout
