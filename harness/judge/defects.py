"""The causes that are known: ``cases/defects/SLUG.md``, read; and what the records say of each (pure, but for reading).

A file is a TOML head and a few sentences. ``[defect]`` is written by a person; ``[seen]`` is drawn from the published
records by ``cases defects --write``.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cache
from typing import TYPE_CHECKING, Any

from packaging.version import InvalidVersion, Version

from harness.contracts.record import FAILED, StateRecord, VariantRecord
from harness.errors import DataError
from harness.interface import CellState, Outcome
from harness.judge.verdicts import defect_of
from harness.judge.windows import VersionTable
from harness.matrix.cases import CASES
from harness.matrix.expected import BOUNDED, UNATTRIBUTED, quoted
from harness.matrix.read import key_lines
from harness.matrix.toml_reader import Entry, read_toml
from harness.packages import PACKAGES, TOLD_PACKAGES, WINDOW_AXES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from harness.contracts.record import Record
    from harness.matrix.cases import Case

DEFECTS = CASES / "defects"
_HEAD = re.compile(r"\A```toml\n(.*?)^```\n", re.DOTALL | re.MULTILINE)
_NO_HEAD = "begins with a TOML head: ```toml, [defect] and its keys, ```"
_TITLE = re.compile(r"^# (.+)$", re.MULTILINE)
_LINKS = ("reported", "fixed_by", "first_bad_commit", "first_fixed_commit")
_KEYS = ("id", "sees", "package", "where", "who", "way_round", *_LINKS, "mechanism", "state", "says")
_COMMIT = re.compile(r"https://github\.com/([\w.-]+/[\w.-]+)/commit/([0-9a-f]{40})")


class Sees(StrEnum):
    """What a user sees of a defect."""

    SILENTLY_WRONG = "silently-wrong"
    RAISES = "raises"
    REFUSED = "refused"
    CANNOT_IMPORT = "cannot-import"


class Status(StrEnum):
    """What became of a defect in the newest releases that were measured."""

    LIVE = "live"
    MENDED = "mended"
    HIDDEN = "hidden"
    """Everything that it met fails of something else there."""
    UNMEASURED = "not measured"


@dataclass(frozen=True, kw_only=True)
class Defect:
    """One cause, with a name.

    ``package`` is the one that is wrong and ``where`` the files and functions in it. ``state`` and ``says`` are for a
    defect that keeps a cell from being ready: its state, and a pattern for the words that come with it. ``title`` and
    ``text`` are what a person reads; ``kept`` is what the file says was seen, None before it says anything.
    """

    id: str
    title: str
    text: str
    sees: Sees
    package: str
    where: tuple[str, ...]
    who: str
    way_round: str
    mechanism: str
    reported: tuple[str, ...] = ()
    fixed_by: tuple[str, ...] = ()
    first_bad_commit: tuple[str, ...] = ()
    first_fixed_commit: tuple[str, ...] = ()
    state: str = ""
    says: str = ""
    path: Path
    kept: Seen | None = None

    @property
    def words(self) -> str:
        """Return the status and whether it is reported: ``live, not reported``."""
        status = f"{self.kept.words}, " if self.kept else ""
        return f"{status}{'reported' if self.reported else 'not reported'}"

    @property
    def sentence(self) -> str:
        """Return what to tell whom it hits: its name, what became of it, and the way round."""
        return f"hits {self.id} ({self.words}): {self.way_round}"


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What the records say of a defect: how many it explains, of which cases, and at which releases.

    ``first`` and ``last`` are the oldest and the newest failing release of each package. ``introduced`` and ``fixed``
    name packages with the first release that is bad, and the first that is good again, where a measured neighbour with
    all else equal passes below, or above. ``windows`` are the fewest boxes of versions, specifiers by package, that
    hold every cell with a failing record, and none without one in which a variant passes that fails of it elsewhere.
    ``repro`` is the command that writes the shortest script that shows it; ``repro-check --short --write`` keeps it,
    for it takes running scripts.
    """

    records: int
    cases: tuple[str, ...]
    first: Mapping[str, str]
    last: Mapping[str, str]
    introduced: Mapping[str, str]
    fixed: Mapping[str, str]
    windows: tuple[Mapping[str, str], ...]
    status: Status
    repro: str = field(default="", compare=False)

    @property
    def words(self) -> str:
        """Return the status with the releases that mended it."""
        if self.status is Status.LIVE or not self.fixed:
            return str(self.status)
        releases = " or ".join(f"{name} {version}" for name, version in self.fixed.items())
        return f"{self.status}, by {releases} at the latest"

    @property
    def table(self) -> dict[str, Any]:
        """Return the ``[seen]`` table."""
        lists = {"records": self.records, "status": str(self.status), "cases": list(self.cases)}
        ends = {
            "first": dict(self.first),
            "last": dict(self.last),
            "introduced": dict(self.introduced),
            "fixed": dict(self.fixed),
            "windows": [dict(one) for one in self.windows],
            "repro": self.repro,
        }
        return {**lists, **{name: value for name, value in ends.items() if value}}


def load_defects(folder: Path = DEFECTS) -> dict[str, Defect]:
    """Read every file of a folder by id. Raises :class:`DataError` with every mistake of a file, each with its line."""
    return {path.stem: read_defect(path) for path in sorted(folder.glob("*.md"))}


def read_defect(path: Path) -> Defect:
    """Read the file of one defect. Raises :class:`DataError`."""
    source = path.read_text(encoding="utf-8")
    head = _HEAD.match(source)
    if head is None:
        raise DataError(path, [(1, _NO_HEAD)])
    # The head is padded so that its lines are those of the file.
    toml = "\n" + head[1]
    data, lines = read_toml(path, toml), key_lines(toml)
    problems: list[tuple[int | None, str]] = []
    problems += [
        (lines.get((name, 0, "")), f"{name!r} means nothing here; known: defect, seen")
        for name in data
        if name not in {"defect", "seen"}
    ]
    values = data.get("defect")
    if not isinstance(values, dict):
        raise DataError(path, [(1, "the head has no [defect]")])
    entry = Entry(values, {key: line for (section, _, key), line in lines.items() if section == "defect"}, problems)
    entry.only_keys(_KEYS)
    if values.get("id") != path.stem:
        entry.complain("id", f"id is {values.get('id')!r}, and the file {path.stem!r}")
    if path.stem == UNATTRIBUTED:
        entry.complain("id", f"{UNATTRIBUTED} is what nobody has named; name the cause")
    rest = source[head.end() :]
    title = _TITLE.search(rest)
    if title is None or not rest[title.end() :].strip():
        problems.append(
            (source[: head.end()].count("\n") + 1, "after the head stand a title (# ...) and a few sentences")
        )
    state, says = entry.text("state", among=(CellState.IMPORT_FAILED, CellState.INSTALL_FAILED)), entry.pattern("says")
    if bool(state) != bool(says):
        entry.complain("state", "state and says stand together: how far a cell comes, and a pattern for what it says")
    defect = Defect(
        id=path.stem,
        title=title[1].strip() if title else "",
        text=rest[title.end() :].strip() if title else "",
        sees=_sees(entry),
        package=entry.text("package", required=True, among=PACKAGES),
        where=entry.texts("where", required=True),
        who=entry.text("who", required=True),
        way_round=entry.text("way_round", required=True),
        mechanism=entry.text("mechanism", required=True),
        state=state,
        says=says,
        path=path,
        kept=_kept(data, lines, problems),
        **_links(entry),
    )
    if problems:
        raise DataError(path, problems)
    return defect


def _kept(
    data: Mapping[str, Any], lines: Mapping[tuple[str, int, str], int], problems: list[tuple[int | None, str]]
) -> Seen | None:
    values = data.get("seen")
    if values is None:
        return None
    at = {key: line for (section, _, key), line in lines.items() if section == "seen"}
    entry = Entry(values if isinstance(values, dict) else {}, at, problems)
    entry.only_keys(("records", "status", "cases", "first", "last", "introduced", "fixed", "windows", "repro"))
    status = entry.text("status", required=True, among=tuple(Status))
    return Seen(
        records=entry.count("records"),
        cases=entry.texts("cases"),
        first=entry.versions("first"),
        last=entry.versions("last"),
        introduced=entry.versions("introduced"),
        fixed=entry.versions("fixed"),
        windows=entry.windows("windows", BOUNDED),
        status=Status(status) if status in set(Status) else Status.UNMEASURED,
        repro=entry.text("repro"),
    )


def _links(entry: Entry) -> dict[str, tuple[str, ...]]:
    links = {name: entry.texts(name) for name in _LINKS}
    for name, found in links.items():
        if any(not link.startswith("https://") for link in found):
            entry.complain(name, f"{name} is a list of https:// links")
        elif name.endswith("_commit") and not all(_COMMIT.fullmatch(link) for link in found):
            words = "https://github.com/OWNER/NAME/commit/ and 40 digits"
            entry.complain(name, f"{name} is a list of links to commits: {words}")
    return links


def _sees(entry: Entry) -> Sees:
    text = entry.text("sees", required=True, among=tuple(Sees))
    return Sees(text) if text in set(Sees) else Sees.RAISES


def with_seen(path: Path, seen: Seen) -> str:
    """Return the text of a defect's file with its ``[seen]`` table written anew; ``repro`` stays where it has none."""
    source = path.read_text(encoding="utf-8")
    if not seen.repro and (kept := read_defect(path).kept):
        seen = replace(seen, repro=kept.repro)
    head = _HEAD.match(source)
    if head is None:
        raise DataError(path, [(1, _NO_HEAD)])
    written = head[1].partition("\n[seen]")[0].rstrip("\n")
    lines = [written, "", "[seen]  # drawn from the published records by `cases defects --write`"]
    lines += [f"{key} = {_toml(value)}" for key, value in seen.table.items()]
    return "```toml\n" + "\n".join(lines) + "\n```\n" + source[head.end() :]


def _toml(value: Any) -> str:
    match value:
        case str():
            return quoted(value)
        case [dict(), *_]:
            return "[\n" + "".join(f"  {_toml(one)},\n" for one in value) + "]"
        case list():
            return f"[{', '.join(map(_toml, value))}]"
        case dict():
            return "{ " + ", ".join(f"{key} = {_toml(one)}" for key, one in value.items()) + " }"
        case _:
            return str(value)


def attribute(
    cases: Iterable[Case], defects: Mapping[str, Defect], records: Iterable[Record]
) -> dict[str, list[Record]]:
    """Return the failing records, and the states of cells that a defect explains, by defect.

    ``unattributed`` holds the failing records of known cases that no entry accounts for.
    """
    by_name = {case.name: case for case in cases}
    found: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        if isinstance(record, StateRecord):
            if defect := state_defect(defects, record):
                found[defect].append(record)
        elif record.case in by_name and (defect := defect_of(by_name[record.case], record)):
            found[defect].append(record)
    return dict(found)


def cause_of(cases: Iterable[Case], defects: Mapping[str, Defect]) -> Callable[[Record], str]:
    """Return a function from a record to the defect that accounts for it, "" where none is known."""
    by_name = {case.name: case for case in cases}

    def cause(record: Record) -> str:
        if isinstance(record, StateRecord):
            return state_defect(defects, record)
        defect = defect_of(by_name[record.case], record) if record.case in by_name else ""
        return "" if defect == UNATTRIBUTED else defect

    return cause


def state_defect(defects: Mapping[str, Defect], record: StateRecord) -> str:
    """Return the defect that explains the state of a cell, "" where none does."""
    return next(
        (
            one.id
            for one in defects.values()
            if one.state and one.state == record.state and re.search(one.says, record.message)
        ),
        "",
    )


def observe(cases: Sequence[Case], defects: Mapping[str, Defect], records: Sequence[Record]) -> dict[str, Seen]:
    """Return what the records say of each defect."""
    attributed = attribute(cases, defects, records)
    released = [one for one in records if _is_released(one)]
    by_place: dict[tuple[str, ...], list[Record]] = defaultdict(list)
    for record in released:
        by_place[_place(record)].append(record)
    passing = _Passing(released)
    return {name: _seen(attributed.get(name, []), by_place, passing) for name in defects}


def _seen(explained: Sequence[Record], by_place: Mapping[tuple[str, ...], Sequence[Record]], passing: _Passing) -> Seen:
    failing = [one for one in explained if _is_released(one)]
    cases = Counter(one.case for one in failing if isinstance(one, VariantRecord))
    axes = [name for name in TOLD_PACKAGES if failing and all(_version(one, name) for one in failing)]
    first, last, introduced, fixed = {}, {}, {}, {}
    for axis in axes:
        versions = [version for one in failing if (version := _version(one, axis))]
        low, high = min(versions), max(versions)
        beside = {version for one in failing for version in passing.beside(one, axis)}
        below, above = [one for one in beside if one < low], [one for one in beside if one > high]
        if axis in WINDOW_AXES or below or above:
            first[axis], last[axis] = str(low), str(high)
        if below:
            introduced[axis] = str(low)
        if above:
            fixed[axis] = str(min(above))
    return Seen(
        records=len(explained),
        cases=tuple(sorted(cases)),
        first=first,
        last=last,
        introduced=introduced,
        fixed=fixed,
        windows=_windows(failing, by_place),
        status=_status(failing, by_place),
    )


def _windows(
    failing: Sequence[Record], by_place: Mapping[tuple[str, ...], Sequence[Record]]
) -> tuple[Mapping[str, str], ...]:
    """Return the fewest boxes with the failing cells and none of those in which the same variants pass.

    Of a defect that keeps cells from being ready, the others are all those that are.
    """
    hit = {_cell(one): one for one in failing}
    if not hit:
        return ()
    if any(isinstance(one, StateRecord) for one in failing):
        clear = [one for some in by_place.values() for one in some if isinstance(one, VariantRecord)]
    else:
        met = [one for place in {_place(one) for one in failing} for one in by_place[place]]
        clear = [one for one in met if isinstance(one, VariantRecord) and one.outcome == Outcome.PASSED]
    passed = {_cell(one): one for one in clear}
    others = [one for cell, one in passed.items() if cell not in hit]
    axes = list(WINDOW_AXES)
    for more in (*(name for name in TOLD_PACKAGES if name not in WINDOW_AXES), ""):
        table = VersionTable(axes, [*hit.values(), *others])
        inside, outside = ({table.point(one) for one in some} for some in (hit.values(), others))
        if not inside & outside or not more:
            # What no version tells apart counts as hit.
            return tuple(dict(where) for where in table.windows(sorted(inside), sorted(outside - inside)))
        if all(_version(one, more) for one in [*hit.values(), *others]):
            axes.append(more)
    return ()


def _cell(record: Record) -> tuple[Version | None, ...]:
    return tuple(_version(record, name) for name in TOLD_PACKAGES)


def _status(failing: Sequence[Record], by_place: Mapping[tuple[str, ...], Sequence[Record]]) -> Status:
    """Return what became of a defect: the variants that it hits, in the newest pair in which each was measured."""
    ids = {id(one) for one in failing}
    after: set[Status] = set()
    if any(isinstance(one, StateRecord) for one in failing):
        newest = max(_age(one) for found in by_place.values() for one in found)
        return Status.LIVE if any(_age(one) == newest for one in failing) else Status.MENDED
    for place in {_place(one) for one in failing}:
        newest = max(_age(one) for one in by_place[place])
        after |= {_became(one, known=id(one) in ids) for one in by_place[place] if _age(one) == newest}
    for status in (Status.LIVE, Status.MENDED, Status.HIDDEN):
        if status in after:
            return status
    return Status.UNMEASURED


def _became(record: Record, *, known: bool) -> Status:
    if known:
        return Status.LIVE
    if isinstance(record, StateRecord):
        return Status.HIDDEN
    if record.outcome == Outcome.PASSED:
        return Status.MENDED
    return Status.HIDDEN if record.outcome in FAILED else Status.UNMEASURED


class _Passing:
    """The releases of a package at which a variant passes, or a cell is ready, with all else equal."""

    def __init__(self, records: Iterable[Record]) -> None:
        self._found: dict[tuple[Any, ...], set[Version]] = defaultdict(set)
        for record in records:
            if isinstance(record, VariantRecord):
                for axis in TOLD_PACKAGES:
                    if version := _version(record, axis):
                        if record.outcome == Outcome.PASSED:
                            self._found[_place(record), axis, _rest(record, axis)].add(version)
                        self._found[("",), axis, _rest(record, axis)].add(version)

    def beside(self, record: Record, axis: str) -> set[Version]:
        """Return those releases for the variant of a record, or for the cell of a state."""
        return self._found.get((_place(record), axis, _rest(record, axis)), set())


def _place(record: Record) -> tuple[str, ...]:
    if isinstance(record, StateRecord):
        return ("",)
    return (record.case, *(f"{axis}={value}" for axis, value in sorted(record.variant.items())))


def _rest(record: Record, axis: str) -> tuple[Version | None, ...]:
    return tuple(_version(record, name) for name in TOLD_PACKAGES if name != axis)


def _age(record: Record) -> tuple[Version, ...]:
    return tuple(_version(record, name) or Version("0") for name in WINDOW_AXES)


def _version(record: Record, package: str) -> Version | None:
    return _parsed(record.cell.packages.get(package, "").partition("+")[0])


@cache
def _parsed(version: str) -> Version | None:
    try:
        return Version(version)
    except InvalidVersion:
        return None


def _is_released(record: Record) -> bool:
    """Return whether a cell is of releases alone: no checkout, no version that was never resolved."""
    versions = [_version(record, name) for name in WINDOW_AXES]
    return not record.cell.sources and all(one and not one.is_devrelease and not one.is_prerelease for one in versions)


def problems_of(cases: Iterable[Case], defects: Mapping[str, Defect]) -> list[tuple[Path, int, str]]:
    """List where entries, claims and defects do not name each other: the file, the line (0: the whole), and what."""
    found: list[tuple[Path, int, str]] = []
    named: set[str] = {one.id for one in defects.values() if one.state}
    for case in cases:
        for entry in case.expectations:
            named.add(entry.defect)
            path = case.path.parent / "expected" / f"{case.name}.toml"
            if entry.defect == UNATTRIBUTED:
                words = "nobody has named the cause; write cases/defects/SLUG.md and name it here"
                found.append((path, entry.line, words))
            elif entry.defect and entry.defect not in defects:
                found.append((path, entry.line, f"there is no cases/defects/{entry.defect}.md"))
        for claim in case.claims:
            if claim.defect and claim.defect not in defects:
                path = case.path.parent / "claims" / f"{claim.document}.toml"
                found.append((path, 0, f"{claim.id}: there is no cases/defects/{claim.defect}.md"))
    found += [
        (one.path, 0, "no entry of cases/expected names it, and it has no state; remove it, or name it")
        for one in defects.values()
        if one.id not in named
    ]
    return found


def osv(defect: Defect, modified: str) -> dict[str, Any]:
    """Return a defect in OSV's shape (https://ossf.github.io/osv-schema/): ranges of introduced and fixed events.

    ``modified`` is the time of the newest record, UTC. The prefix of the id is one for private use.
    """
    kept = defect.kept
    introduced, fixed = (kept.introduced, kept.fixed) if kept else ({}, {})
    affected = []
    for package in dict.fromkeys((defect.package, *introduced, *fixed)):
        events = [{"introduced": introduced.get(package, "0")}]
        if package in fixed:
            events.append({"fixed": fixed[package]})
        ranges: list[dict[str, Any]] = [{"type": "ECOSYSTEM", "events": events}]
        if package == defect.package:
            ranges += _git_ranges(defect)
        affected.append({"package": {"ecosystem": "PyPI", "name": package}, "ranges": ranges})
    references = [{"type": "REPORT", "url": link} for link in defect.reported]
    references += [{"type": "FIX", "url": link} for link in (*defect.fixed_by, *defect.first_fixed_commit)]
    references += [{"type": "INTRODUCED", "url": link} for link in defect.first_bad_commit]
    return {
        "schema_version": "1.6.7",
        "id": f"x_plb-{defect.id}",
        "modified": modified,
        "summary": defect.title,
        "details": f"{defect.mechanism}.\n\n{defect.who}. Way round: {defect.way_round}.\n\n{defect.text}",
        "affected": affected,
        "references": references,
        "database_specific": {
            "sees": str(defect.sees),
            "status": str(kept.status) if kept else "",
            "windows": [dict(one) for one in kept.windows] if kept else [],
        },
    }


def _git_ranges(defect: Defect) -> list[dict[str, Any]]:
    """Return the commits that are known, by repository."""
    events: dict[str, list[dict[str, str]]] = defaultdict(list)
    for event, links in (("introduced", defect.first_bad_commit), ("fixed", defect.first_fixed_commit)):
        for found in map(_COMMIT.fullmatch, links):
            if found:
                events[f"https://github.com/{found[1]}"].append({event: found[2]})
    # "0" is the first commit of all: when it began is not known.
    return [
        {"type": "GIT", "repo": repo, "events": some if "introduced" in some[0] else [{"introduced": "0"}, *some]}
        for repo, some in events.items()
    ]
