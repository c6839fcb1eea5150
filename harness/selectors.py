"""What a person means by ``--case`` and ``--cell``: the one selector of variants, and the one of cells.

A selector is read once against what there is, so a mistyped name is refused before anything runs, and is then called
with one variant or one cell. Both sides of the wall import this module; it needs the standard library alone.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Protocol

from harness.interface import DEVICES, variant_id, with_defaults

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

_NEAREST = 3
_CUTOFF = 0.6
"""Similarity (:mod:`difflib`) below which a name is no help to who mistyped another."""
_NAMED = 6
"""Cells that the refusal of an ambiguous one names."""
_RING = "ring="
_WILD = frozenset("*?[")
_ADDED = frozenset({"device", "dtype", "weights"})
"""Axes that the harness adds to what a case declares."""


class SelectionError(Exception):
    """A selection that means nothing, or more than it may. The text is one line that says what to write."""


class Declared(Protocol):
    """What a selector needs to know of a case."""

    @property
    def name(self) -> str:
        """The name of its file."""

    @property
    def variants(self) -> Sequence[Mapping[str, str]]:
        """The variants as the case declares them."""

    @property
    def ring(self) -> str:
        """The part of all cases that it belongs to."""

    @property
    def by_name(self) -> bool:
        """Whether only its name written out means it, and no pattern."""


@dataclass(frozen=True, kw_only=True)
class Exactly:
    """One variant of a case: the values that it declares, and a device where the word named one."""

    variant: Mapping[str, str]
    device: str = ""

    def __call__(self, variant: Mapping[str, str]) -> bool:
        """Return whether a variant, as declared or as recorded, is this one."""
        if self.device and variant.get("device", self.device) != self.device:
            return False
        # Real weights bring a dtype of their own, whatever the case declares.
        added = _ADDED if "weights" in variant else _ADDED - self.variant.keys()
        return _without(variant, added) == _without(self.variant, added)


def _without(variant: Mapping[str, str], axes: frozenset[str]) -> dict[str, str]:
    return {axis: value for axis, value in variant.items() if axis not in axes}


@dataclass(frozen=True, kw_only=True)
class Containing:
    """The variants whose id contains a part, which may have ``*`` and ``?``; the empty part means every variant."""

    part: str

    def __call__(self, variant: Mapping[str, str]) -> bool:
        """Return whether a variant's id contains the part."""
        return not self.part or fnmatchcase(variant_id(variant), f"*{self.part}*")


@dataclass(frozen=True, kw_only=True)
class VariantWord:
    """One word of a case expression, ``CASE`` or ``CASE:PART``: what it means in each case that it names."""

    text: str
    meanings: Mapping[str, Exactly | Containing]

    def __call__(self, case: str, variant: Mapping[str, str]) -> bool:
        """Return whether the word means a variant of a case."""
        meaning = self.meanings.get(case)
        return meaning is not None and meaning(variant)


@dataclass(frozen=True, kw_only=True)
class VariantSelector:
    """A case expression: a variant is selected when a wanted word means it, and no excluded one (``!word``) does.

    Without wanted words everything that is not excluded is selected.
    """

    wanted: tuple[VariantWord, ...] = ()
    excluded: tuple[VariantWord, ...] = ()

    def __call__(self, case: str, variant: Mapping[str, str]) -> bool:
        """Return whether a variant of a case is selected."""
        if any(word(case, variant) for word in self.excluded):
            return False
        return not self.wanted or any(word(case, variant) for word in self.wanted)


def variant_selector(
    expression: str | Iterable[str] | None, cases: Iterable[Declared], *, implied: str | None = None
) -> VariantSelector:
    """Read a case expression: words joined by commas, or a list of such words as a matrix file has them.

    ``CASE`` is a name, a pattern with ``*`` and ``?``, or ``ring=NAME`` for all cases of a ring. ``CASE:PART`` means
    the variants with PART in their id, or just the variant whose whole id PART is, with or without the device and dtype
    that the harness adds. ``!`` before a word excludes what it means. A case that runs ``by_name`` is meant by its
    written-out name alone. ``implied`` is the word that counts where none is wanted. Raises :class:`SelectionError` for
    a word that means nothing in ``cases``, with the nearest names.
    """
    known = {case.name: case for case in cases}
    texts = expression.split(",") if isinstance(expression, str) else [*(expression or ())]
    texts = [text.strip() for text in texts if text.strip()]
    wanted = [text for text in texts if not text.startswith("!")]
    if not wanted and implied is not None:
        wanted = [implied]
    return VariantSelector(
        wanted=tuple(_word(text, known) for text in wanted),
        excluded=tuple(_word(text.removeprefix("!").strip(), known) for text in texts if text.startswith("!")),
    )


def _word(text: str, known: Mapping[str, Declared]) -> VariantWord:
    name, _, part = text.partition(":")
    named = [case for case in known.values() if _names(name, case)]
    if not named:
        if name.startswith(_RING):
            rings = sorted({case.ring for case in known.values()})
            message = f"no case is of ring {name.removeprefix(_RING)!r}; {nearest(name.removeprefix(_RING), rings)}"
            raise SelectionError(message)
        if shy := [case.name for case in known.values() if fnmatchcase(case.name, name)]:
            message = f"no pattern such as {name!r} means {shy[0]}, which runs by its name alone; write it out"
            raise SelectionError(message)
        message = f"no case {name!r}; {nearest(name, known)}"
        raise SelectionError(message)
    meanings: dict[str, Exactly | Containing] = {}
    for case in named:
        meaning = _exactly(part, case) or Containing(part=part)
        if any(meaning(form) for variant in case.variants for form in _forms(variant)):
            meanings[case.name] = meaning
    if not meanings:
        variants = [variant for case in named for variant in case.variants]
        words = [*(value for variant in variants for value in variant.values()), *map(variant_id, variants)]
        message = f"no variant of {name} has {part!r}; {nearest(part, words)}"
        raise SelectionError(message)
    return VariantWord(text=text, meanings=meanings)


def _names(name: str, case: Declared) -> bool:
    """Return whether a word means a case: by its name, a pattern, or its ring."""
    if name == case.name:
        return True
    if case.by_name:
        return False
    return name == _RING + case.ring or fnmatchcase(case.name, name)


def _forms(variant: Mapping[str, str]) -> list[Mapping[str, str]]:
    """List a declared variant as it stands in the case, and as the harness measures it on each device."""
    return [variant, *(with_defaults(variant, device) for device in DEVICES)]


def _exactly(part: str, case: Declared) -> Exactly | None:
    """Return the variant of a case whose whole id is ``part``; None when there is none."""
    if not part or _WILD & set(part):
        return None
    for variant in case.variants:
        if part == variant_id(variant):
            return Exactly(variant=variant)
        for device in DEVICES:
            measured = with_defaults(variant, device)
            if part == variant_id(measured):
                return Exactly(variant=variant, device=device)
            # A dtype that the case declares is its own, and moves to the end of a measured variant's id.
            own = {axis: value for axis, value in measured.items() if axis in variant}
            if part == variant_id(own):
                return Exactly(variant=variant)
    return None


@dataclass(frozen=True, kw_only=True)
class CellSelector:
    """The cells, or bases, that ids, their beginnings or patterns mean; without any of those, every one."""

    ids: frozenset[str] | None = None

    def __call__(self, cell: str) -> bool:
        """Return whether the cell with this id is selected."""
        return self.ids is None or cell in self.ids


def cell_selector(asked: Sequence[str], known: Sequence[str], *, place: str, what: str = "cell") -> CellSelector:
    """Read ids, beginnings of ids and patterns with ``*`` and ``?`` against the ids that ``place`` has.

    A whole id means that cell alone, even where another one's id begins with it. ``place`` is named in a refusal:
    "matrix grid", say. Raises :class:`SelectionError` for a word that no id fits.
    """
    return CellSelector(
        ids=frozenset[str]().union(*(_fitting(one, known, place, what) for one in asked)) if asked else None
    )


def one_cell(asked: str, known: Sequence[str], *, place: str) -> str:
    """Return the id that an id, its beginning or a pattern means. Raises :class:`SelectionError` unless it is one."""
    found = sorted(_fitting(asked, known, place, "cell"), key=known.index)
    if len(found) > 1:
        more = ", ..." if len(found) > _NAMED else ""
        message = f"{asked!r} means {len(found)} cells of {place}; name one: {', '.join(found[:_NAMED])}{more}"
        raise SelectionError(message)
    return found[0]


def _fitting(asked: str, known: Sequence[str], place: str, what: str) -> set[str]:
    if asked in known:
        return {asked}
    found = {one for one in known if fnmatchcase(one, f"{asked}*")}
    if not found:
        message = f"no {what} {asked!r} in {place}; {nearest(asked, known)}"
        raise SelectionError(message)
    return found


def nearest(asked: str, known: Iterable[str]) -> str:
    """Say which names are nearest to one that was not found: at most three, and a few of all where none is near."""
    names = list(dict.fromkeys(known))
    word = asked.strip("*?")

    def similarity(name: str) -> float:
        # Somebody may have typed the beginning alone.
        return max(difflib.SequenceMatcher(None, word, text).ratio() for text in (name, name[: len(word)]))

    close = sorted(names, key=similarity, reverse=True)[:_NEAREST]
    if near := [name for name in close if similarity(name) >= _CUTOFF]:
        return f"did you mean {' or '.join(near)}?"
    return f"there are {', '.join(names[:_NEAREST])}{', ...' if names[_NEAREST:] else ''}"
