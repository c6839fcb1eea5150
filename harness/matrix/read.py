"""Read a matrix file: TOML in, cells out, every mistake at once with its line.

Needs nothing but the standard library and packaging, because ``noxfile.py`` reads the matrix
inside nox's own environment.
"""

from __future__ import annotations

import difflib
import itertools
import re
import tomllib
from datetime import date
from pathlib import Path
from typing import Any

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.version import InvalidVersion, Version

from harness.errors import MatrixError, UsageError
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


def find_matrix(name: str) -> Path:
    """Give the path of a matrix: a name in ``matrices/``, or a path to a TOML file.

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
    return parse_matrix(path.read_text(encoding="utf-8"), path)


def parse_matrix(text: str, path: Path) -> Matrix:
    """Turn the text of a matrix file into a :class:`Matrix`.

    Raises :class:`MatrixError` with every mistake found, in the order of their lines.
    """
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        line = re.search(r"line (\d+)", str(error))
        raise MatrixError(path.name, [(int(line[1]) if line else None, f"not TOML: {error}")]) from None
    return _Reader(text, path, data).matrix()


class _Reader:
    """Collects problems while it reads; raises once, at the end."""

    def __init__(self, text: str, path: Path, data: dict[str, Any]) -> None:
        self.path, self.data = path, data
        self.lines = key_lines(text)
        self.problems: list[tuple[int | None, str]] = []

    def matrix(self) -> Matrix:
        head = self.table("matrix", 0, self.data.get("matrix", {}), _HEAD_KEYS)
        for section in self.data.keys() - _SECTIONS:
            self.problems.append((self.lines.get((section, 0, "")), _unknown("section", section, _SECTIONS)))
        limit = head.get("limit-seconds", 60)
        # nan compares with nothing, so that this refuses it, too.
        if isinstance(limit, bool) or not isinstance(limit, int | float) or not 0 < limit <= LONGEST_LIMIT_S:
            words = f"limit-seconds must be a number above 0, at most {LONGEST_LIMIT_S}, not {str(limit)[:40]}"
            self.complain("matrix", 0, "limit-seconds", words)
        timed = head.get("latency", True)
        if not isinstance(timed, bool):
            self.complain("matrix", 0, "latency", f"latency must be true or false, not {timed!r}")
        examples = head.get("examples")
        if examples is not None and (isinstance(examples, bool) or not isinstance(examples, int) or examples < 1):
            self.complain("matrix", 0, "examples", f"examples must be a whole number above 0, not {examples!r}")
        listed = self.data.get("cell", [])
        if not isinstance(listed, list):
            self.problems.append((self.lines.get(("cell", 0, "")), "write [[cell]], with two brackets"))
            listed = []
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

    def table(self, section: str, index: int, table: Any, keys: set[str]) -> dict[str, Any]:
        if not isinstance(table, dict):
            self.problems.append((self.lines.get((section, index, "")), f"{section} must be a table"))
            return {}
        for key in table.keys() - keys:
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
            self.complain(*where, "as-of", f"as-of must be a date such as 2024-10-12, not {as_of!r}")
        cases = merged.get("cases", ["*"])
        if not isinstance(cases, list) or not all(isinstance(one, str) for one in cases):
            self.complain(*where, "cases", "cases must be a list of case names or patterns")
        python = merged.get("python", _DEFAULT_PYTHON)
        if not isinstance(python, str) or not re.fullmatch(r"3\.\d+", python):
            self.complain(*where, "python", f"python must be a minor version such as '3.11', not {python!r}")
        pins = {name: self.absolute(pin) for name, pin in pins.items()}
        known = next((facts for facts, rule in self.states if _is_covered(pins, rule)), {})
        state = merged.get("state", known.get("state", "ready"))
        says = "" if "state" in merged else known.get("says", "")
        if state not in set(CellState):
            self.complain(*where, "state", _unknown("state", str(state), set(CellState)))
        if len(self.problems) > before:
            return None
        why = str(merged.get("why", ""))
        return Cell(python=python, pins=pins, as_of=as_of, why=why, cases=tuple(cases), state=state, says=says)

    def product(self, head: dict[str, Any]) -> tuple[list[Cell | None], list[tuple[Cell, str]]]:
        axes = self.table("axes", 0, self.data.get("axes", {}), set(PACKAGES))
        if not axes:
            return [], []
        for name, values in axes.items():
            if not isinstance(values, list) or not values:
                self.complain("axes", 0, name, f"the axis {name} must be a list of versions")
                return [], []
            for value in values:
                if problem := _version_problem(name, value):
                    self.complain("axes", 0, name, problem)
        rules = self.rules("exclude", {"why"})
        if self.problems:
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

    def known_states(self) -> list[tuple[dict[str, Any], dict[str, SpecifierSet]]]:
        states = self.rules("state", {"why", "state", "says"})
        for index, (facts, _) in enumerate(states):
            if facts["state"] not in set(CellState):
                self.complain("state", index, "state", _unknown("state", str(facts["state"]), set(CellState)))
            try:
                re.compile(str(facts["says"]))
            except re.error as error:
                self.complain("state", index, "says", f"says is not a regular expression: {error}")
        return states

    def rules(self, section: str, keys: set[str]) -> list[tuple[dict[str, Any], dict[str, SpecifierSet]]]:
        """Read tables that speak of windows of versions: their keys, and a specifier for each package."""
        rules = []
        for index, table in enumerate(self.data.get(section, [])):
            own = self.table(section, index, table, {*keys, *PACKAGES})
            for key in keys:
                if not own.get(key):
                    self.complain(section, index, "", f"[[{section}]] needs a {key}")
            rule = {}
            for name in own.keys() - keys:
                try:
                    rule[name] = SpecifierSet(own[name], prereleases=True)
                except (InvalidSpecifier, AttributeError, TypeError):
                    self.complain(section, index, name, f"{name}: {own[name]!r} is not a specifier such as '<0.10'")
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
    """Tell whether a rule covers these pins; what is not pinned, or floats, is covered by none."""
    return all(name in pins and not _floats(pins[name]) and Version(pins[name]) in one for name, one in rule.items())


def _floats(pin: str) -> bool:
    return is_newest(pin) or is_source(pin)


def _version_problem(name: str, value: Any) -> str | None:
    if isinstance(value, str) and is_source(value):
        return f"{name} cannot come from a source, only from a release" if name in LAYER_PACKAGES else problem(value)
    if isinstance(value, str) and is_newest(value):
        return None
    try:
        Version(value)
    except (InvalidVersion, TypeError):
        return f"{name} = {value!r} is not a version such as '4.45.2', nor 'newest', 'newest-1', git+URL@REF or a path"
    return None


def _unknown(what: str, word: str, known: set[str]) -> str:
    close = difflib.get_close_matches(word, sorted(known), n=1)
    return f"unknown {what} {word!r}" + (
        f"; did you mean {close[0]!r}?" if close else f"; known: {', '.join(sorted(known))}"
    )
