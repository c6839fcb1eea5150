"""What is held against what (pure): two versions of one package, the rest alike, as cells."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import UsageError
from harness.interface import variant_id
from harness.matrix.source import Unreachable, fix, is_source, problem
from harness.matrix.spec import NEWEST, Cell
from harness.packages import PACKAGES

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import date

    from harness.matrix.cases import Case

UPSTREAM = "https://github.com/huggingface/{}"
"""Where the repository of a package is."""

TORCH = "2.13.0"
PYTHON = "3.11"
LIMIT_S = 60

LEFT_OUT = ("!ring=long",)
"""Cases that are asked by name alone: they take minutes in a cell."""

SLOW = ("compiled_forward",)
"""Cases that a quick ring leaves to the whole: a variant of it is compiled for 4 to 7 s, others take a fifth of one."""

OTHER = {"peft": "transformers", "transformers": "peft"}
"""The package that a plain version after ``--with`` is of."""


@dataclass(frozen=True, kw_only=True)
class Question:
    """Two pins of ``package``, each beside every one of ``companions`` (pins of other packages, over the defaults).

    ``as_of`` is the day whose releases everything else is taken from (None: today).
    """

    package: str
    before: str
    after: str
    companions: tuple[Mapping[str, str], ...]
    python: str = PYTHON
    as_of: date | None = None
    cases: tuple[str, ...] = field(default=LEFT_OUT)

    @property
    def title(self) -> str:
        """Return the question in words."""
        return f"{self.package} {shown(self.before)} against {shown(self.after)}"


_OF_UPSTREAM = re.compile(r"main|pull/\d+/(head|merge)")


def shown(pin: str) -> str:
    """Return a pin as a person reads it: a commit by ten digits of its hash, a checkout by its folder."""
    if not is_source(pin):
        return pin
    if not pin.startswith("git+"):
        return Path(pin).name
    url, _, ref = pin.removeprefix("git+").rpartition("@")
    name = url.rstrip("/").rpartition("/")[2].removesuffix(".git")
    whole = len(ref) == 40 and not set(ref) - set("0123456789abcdef")  # noqa: PLR2004 - a full hash
    return f"{name}@{ref[:10] if whole else ref}"


def spelled_out(pin: str, package: str) -> str:
    """Return a side as a matrix writes it: ``main`` and ``pull/N/head`` are of the package's own repository.

    A folder of that name comes first.
    """
    if _OF_UPSTREAM.fullmatch(pin) is None or Path(pin).exists():
        return pin
    return f"git+{UPSTREAM.format(package)}@{pin}"


def fixed(pin: str) -> str:
    """Fix a branch or a tag to its commit and a checkout to its absolute path, so that both rings ask the same.

    Raises :class:`UsageError` for what is written wrongly or cannot be had.
    """
    if not is_source(pin):
        return pin
    if words := problem(pin):
        message = f"{words}; or give a release, or the path of a checkout"
        raise UsageError(message)
    if not pin.startswith("git+"):
        return str(Path(pin).expanduser().resolve())
    try:
        return fix(pin)
    except Unreachable as error:
        message = f"{error}; name another branch, tag, commit or pull/N/head"
        raise UsageError(message) from None


def read_companion(text: str, package: str) -> dict[str, str]:
    """Read what stands beside: ``NAME==VERSION`` or ``NAME=SOURCE``, joined by commas; a plain version is of the other.

    Raises :class:`UsageError` for a package that no cell pins, or for the one that is asked about.
    """
    pins = {}
    for part in filter(None, (one.strip() for one in text.split(","))):
        name, equals, pin = part.partition("=")
        if not equals or is_source(name):
            name, pin = OTHER.get(package, "transformers"), part
        name, pin = name.strip(), pin.removeprefix("=").strip()
        if name not in PACKAGES or name == package:
            others = ", ".join(one for one in PACKAGES if one != package)
            message = f"--with {part!r} is of none of {others}; write transformers==5.24.0, or a version alone"
            raise UsageError(message)
        pins[name] = fixed(pin)
    return pins


def sides_of(question: Question) -> tuple[Cell, ...]:
    """Return the cells of both sides beside each companion, before and after in turn.

    Raises :class:`UsageError` when the sides are the same.
    """
    if question.before == question.after:
        message = f"both sides are {shown(question.before)}; name two that differ"
        raise UsageError(message)
    return tuple(
        Cell(
            python=question.python,
            pins={"torch": TORCH, "sentence-transformers": NEWEST, **companion, question.package: pin},
            as_of=question.as_of,
            why=why,
            cases=question.cases,
        )
        for companion in question.companions
        for why, pin in (("before", question.before), ("after", question.after))
    )


def quick_ring(chosen: Sequence[tuple[Case, Mapping[str, str]]]) -> str:
    """Choose a variant for each case and method, as a case expression.

    Taken is the variant that has most values of axes which no chosen one of its case has yet, so that the ring sees
    every family, the first of equals. Of :data:`SLOW` cases there is none, unless nothing else is asked for.
    """
    groups: dict[tuple[str, str], list[Mapping[str, str]]] = {}
    for case, variant in [one for one in chosen if one[0].name not in SLOW] or chosen:
        groups.setdefault((case.name, variant.get("method", "")), []).append(variant)
    seen: dict[str, set[tuple[str, str]]] = {}
    ring = []
    for (name, _), variants in groups.items():
        known = seen.setdefault(name, set())
        best = max(variants, key=lambda variant: len(set(variant.items()) - known))
        known.update(best.items())
        ring.append((name, best))
    return expression(ring)


def expression(variants: Iterable[tuple[str, Mapping[str, str]]]) -> str:
    """Write the case expression that means exactly these variants."""
    return ",".join(dict.fromkeys(f"{name}:{variant_id(variant)}" for name, variant in variants))
