"""Read entries of a TOML file into typed values, and tell every mistake with its line."""

from __future__ import annotations

import re
import tomllib
from typing import TYPE_CHECKING, Any

from packaging.specifiers import InvalidSpecifier, SpecifierSet

from harness.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping
    from pathlib import Path


def read_toml(path: Path, text: str) -> dict[str, Any]:
    """Parse TOML. Raises :class:`DataError` with the line of the mistake."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        line = re.search(r"line (\d+)", str(error))
        raise DataError(path, [(int(line[1]) if line else None, f"not TOML: {error}")]) from None


class Entry:
    """One table of a TOML file: its values by type. What is wrong is added to ``problems`` with its line."""

    def __init__(
        self,
        values: Mapping[str, Any],
        lines: Mapping[str, int],
        problems: list[tuple[int | None, str]],
    ) -> None:
        """``lines`` maps the table's keys to their 1-based lines, and "" to that of its header."""
        self._values, self._lines, self._problems = values, lines, problems

    @property
    def line(self) -> int:
        """Return the line of the table's header, 0 where it is not known."""
        return self._lines.get("", 0)

    def complain(self, key: str, text: str) -> None:
        """Add a mistake at a key, or at the header where the key is not there."""
        self._problems.append((self._lines.get(key, self._lines.get("")), text))

    def only_keys(self, known: Collection[str]) -> None:
        """Complain about every key that is not known."""
        for key in self._values:
            if key not in known:
                self.complain(key, f"{key!r} means nothing here; known: {', '.join(known)}")

    def text(self, key: str, *, required: bool = False, among: Collection[str] = ()) -> str:
        """Return a string, "" where there is none or it is wrong; ``among`` lists what it may be."""
        value = self._values.get(key)
        if value is None and not required:
            return ""
        if not isinstance(value, str) or not value.strip():
            self.complain(key, f"{key} must be a text, not {value!r}" if key in self._values else f"{key} is missing")
            return ""
        if among and value not in among:
            self.complain(key, f"{key} = {value!r} is none of {', '.join(sorted(among))}")
        return value

    def texts(self, key: str, *, required: bool = False, among: Collection[str] = ()) -> tuple[str, ...]:
        """Return a list of strings, empty where there is none or it is wrong."""
        value = self._values.get(key)
        if value is None and not required:
            return ()
        if not _is_texts(value) or (required and not value):
            self.complain(key, f"{key} must be a list of texts, not {value!r}" if value else f"{key} is missing")
            return ()
        for one in value or ():
            if among and one not in among:
                self.complain(key, f"{key}: {one!r} is none of {', '.join(sorted(among))}")
        return tuple(value or ())

    def pattern(self, key: str) -> str:
        """Return a regular expression, "" where there is none."""
        text = self.text(key) if self._values.get(key) else ""
        try:
            re.compile(text)
        except re.error as error:
            self.complain(key, f"{key} is no regular expression: {error}")
        return text

    def specifiers(self, packages: Iterable[str], inside: str = "") -> dict[str, str]:
        """Return the version specifiers of those packages that are keys, of the table or of the one at ``inside``."""
        known = tuple(packages)
        values = self._values if not inside else self._table(inside, known)
        found = {}
        for name in known:
            if name in values:
                try:
                    SpecifierSet(values[name])
                except (InvalidSpecifier, TypeError, AttributeError):
                    words = f"{name} = {values[name]!r} is no version specifier such as '>=0.9.0,<=0.18.1'"
                    self.complain(inside or name, words)
                else:
                    found[name] = values[name]
        return dict(sorted(found.items(), key=lambda item: list(values).index(item[0])))

    def only(self, axes: Mapping[str, Collection[str]]) -> dict[str, tuple[str, ...]]:
        """Return the values of variants by axis; ``axes`` are those that the case has."""
        found = {}
        for axis, some in self._table("only", tuple(axes)).items():
            if not _is_texts(some) or not some:
                self.complain("only", f"only.{axis} must be a list of values, not {some!r}")
                continue
            for value in some:
                if axis in axes and value not in axes[axis]:
                    self.complain("only", f"only.{axis}: the case has no {value!r}; it has {', '.join(axes[axis])}")
            found[axis] = tuple(some)
        return found

    def numbers(self, key: str) -> dict[str, float]:
        """Return a table of numbers."""
        value = self._values.get(key, {})
        if not isinstance(value, dict) or any(
            isinstance(one, bool) or not isinstance(one, int | float) for one in value.values()
        ):
            self.complain(key, f"{key} must be a table of numbers, not {value!r}")
            return {}
        return {name: float(one) for name, one in value.items()}

    def count(self, key: str) -> int:
        """Return a whole number of 0 or more."""
        value = self._values.get(key)
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            self.complain(key, f"{key} must be a count, not {value!r}")
            return 0
        return value

    def versions(self, key: str) -> dict[str, str]:
        """Return a table of versions by package."""
        value = self._values.get(key, {})
        if not isinstance(value, dict) or not all(isinstance(one, str) for one in value.values()):
            self.complain(key, f"{key} must be a table of versions, not {value!r}")
            return {}
        return dict(value)

    def windows(self, key: str, packages: Collection[str]) -> tuple[dict[str, str], ...]:
        """Return a list of windows, each a table of version specifiers by package."""
        value = self._values.get(key, [])
        if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
            self.complain(key, f"{key} must be a list of tables, not {value!r}")
            return ()
        problems: list[tuple[int | None, str]] = []
        for one in value:
            entry = Entry(one, dict.fromkeys((*one, ""), self._lines.get(key, self.line)), problems)
            entry.only_keys(packages)
            entry.specifiers(packages)
        self._problems.extend(problems)
        return tuple(dict(one) for one in value)

    def _table(self, key: str, known: Collection[str]) -> dict[str, Any]:
        value = self._values.get(key, {})
        if not isinstance(value, dict):
            self.complain(key, f"{key} must be a table, not {value!r}")
            return {}
        for name in value:
            if name not in known:
                self.complain(key, f"{key}: {name!r} is none of {', '.join(known)}")
        return value


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) for one in value)
