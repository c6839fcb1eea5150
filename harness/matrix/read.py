"""Read a matrix file: TOML in, cells out, every mistake at once with its line.

Needs nothing but the standard library and packaging, because ``noxfile.py`` reads the matrix
inside nox's own environment.
"""

from __future__ import annotations

import difflib
import itertools
import math
import re
import tomllib
from datetime import date
from pathlib import Path
from typing import Any

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.version import InvalidVersion, Version

from harness.contracts.plan import pattern_problem
from harness.errors import MOST_TOLD, MatrixError, UsageError
from harness.escape import printable
from harness.interface import CellState
from harness.matrix.source import is_source, problem
from harness.matrix.spec import Cell, Matrix, is_newest
from harness.packages import LAYER_PACKAGES, PACKAGES, REQUIRED_PACKAGES
from harness.paths import ROOT
from harness.program import PROGRAM

MATRICES = ROOT / "matrices"

_HEAD_KEYS = {"title", "python", "limit-seconds", "latency", "examples", "as-of", "cases", *PACKAGES}
_CELL_KEYS = {"why", "python", "as-of", "cases", "state", *PACKAGES}
_SECTIONS = {"matrix", "cell", "axes", "exclude", "state"}
_DEFAULT_PYTHON = "3.11"
LONGEST_LIMIT_S = 86_400
"""Seconds that one variant may be given: a day."""

LARGEST_FILE = 1 << 20
"""Bytes of a matrix file: what TOML makes of a larger one takes hundreds of times its memory."""

MOST_CELLS = 20_000
"""Cells of a matrix, those that are excluded among them; counted before the axes are multiplied."""

LONGEST_VERSION = 100
"""Characters of a version or a specifier of versions."""

_DOTTED_KEY = re.compile(r"""(?<![\w-])(?:(?:[\w-]++|"[^"\n]*+"|'[^'\n]*+')[ \t]{0,8}+\.[ \t]{0,8}+){16}""")
"""A key of more than 16 parts: each is a table within a table, and none of ours has more than one."""

_WIDEST_VALUE = 60


def find_matrix(name: str) -> Path:
    """Return the path of a matrix: a name in ``matrices/``, or a path to a TOML file.

    Raises :class:`UsageError` naming the closest match when there is none.
    """
    path = Path(name)
    if path.suffix == ".toml":
        if path.is_file():
            return path
        message = f"no matrix file {name}; `{PROGRAM} plan` without a name lists the known ones"
        raise UsageError(message)
    known = {one.stem: one for one in sorted(MATRICES.glob("*.toml"))}
    if name in known:
        return known[name]
    close = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(known)}"
    message = f"no matrix {name!r} in matrices/; {hint}"
    raise UsageError(message)


def load_matrix(name: str) -> Matrix:
    """Read a matrix by name or path. Raises :class:`UsageError` or :class:`MatrixError`."""
    path = find_matrix(name)
    try:
        with path.open("rb") as file:
            data = file.read(LARGEST_FILE + 1)
        text = data.decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise MatrixError(path.name, [(None, f"cannot be read: {error}; a matrix is a TOML file in UTF-8")]) from None
    return parse_matrix(text, path)


def parse_matrix(text: str, path: Path) -> Matrix:
    """Turn the text of a matrix file into a :class:`Matrix`.

    Raises :class:`MatrixError` with every mistake found, in the order of their lines.
    """
    if len(text) > LARGEST_FILE:
        raise MatrixError(path.name, [(None, f"larger than {LARGEST_FILE} bytes; split it into several matrices")])
    if dotted := _DOTTED_KEY.search(text):
        line = text.count("\n", 0, dotted.start()) + 1
        raise MatrixError(path.name, [(line, "a key of more than 16 parts; write a plain name")])
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        found = re.search(r"line (\d+)", str(error))
        raise MatrixError(path.name, [(int(found[1]) if found else None, f"not TOML: {error}")]) from None
    except (ValueError, RecursionError) as error:
        # A number of too many digits, a date that is none, brackets within brackets.
        raise MatrixError(path.name, [(None, f"not TOML that can be read: {error}")]) from None
    return _Reader(text, path, data).matrix()


class _Reader:
    """Collects problems while it reads; raises once, at the end."""

    def __init__(self, text: str, path: Path, data: dict[str, Any]) -> None:
        self.path, self.data = path, data
        self.lines = key_lines(text)
        self.problems: list[tuple[int | None, str]] = []

    def matrix(self) -> Matrix:
        head = self.table("matrix", 0, self.data.get("matrix", {}), _HEAD_KEYS)
        for section in sorted(self.data.keys() - _SECTIONS)[:MOST_TOLD]:
            self.problems.append((self.lines.get((section, 0, "")), _unknown("section", section, _SECTIONS)))
        limit = head.get("limit-seconds", 60)
        # nan compares with nothing, so that this refuses it, too.
        if isinstance(limit, bool) or not isinstance(limit, int | float) or not 0 < limit <= LONGEST_LIMIT_S:
            words = f"limit-seconds must be a number above 0, at most {LONGEST_LIMIT_S}, not {_quoted(limit)}"
            self.complain("matrix", 0, "limit-seconds", words)
        timed = head.get("latency", True)
        if not isinstance(timed, bool):
            self.complain("matrix", 0, "latency", f"latency must be true or false, not {_quoted(timed)}")
        examples = head.get("examples")
        if examples is not None and (isinstance(examples, bool) or not isinstance(examples, int) or examples < 1):
            self.complain("matrix", 0, "examples", f"examples must be a whole number above 0, not {_quoted(examples)}")
        listed = self.listed("cell")
        if len(listed) > MOST_CELLS:
            self.problems.append((None, f"{len(listed)} cells; a matrix has at most {MOST_CELLS}"))
            listed = []
        self.refuse_unprintable()
        self.states = self.known_states()
        explicit = [self.cell(index, one, head) for index, one in enumerate(listed)]
        product, excluded = self.product(head)
        cells = [one for one in [*explicit, *product] if one is not None]
        seen: set[str] = set()
        for cell in cells:
            if cell.id in seen:
                self.problems.append((None, f"two cells have the id {cell.id}; remove one"))
            seen.add(cell.id)
        if not cells and not self.problems:
            self.problems.append((None, "no cells; add a [[cell]] with peft and transformers, or [axes]"))
        if self.problems:
            raise MatrixError(self.path.name, self.problems)
        return Matrix(
            name=self.path.stem,
            path=self.path,
            title=str(head.get("title", self.path.stem)),
            cells=tuple(cells),
            limit_s=float(limit),
            timed=timed,
            examples=examples,
            excluded=tuple(excluded),
        )

    def listed(self, section: str) -> list[Any]:
        """Return the tables of a section that is written with two brackets."""
        tables = self.data.get(section, [])
        if isinstance(tables, list):
            return tables
        self.problems.append((self.lines.get((section, 0, "")), f"write [[{section}]], with two brackets"))
        return []

    def refuse_unprintable(self) -> None:
        """Complain about control characters, also those that TOML writes as escapes: titles and ids are shown."""
        for section, content in self.data.items():
            for index, table in enumerate(content if isinstance(content, list) else [content]):
                for key, value in table.items() if isinstance(table, dict) else [("", table)]:
                    if printable(text := f"{key}{_strings(value)}") != text:
                        self.complain(section, index, key, f"{_quoted(key)} holds control characters; write plain text")

    def table(self, section: str, index: int, table: Any, keys: set[str]) -> dict[str, Any]:
        if not isinstance(table, dict):
            self.problems.append((self.lines.get((section, index, "")), f"{section} must be a table"))
            return {}
        for key in sorted(table.keys() - keys)[:MOST_TOLD]:
            self.complain(section, index, key, _unknown("key or package", key, keys))
        return {key: value for key, value in table.items() if key in keys}

    def complain(self, section: str, index: int, key: str, text: str) -> None:
        self.problems.append((self.lines.get((section, index, key), self.lines.get((section, index, ""))), text))

    def cell(self, index: int, table: Any, head: dict[str, Any]) -> Cell | None:
        own = self.table("cell", index, table, _CELL_KEYS)
        before = len(self.problems)
        merged = {**head, **own}
        for required in REQUIRED_PACKAGES:
            if required not in merged:
                self.complain("cell", index, "", f"a cell needs {required}, here or under [matrix]")
        pins = {name: merged[name] for name in PACKAGES if name in merged}
        for name, value in pins.items():
            where = ("cell", index) if name in own else ("matrix", 0)
            problem = _version_problem(name, value)
            if problem:
                self.complain(*where, name, problem)
        return self.finish(("cell", index), merged, pins) if len(self.problems) == before else None

    def finish(self, where: tuple[str, int], merged: dict[str, Any], pins: dict[str, str]) -> Cell | None:
        before = len(self.problems)
        as_of = merged.get("as-of")
        if as_of is not None and type(as_of) is not date:
            self.complain(*where, "as-of", f"as-of must be a date such as 2024-10-12, not {_quoted(as_of)}")
        cases = merged.get("cases", ["*"])
        if not isinstance(cases, list) or not all(isinstance(one, str) for one in cases):
            self.complain(*where, "cases", "cases must be a list of case names or patterns")
        python = merged.get("python", _DEFAULT_PYTHON)
        if not isinstance(python, str) or not re.fullmatch(r"3\.\d{1,3}", python):
            self.complain(*where, "python", f"python must be a minor version such as '3.11', not {_quoted(python)}")
        pins = {name: self.absolute(pin) for name, pin in pins.items()}
        known = next((facts for facts, rule in self.states if _is_covered(pins, rule)), {})
        state = merged.get("state", known.get("state", "ready"))
        says = "" if "state" in merged else known.get("says", "")
        if not isinstance(state, str) or state not in set(CellState):
            self.complain(*where, "state", _unknown("state", _quoted(state), set(CellState)))
        if len(self.problems) > before:
            return None
        why = str(merged.get("why", ""))
        return Cell(python=python, pins=pins, as_of=as_of, why=why, cases=tuple(cases), state=state, says=says)

    def product(self, head: dict[str, Any]) -> tuple[list[Cell | None], list[tuple[Cell, str]]]:
        axes = self.axes(head)
        rules = self.rules("exclude", {"why"})
        if not axes or self.problems:
            return [], []
        cells: list[Cell | None] = []
        excluded = []
        for values in itertools.product(*axes.values()):
            pins = {**{name: head[name] for name in PACKAGES if name in head}, **dict(zip(axes, values, strict=True))}
            cell = self.finish(("axes", 0), head, {name: pins[name] for name in PACKAGES if name in pins})
            reason = next((str(facts["why"]) for facts, rule in rules if _is_covered(pins, rule)), None)
            if cell is not None and reason is not None:
                excluded.append((cell, reason))
            else:
                cells.append(cell)
        return cells, excluded

    def axes(self, head: dict[str, Any]) -> dict[str, list[str]]:
        """Return the versions of each package that are multiplied; none of them where one is no version."""
        axes = self.table("axes", 0, self.data.get("axes", {}), set(PACKAGES))
        for name, values in axes.items():
            if not isinstance(values, list) or not values:
                self.complain("axes", 0, name, f"the axis {name} must be a list of versions")
                return {}
        if (count := math.prod(len(values) for values in axes.values())) > MOST_CELLS:
            self.complain("axes", 0, "", f"{count} cells; a matrix has at most {MOST_CELLS}")
            return {}
        fixed = {name: [head[name]] for name in PACKAGES if axes and name in head and name not in axes}
        for section, versions in (("axes", axes), ("matrix", fixed)):
            for name, values in versions.items():
                for value in values:
                    if words := _version_problem(name, value):
                        self.complain(section, 0, name, words)
        return axes

    def known_states(self) -> list[tuple[dict[str, Any], dict[str, SpecifierSet]]]:
        states = self.rules("state", {"why", "state", "says"})
        for index, (facts, _) in enumerate(states):
            if not isinstance(facts["state"], str) or facts["state"] not in set(CellState):
                self.complain("state", index, "state", _unknown("state", _quoted(facts["state"]), set(CellState)))
            if words := pattern_problem(str(facts["says"])):
                self.complain("state", index, "says", f"says is {words}")
        return states

    def rules(self, section: str, keys: set[str]) -> list[tuple[dict[str, Any], dict[str, SpecifierSet]]]:
        """Read tables that speak of windows of versions: their keys, and a specifier for each package."""
        rules = []
        for index, table in enumerate(self.listed(section)):
            own = self.table(section, index, table, {*keys, *PACKAGES})
            for key in keys:
                if not own.get(key):
                    self.complain(section, index, "", f"[[{section}]] needs a {key}")
            rule = {}
            for name in own.keys() - keys:
                if (specifier := _specifier(own[name])) is not None:
                    rule[name] = specifier
                else:
                    words = f"{name}: {_quoted(own[name])} is not a specifier such as '<0.10'"
                    self.complain(section, index, name, words)
            rules.append(({key: own.get(key) for key in keys}, rule))
        return rules

    def absolute(self, pin: str) -> str:
        """Take the path of a checkout from the folder of the matrix file."""
        if not is_source(pin) or pin.startswith("git+"):
            return pin
        return str((self.path.parent / Path(pin).expanduser()).resolve())


def key_lines(text: str) -> dict[tuple[str, int, str], int]:
    """Map ``(section, index, key)`` to its 1-based line; the key "" stands for the header.

    tomllib gives values without positions. Headers and keys of a matrix file stand at the start
    of a line, which is all that this needs.
    """
    lines: dict[tuple[str, int, str], int] = {}
    counts: dict[str, int] = {}
    section, index = "", 0
    for number, line in enumerate(text.splitlines(), start=1):
        if header := re.match(r"\s*\[\[?\s*([\w.\"-]+)\s*\]\]?", line):
            section = header[1].strip('"')
            index = counts.get(section, 0)
            counts[section] = index + 1
            lines[section, index, ""] = number
        elif key := re.match(r"\s*[\"']?([\w-]+)[\"']?\s*=", line):
            lines.setdefault((section, index, key[1]), number)
            if not section:
                lines.setdefault((key[1], 0, ""), number)
    return lines


def _is_covered(pins: dict[str, str], rule: dict[str, SpecifierSet]) -> bool:
    """Return whether a rule covers these pins; what is not pinned, or floats, is covered by none."""
    return all(name in pins and not _floats(pins[name]) and Version(pins[name]) in one for name, one in rule.items())


def _specifier(value: Any) -> SpecifierSet | None:
    """Return a specifier of versions; None when a value is none."""
    if not isinstance(value, str) or len(value) > LONGEST_VERSION:
        return None
    try:
        return SpecifierSet(value, prereleases=True)
    except InvalidSpecifier:
        return None


def _floats(pin: str) -> bool:
    return is_newest(pin) or is_source(pin)


def _version_problem(name: str, value: Any) -> str | None:
    if isinstance(value, str) and len(value) > LONGEST_VERSION and not is_source(value):
        return f"{name} = {_quoted(value)} is longer than {LONGEST_VERSION} characters"
    if isinstance(value, str) and is_source(value):
        return f"{name} cannot come from a source, only from a release" if name in LAYER_PACKAGES else problem(value)
    if isinstance(value, str) and is_newest(value):
        return None
    try:
        Version(value)
    except (InvalidVersion, TypeError):
        what = "a version such as '4.45.2', nor 'newest', 'newest-1', git+URL@REF or a path"
        return f"{name} = {_quoted(value)} is not {what}"
    return None


def _strings(value: Any) -> str:
    """Return the texts of a value, one after the other."""
    match value:
        case str():
            return value
        case list():
            return "".join(map(_strings, value))
        case dict():
            return "".join(f"{key}{_strings(one)}" for key, one in value.items())
    return ""


def _quoted(value: Any) -> str:
    """Return a value as a message quotes it, cut where it is long."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):
        return "a value that is too long to be written"
    return text if len(text) <= _WIDEST_VALUE else f"{text[:_WIDEST_VALUE]}..."


def _unknown(what: str, word: str, known: set[str]) -> str:
    word = word[:_WIDEST_VALUE]
    close = difflib.get_close_matches(word, sorted(known), n=1)
    return f"unknown {what} {word!r}" + (
        f"; did you mean {close[0]!r}?" if close else f"; known: {', '.join(sorted(known))}"
    )
