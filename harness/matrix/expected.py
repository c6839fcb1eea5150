"""What a case is expected to give where it does not pass: ``cases/expected/CASE.toml``, read and written.

One ``[[expect]]`` is one window of versions and variants: specifiers by package, ``only`` values by axis, the outcome,
a pattern for its signature, of an error what it ``raises`` and where, and the defect that accounts for it
(``cases/defects/``). What is ``unsupported`` names a
``reason`` in its place. A case that passes everywhere has no file.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING

from harness.errors import DataError
from harness.interface import Outcome
from harness.matrix.read import key_lines
from harness.matrix.toml_reader import Entry, read_toml
from harness.packages import PACKAGES

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

UNATTRIBUTED = "unattributed"
"""In place of a defect's name, until a person has named the cause."""

BOUNDED = (*PACKAGES, "python")
"""What a window may bound."""

_KEYS = ("defect", "reason", "outcome", *BOUNDED, "only", "signature", "raises")
_DRAWN = "# Drawn by `prompt-bench cases propose --write`, reviewed by a person."
_OUTCOMES = frozenset(Outcome) - {Outcome.NOT_RUN, Outcome.NO_DEVICE}


@dataclass(frozen=True, kw_only=True)
class Expectation:
    """Inside this window of versions and variants, this outcome.

    ``where`` maps packages (and ``python``) to version specifiers, ``only`` axes to values; the first expectation that
    covers a record counts, and one that none covers is expected to be ``passed``. ``signature`` is a regular expression
    searched in the record's signature and message. ``raises`` lists types of exceptions with the functions that raise
    them, ``KeyError in Cache.update``: a message alone may be that of another fault. ``line`` is that of the entry's
    header, from 1.
    """

    outcome: str
    defect: str = ""
    reason: str = ""
    where: Mapping[str, str] = field(default_factory=dict)
    only: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    signature: str = ""
    raises: tuple[str, ...] = ()
    line: int = field(default=0, compare=False)


def expected_path(case: Path) -> Path:
    """Return the file of expectations that belongs to a case file."""
    return case.parent / "expected" / f"{case.stem}.toml"


def read_expected(case: Path, variants: Iterable[Mapping[str, str]]) -> tuple[Expectation, ...]:
    """Read the expectations of a case file with these variants; none where it has no file.

    Raises :class:`DataError` with every mistake, each with its line.
    """
    path = expected_path(case)
    if not path.is_file():
        return ()
    return parse_expected(path, path.read_text(encoding="utf-8"), axes_of(variants))


def axes_of(variants: Iterable[Mapping[str, str]]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """List the axes of variants with their values, in order."""
    axes: dict[str, dict[str, None]] = {}
    for variant in variants:
        for axis, value in variant.items():
            axes.setdefault(axis, {})[value] = None
    return tuple((axis, tuple(values)) for axis, values in axes.items())


@cache
def parse_expected(path: Path, text: str, axes: tuple[tuple[str, tuple[str, ...]], ...]) -> tuple[Expectation, ...]:
    """Read the text of a file of expectations; ``axes`` are those of the case. Raises :class:`DataError`."""
    data = read_toml(path, text)
    problems: list[tuple[int | None, str]] = []
    lines = key_lines(text)
    problems += [
        (lines.get((key, 0, "")), f"{key!r} means nothing here; write [[expect]]") for key in data if key != "expect"
    ]
    listed = data.get("expect", [])
    if not isinstance(listed, list) or not all(isinstance(one, dict) for one in listed):
        raise DataError(path, [(lines.get(("expect", 0, "")), "write [[expect]], with two brackets")])
    if not listed and not problems:
        problems.append((None, "expects nothing; remove the file"))
    found = []
    for number, values in enumerate(listed):
        at = {key: line for (section, index, key), line in lines.items() if (section, index) == ("expect", number)}
        found.append(_expectation(Entry(values, at, problems), dict(axes)))
    if problems:
        raise DataError(path, problems)
    return tuple(found)


def _expectation(entry: Entry, axes: Mapping[str, tuple[str, ...]]) -> Expectation:
    entry.only_keys(_KEYS)
    outcome = entry.text("outcome", required=True, among=_OUTCOMES)
    unsupported = outcome == Outcome.UNSUPPORTED
    defect, reason = entry.text("defect", required=not unsupported), entry.text("reason", required=unsupported)
    if unsupported and defect:
        entry.complain("defect", "what cannot exist in these versions is no defect; give the reason alone")
    if reason and not unsupported:
        entry.complain("reason", "a reason is for what is unsupported; the defect's file says why")
    if defect and not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", defect):
        entry.complain("defect", f"defect = {defect!r} is no slug: small letters and digits with - between words")
    return Expectation(
        outcome=outcome,
        defect=defect,
        reason=reason,
        where=entry.specifiers(BOUNDED),
        only=entry.only({**axes, "device": ("cpu", "cuda"), "dtype": axes.get("dtype", ("float32",))}),
        signature=entry.pattern("signature"),
        raises=_raises(entry, outcome),
        line=entry.line,
    )


def _raises(entry: Entry, outcome: str) -> tuple[str, ...]:
    found = entry.texts("raises")
    if found and outcome != Outcome.ERROR:
        entry.complain("raises", "raises is for an error; nothing is raised here")
    return found


def expected_text(case: str, entries: Sequence[str]) -> str:
    """Return the text of a file of expectations from the texts of its entries; "" without any."""
    if not entries:
        return ""
    head = f"# Where {case} does not pass, and why.\n{_DRAWN}\n"
    return head + "".join(f"\n{entry}" for entry in entries)


def entry_text(expectation: Expectation) -> str:
    """Return the text of one entry, with its header and line end."""
    lines = ["[[expect]]"]
    lines += [f"{key} = {quoted(value)}" for key in ("defect", "reason") if (value := getattr(expectation, key))]
    lines.append(f"outcome = {quoted(expectation.outcome)}")
    lines += [f"{package} = {quoted(specifier)}" for package, specifier in expectation.where.items()]
    if expectation.only:
        axes = ", ".join(
            f"{axis} = [{', '.join(quoted(one) for one in values)}]" for axis, values in expectation.only.items()
        )
        lines.append(f"only = {{ {axes} }}")
    if expectation.signature:
        lines.append(f"signature = {quoted(expectation.signature)}")
    if expectation.raises:
        lines.append(f"raises = [{', '.join(map(quoted, expectation.raises))}]")
    return "\n".join(lines) + "\n"


def entry_texts(text: str) -> list[str]:
    """Return the texts of the entries in a file, each with the comments above it, in order."""
    lines = text.splitlines(keepends=True)
    starts = []
    for number, line in enumerate(lines):
        if re.match(r"\s*\[\[\s*expect\s*\]\]", line):
            start = number
            while start and lines[start - 1].lstrip().startswith("#"):
                start -= 1
            starts.append(start)
    ends = [*starts[1:], len(lines)]
    return ["".join(lines[start:end]).strip("\n") + "\n" for start, end in zip(starts, ends, strict=True)]


def quoted(text: str) -> str:
    """Write a string for TOML: in single quotes where that saves the escapes of a pattern."""
    if ("\\" in text or '"' in text) and "'" not in text and text.isprintable():
        return f"'{text}'"
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
