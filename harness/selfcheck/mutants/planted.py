"""Mutants: single changes of a release's sources, and copies of the package that have one."""

from __future__ import annotations

import ast
import hashlib
import os
import shutil
import tomllib
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from packaging.specifiers import SpecifierSet

from harness.environments.scratch import scratch_folder
from harness.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

PACKAGE = "peft"
BY_HAND = Path(__file__).parent / "by_hand"
"""A TOML file for each subject."""

EQUIVALENT = Path(__file__).parent / "equivalent.toml"
"""Mutants made by a program that are the original by another name, each with the reason."""

_FIELDS = {"name", "file", "releases", "before", "after", "wrong", "equivalent"}


@dataclass(frozen=True, kw_only=True)
class Mutant:
    """One fault: in ``file`` of the package the text ``before`` is replaced by ``after``.

    ``before`` occurs once in a source of ``releases``; ``start`` is where, in characters, for one that a program made
    from a source. ``wrong`` says what a person would have got wrong. ``equivalent`` is the reason why nobody can
    tell the mutant from the original, for one that needs not be caught.
    """

    name: str
    file: str
    before: str
    after: str
    wrong: str
    releases: SpecifierSet
    equivalent: str = ""
    start: int | None = None

    @property
    def _where(self) -> str:
        return f"mutant {self.name}"

    @property
    def digest(self) -> str:
        """Return what tells this change from every other one."""
        about = f"{self.file}\0{self.start}\0{self.before}\0{self.after}"
        return hashlib.sha256(about.encode()).hexdigest()[:16]

    def place(self, source: str) -> int:
        """Return where in a source the change begins. Raises :class:`InputError` unless that is one place."""
        if self.start is not None:
            return self.start
        if (count := source.count(self.before)) != 1:
            problem = f"its text occurs {count} times in {self.file}, not once; add to it, or narrow its releases"
            raise InputError(self._where, problem)
        return source.index(self.before)

    def apply(self, source: str) -> str:
        """Return the source with the fault. Raises :class:`InputError` when it cannot be planted, or is no Python."""
        start = self.place(source)
        changed = source[:start] + self.after + source[start + len(self.before) :]
        try:
            ast.parse(changed)
        except SyntaxError as error:
            problem = f"{self.file} is no Python with it: {error}; mend its text"
            raise InputError(self._where, problem) from None
        return changed

    def lines(self, source: str) -> range:
        """Return the numbers of the lines that the change touches; where it only adds lines, the line before them."""
        same = _shared(self.before, self.after)
        rest = self.before[same:]
        same_end = _shared(rest[::-1], self.after[same:][::-1])
        changed = rest[: len(rest) - same_end]
        start = self.place(source) + same
        if not changed.strip():
            # Nothing is taken away: what stands before the change says where it is.
            start, changed = len(source[:start].rstrip()) - 1, ""
        first = source.count("\n", 0, start) + 1
        return range(first, first + changed.rstrip().count("\n") + 1)


def read_mutants(folder: Path = BY_HAND) -> tuple[Mutant, ...]:
    """Read the mutants that were made by hand. Raises :class:`InputError` with the entry that is not whole."""
    found: dict[str, Mutant] = {}
    for path in sorted(folder.glob("*.toml")):
        for number, entry in enumerate(tomllib.loads(path.read_text(encoding="utf-8"))["mutant"], 1):
            strange = entry.keys() - _FIELDS
            missing = _FIELDS - {"releases", "equivalent"} - entry.keys()
            if strange or missing or entry["name"] in found:
                words = f"unknown {sorted(strange)}, missing {sorted(missing)}; each has a name of its own"
                where = f"{path.name}, mutant {number}"
                raise InputError(where, words)
            # Without the line ends that stand beside the marks of a multi-line text.
            found[entry["name"]] = Mutant(
                name=entry["name"],
                file=entry["file"],
                before=entry["before"].strip("\n"),
                after=entry["after"].strip("\n"),
                wrong=entry["wrong"],
                releases=SpecifierSet(entry.get("releases", "")),
                equivalent=entry.get("equivalent", ""),
            )
    return tuple(found.values())


def expect_plantable(mutants: Iterable[Mutant], source: Callable[[str], str], release: str) -> None:
    """Raise :class:`InputError` that names every mutant without its one place in a release, before any is planted.

    ``source`` reads a file of the release and raises ``FileNotFoundError`` where there is none.
    """
    problems = []
    for one in mutants:
        try:
            one.apply(source(one.file))
        except FileNotFoundError:
            problems.append(f"mutant {one.name}: there is no {one.file}; narrow its releases")
        except InputError as error:
            problems.append(str(error))
    if problems:
        raise InputError(release, "\n  ".join(("faults that cannot be planted:", *problems)))


def read_equivalents(path: Path = EQUIVALENT) -> dict[str, str]:
    """Read which of the mutants that a program makes nobody can tell from the original: reasons by digest."""
    entries = tomllib.loads(path.read_text(encoding="utf-8"))["equivalent"] if path.is_file() else []
    return {entry["digest"]: entry["why"] for entry in entries}


def _shared(one: str, other: str) -> int:
    """Count the characters with which two texts both begin."""
    different = (place for place, (left, right) in enumerate(zip(one, other, strict=False)) if left != right)
    return next(different, min(len(one), len(other)))


@contextmanager
def copied(overlay: Path, purpose: str) -> Iterator[Path]:
    """Copy an overlay by hard links, which cost no space, into a folder that is removed at the end."""
    with scratch_folder(purpose) as folder:
        for entry in overlay.iterdir():
            if entry.is_dir():
                shutil.copytree(entry, folder / entry.name, copy_function=os.link)
        yield folder


def write_source(folder: Path, file: str, text: str) -> None:
    """Write one source of a copied overlay: not through the link, and without the byte code of the original."""
    path = folder / PACKAGE / file
    path.unlink(missing_ok=True)
    for code in (path.parent / "__pycache__").glob(f"{path.stem}.*.pyc"):
        code.unlink()
    path.write_text(text, encoding="utf-8")
