"""What the documents say: ``cases/claims/NNN.toml``, one file for each document, read."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any

from harness.errors import DataError
from harness.interface import Outcome
from harness.matrix.expected import BOUNDED, axes_of
from harness.matrix.read import key_lines
from harness.matrix.toml_reader import Entry, read_toml

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

_KEYS = (
    "id", "case", "quote", "english", "defect", "where", "only", "outcome", "signature", "quantifier", "minimum",
    "maximum", "answer",
)  # fmt: skip
_OUTCOMES = frozenset(Outcome) - {Outcome.NOT_RUN, Outcome.NO_DEVICE}


@dataclass(frozen=True, kw_only=True)
class Claim:
    """What a document says, and the records that would bear it out.

    ``where`` maps a package to a version specifier and ``only`` a variant axis to the values meant; together they
    select records. A cell bears the claim out when its records agree with ``outcome`` (and ``signature``, a regular
    expression over signature and message): every one of them, or at least one with ``quantifier="any"``. ``minimum``
    and ``maximum`` map a number of the record, such as ``latency.ratio``, to what it must reach and must not exceed;
    records without it are not asked. ``defect`` is the one that the claim speaks of, "" where it speaks of none that
    is known; ``answer`` is a person's sentence on the published records.
    """

    id: str
    case: str
    quote: str
    english: str
    outcome: tuple[str, ...]
    document: str = ""
    defect: str = ""
    answer: str = ""
    where: Mapping[str, str] = field(default_factory=dict)
    only: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    signature: str = ""
    quantifier: str = "all"
    minimum: Mapping[str, float] = field(default_factory=dict)
    maximum: Mapping[str, float] = field(default_factory=dict)


def read_claims(case: Path, variants: Iterable[Mapping[str, str]]) -> tuple[Claim, ...]:
    """Read the claims that a case file answers, from the documents beside it.

    Raises :class:`DataError` with every mistake of a document, each with its line.
    """
    axes = axes_of(variants)
    return tuple(
        claim
        for path in sorted((case.parent / "claims").glob("*.toml"))
        for claim in parse_claims(path, path.read_text(encoding="utf-8"), case.stem, axes)
    )


@cache
def parse_claims(path: Path, text: str, case: str, axes: tuple[tuple[str, tuple[str, ...]], ...]) -> tuple[Claim, ...]:
    """Read the text of a document's claims and return those of a case with these axes. Raises :class:`DataError`."""
    data, lines = _document(path, text)
    named = {values.get("case") for values in data.get("claim", []) if isinstance(values, dict)}
    if case not in named and any((path.parent.parent / f"{name}.py").is_file() for name in named):
        # Its mistakes are told where a case that it speaks of is read.
        return ()
    problems: list[tuple[int | None, str]] = []
    head = Entry(
        {key: value for key, value in data.items() if key != "claim"},
        {key: line for (section, _, key), line in lines.items() if not section},
        problems,
    )
    head.only_keys(("document",))
    document = head.text("document", required=True)
    listed = data.get("claim", [])
    if not isinstance(listed, list) or not all(isinstance(one, dict) for one in listed):
        raise DataError(path, [(lines.get(("claim", 0, "")), "write [[claim]], with two brackets")])
    if document and document != path.stem:
        problems.append((lines.get(("document", 0, "")), f"document is {document!r}, and the file {path.stem!r}"))
    found: list[Claim] = []
    seen: set[str] = set()
    for number, values in enumerate(listed):
        at = {key: line for (section, index, key), line in lines.items() if (section, index) == ("claim", number)}
        entry = Entry(values, at, problems)
        mine = values.get("case") == case
        if not mine and not (path.parent.parent / f"{values.get('case')}.py").is_file():
            entry.complain("case", f"there is no case {values.get('case')!r}")
        claim = _claim(entry, document, dict(axes) if mine else None)
        if claim.id in seen:
            entry.complain("id", f"two claims have the id {claim.id}")
        seen.add(claim.id)
        if mine:
            found.append(claim)
    if problems:
        raise DataError(path, problems)
    return tuple(found)


@cache
def _document(path: Path, text: str) -> tuple[dict[str, Any], dict[tuple[str, int, str], int]]:
    """Parse the text of a document's claims once, not once a case. Raises :class:`DataError`."""
    return read_toml(path, text), key_lines(text)


def _claim(entry: Entry, document: str, axes: Mapping[str, tuple[str, ...]] | None) -> Claim:
    """Read one claim; ``axes`` are those of its case, None where another case's are not known here."""
    entry.only_keys(_KEYS)
    return Claim(
        id=entry.text("id", required=True),
        case=entry.text("case", required=True),
        document=document,
        quote=entry.text("quote", required=True),
        english=entry.text("english", required=True),
        answer=entry.text("answer", required=True),
        defect=entry.text("defect"),
        outcome=entry.texts("outcome", required=True, among=_OUTCOMES),
        where=entry.specifiers(BOUNDED, inside="where"),
        only=entry.only(axes) if axes is not None else {},
        signature=entry.pattern("signature"),
        quantifier=entry.text("quantifier", among=("all", "any")) or "all",
        minimum=entry.numbers("minimum"),
        maximum=entry.numbers("maximum"),
    )
