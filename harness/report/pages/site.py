"""The published knowledge as static pages, each with its data as JSON beside it.

A night's page is dated and permanent: what stands in the folder already stays as it is.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import msgspec
from markupsafe import Markup

from harness.contracts.record import FAILED, MEASURED, StateRecord, VariantRecord
from harness.contracts.records import read_run, variants_in
from harness.errors import HarnessError
from harness.escape import printable
from harness.explain.uses import spoken
from harness.interface import Outcome, variant_id
from harness.judge.claims import audit
from harness.judge.defects import Status, cause_of, load_defects, osv
from harness.judge.origin import published_with
from harness.judge.reference import NIGHTLY, night_of, read_nights
from harness.packages import WINDOW_AXES
from harness.paths import reports_folder
from harness.program import PROGRAM
from harness.report.files import environment
from harness.report.grid import MARKS
from harness.report.pages.compat import (
    GENERATE,
    UNCACHED,
    Support,
    compat_of,
    newest_pair,
    releases_of,
    schema,
    versions_in_order,
)
from harness.report.timings import CHART, growth_sections, latency_row, newest_rows, scale_of
from harness.run.runs import Run

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from harness.contracts.record import Record
    from harness.judge.defects import Defect
    from harness.matrix.cases import Case
    from harness.report.pages.compat import Compat

LETTERS = {
    Support.WORKS: ("✓", "w"), Support.SILENTLY_WRONG: ("≠", "s"), Support.PARTLY: ("~", "p"),
    Support.FAILS: ("!", "r"), Support.UNSUPPORTED: ("·", "u"),
}  # fmt: skip
"""The letter and the CSS class of each kind of support."""

_PAGES = (
    ("index.html", "Live defects"), ("maps.html", "Version maps"), ("documents.html", "Documents"),
    ("cases.html", "Cases"), ("latency.html", "Latency"), ("nights.html", "Nights"),
)  # fmt: skip
_NEAR = 3


@dataclass(frozen=True, kw_only=True)
class _Hit:
    """Where a defect is met: its failing records, those at the newest releases, and the newest of them."""

    records: tuple[Record, ...]
    now: tuple[Record, ...]

    @property
    def variants(self) -> list[VariantRecord]:
        """List the records of variants."""
        return [one for one in self.records if isinstance(one, VariantRecord)]


def write_site(folder: Path, cases: tuple[Case, ...]) -> list[Path]:
    """Write every page below a folder and return their paths, the first page first."""
    records = published_with(None).records
    site = _Site(folder, cases, records)
    site.write_all()
    return site.written


class _Site:
    def __init__(self, folder: Path, cases: tuple[Case, ...], records: Sequence[Record]) -> None:
        self.folder, self.cases, self.records = folder, cases, records
        self.written: list[Path] = []
        self.defects = load_defects()
        self.cause = cause_of(cases, self.defects)
        self.compat = compat_of(records, self.defects, self.cause)
        self.newest = newest_pair(pair for one in variants_in(records) if (pair := releases_of(one.cell)))
        self.hits = self._hits()
        self.by_case: dict[str, list[VariantRecord]] = defaultdict(list)
        self.by_place: dict[tuple[str, str], list[VariantRecord]] = defaultdict(list)
        for one in variants_in(records):
            self.by_case[one.case].append(one)
            self.by_place[one.case, variant_id(one.variant)].append(one)

    def write_all(self) -> None:
        """Write the pages, the first one first."""
        live = self._live()
        self._page("index.html", "index", "What is broken tonight", {"live": live, "resting": self._resting(live)})
        self._data(
            "index.json",
            {"newest": dict(zip(WINDOW_AXES, self.newest, strict=True)), "live": [one["id"] for one in live]},
        )
        self._text("badge.svg", badge(self.newest, len(live)))
        self._data("compat.json", {"$schema": "compat.schema.json", **msgspec.to_builtins(self.compat)})
        self._data("compat.schema.json", schema())
        for name in ("page.css", "map.js"):
            self._text(name, environment().get_template(name).render())
        for defect in self.defects.values():
            self._defect(defect)
        self._maps()
        self._documents()
        self._page("cases.html", "cases", "The cases", {"rows": [self._case(case) for case in self.cases]})
        self._data("cases.json", [self._case(case) for case in self.cases])
        self._latency()
        self._nights()

    def _hits(self) -> dict[str, _Hit]:
        found: dict[str, list[Record]] = defaultdict(list)
        for record in self.records:
            failing = isinstance(record, StateRecord) or record.outcome in FAILED
            if failing and (defect := self.cause(record)):
                found[defect].append(record)
        return {
            name: _Hit(records=tuple(some), now=tuple(one for one in some if releases_of(one.cell) == self.newest))
            for name, some in found.items()
        }

    def _live(self) -> list[dict[str, Any]]:
        """Return what the first page says of each defect that is met at the newest releases, the silent ones first."""
        rows = [self._row(one, self.hits[one.id].now) for one in self.defects.values() if one.id in self.hits]
        order = ("silently-wrong", "raises", "cannot-import", "refused")
        return sorted((one for one in rows if one["count"]), key=lambda one: (order.index(one["sees"]), -one["count"]))

    def _resting(self, live: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        there = {one["id"] for one in live}
        rows = [
            self._row(one, self.hits[one.id].records if one.id in self.hits else ()) for one in self.defects.values()
        ]
        return sorted((one for one in rows if one["id"] not in there), key=lambda one: -one["count"])

    def _row(self, defect: Defect, records: Sequence[Record]) -> dict[str, Any]:
        methods = Counter(one.variant.get("method", "") for one in variants_in(records))
        return {
            "id": defect.id,
            "title": defect.title,
            "sees": str(defect.sees),
            "status": str(defect.kept.status) if defect.kept else "",
            "words": defect.words,
            "who": defect.who,
            "way_round": defect.way_round,
            "count": len(records),
            "methods": [name for name, _ in methods.most_common() if name],
            "reported": list(defect.reported),
        }

    def _defect(self, defect: Defect) -> None:
        hit = self.hits.get(defect.id, _Hit(records=(), now=()))
        newest = max(hit.variants, key=_key, default=None)
        facts = {
            "defect": defect,
            "paragraphs": defect.text.split("\n\n"),
            "hit": hit,
            "live": bool(hit.now),
            "windows": windows_of(self.by_place, hit.records),
            "example": newest,
            "said": printable(newest.message or newest.signature or "") if newest else "",
            "repro": _repro(newest) if newest else "",
            "hits": Counter(
                f"{one.variant.get('model', '-')} {one.variant.get('method', '-')}" for one in hit.variants
            ).most_common(),
            "cases": Counter(one.case for one in hit.variants).most_common(),
        }
        self._page(f"defects/{defect.id}.html", "defect", defect.title, facts)
        self._data(f"defects/{defect.id}.json", osv(defect, self.compat.time))

    def _maps(self) -> None:
        methods = {
            method: {
                "families": list(families),
                "pairs": len({(one.peft, one.transformers) for results in families.values() for one in results}),
            }
            for method, families in self.compat.methods.items()
        }
        self._page("maps.html", "maps", "Version maps", {"methods": methods})
        self._data("maps.json", methods)
        for method in methods:
            data = map_data(self.compat, method)
            facts = {"method": method, "data_text": Markup(_script_text(data))}  # noqa: S704 - _script_text escapes
            self._page(
                f"maps/{method}.html",
                "map",
                f"{spoken(method)[0].upper()}{spoken(method)[1:]}: which versions work",
                facts,
            )
            self._data(f"maps/{method}.json", data)

    def _documents(self) -> None:
        audited: dict[str, list[Any]] = defaultdict(list)
        for case in self.cases:
            if case.claims:
                for one in audit(case, self.by_case[case.name]):
                    audited[one.claim.document].append(one)
        counts = {document: Counter(str(one.audit) for one in found) for document, found in sorted(audited.items())}
        self._page("documents.html", "documents", "The documents", {"documents": counts})
        self._data("documents.json", counts)
        from harness.report.files import claim_data

        for document, found in sorted(audited.items()):
            facts = {"document": document, "claims": found}
            self._page(f"documents/{document}.html", "document", f"Document {document}: where its claims hold", facts)
            self._data(f"documents/{document}.json", [claim_data(one) for one in found])

    def _case(self, case: Case) -> dict[str, Any]:
        mine = [one for one in self.by_case[case.name] if one.outcome in MEASURED]
        newest = [one for one in mine if releases_of(one.cell) == self.newest]
        return {
            "name": case.name,
            "document": case.document or "",
            "summary": case.summary.replace("``", ""),
            "oracle": case.oracle,
            "variants": len(case.variants),
            "newest": _counted(newest),
            "everywhere": _counted(mine),
            "defects": sorted({one.defect for one in case.expectations if one.defect in self.defects}),
            "upstream": list(case.upstream),
        }

    def _latency(self) -> None:
        variants = sorted(variants_in(self.records), key=_key, reverse=True)
        rows = [row for one in variants if (row := latency_row(one)) is not None]
        newest = newest_rows(dict.fromkeys(row.cell for row in rows), rows)
        facts = {
            "latency_rows": rows, "newest_rows": newest, "scale_of": scale_of, "chart": CHART,
            "growth": growth_sections(variants),
        }  # fmt: skip
        self._page("latency.html", "latency", "Latency: with the cache and without", facts)
        self._data("latency.json", {case: [asdict(row) for row in some] for case, some in newest.items()})

    def _nights(self) -> None:
        """Write a page for each night that has none yet, the oldest first, and the list of them."""
        home = self.folder / "nights"
        for date, records in sorted(nights_of().items()):
            if not (home / f"{date}.html").is_file():
                before = max((path for path in home.glob("*.json") if path.stem < date), default=None)
                self._night(date, records, json.loads(before.read_text(encoding="utf-8")) if before else None)
        nights = []
        for path in sorted(home.glob("*.json"), reverse=True):
            night = json.loads(path.read_text(encoding="utf-8"))
            nights.append({name: night[name] for name in ("date", "pairs", "counts", "changes", "before")})
        self._page("nights.html", "nights", "Nights: what changed", {"nights": nights})
        self._data("nights.json", nights)

    def _night(self, date: str, records: Sequence[Record], before: dict[str, Any] | None) -> None:
        night = night_data(date, records, before, self.cause)
        self._page(f"nights/{date}.html", "night", f"The night of {date}", {"night": night})
        self._data(f"nights/{date}.json", night)

    def _page(self, path: str, template: str, title: str, facts: Mapping[str, Any]) -> None:
        text = environment().get_template(f"site/{template}.html.jinja").render(
            {
                "title": title, "pages": _PAGES, "page": path, "root": "../" * path.count("/"), "newest": self.newest,
                "records": len(self.records), "time": self.compat.time, "defects": self.defects, "letters": LETTERS,
                "program": PROGRAM, "maps": tuple(self.compat.methods), "marks": MARKS, "Status": Status, **facts,
            }
        )  # fmt: skip
        self._text(path, text)

    def _data(self, path: str, data: Any) -> None:
        self._text(path, json.dumps(data, ensure_ascii=False, indent=None, default=str) + "\n")

    def _text(self, path: str, text: str) -> None:
        target = self.folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8", errors="backslashreplace")
        self.written.append(target)


def windows_of(
    by_place: Mapping[tuple[str, str], Sequence[VariantRecord]], failing: Sequence[Record]
) -> dict[str, Any] | None:
    """Return where the variants that a defect meets fail of it, and where they do otherwise, by peft x transformers.

    A letter each: it is there (``!``), all of it passes (``✓``), or it fails of something else (``~``). Rows and
    columns without any failure of it, or a neighbour of one, are left out.
    """
    mine = {id(one) for one in failing}
    places = {(one.case, variant_id(one.variant)) for one in variants_in(failing)}
    found: dict[tuple[str, str], set[str]] = defaultdict(set)
    for record in (*failing, *(one for place in sorted(places) for one in by_place[place])):
        pair = releases_of(record.cell)
        if pair is None:
            continue
        if id(record) in mine:
            found[pair].add("there")
        elif isinstance(record, VariantRecord):
            passed = record.outcome == Outcome.PASSED
            found[pair].add("passes" if passed else "otherwise" if record.outcome in FAILED else "")
    bad = {pair for pair, told in found.items() if "there" in told}
    if not bad:
        return None
    rows, columns = (
        _near(versions_in_order(pair[axis] for pair in found), {pair[axis] for pair in bad}) for axis in (0, 1)
    )
    return {"rows": rows, "columns": columns, "cells": {pair: _window(told) for pair, told in found.items()}}


def _window(told: set[str]) -> tuple[str, str, str]:
    if "there" in told:
        return "!", "r", "the defect is there"
    if "otherwise" in told:
        return "~", "p", "fails of something else"
    return ("✓", "w", "passes") if "passes" in told else ("·", "u", "cannot exist here")


def _near(versions: Sequence[str], bad: set[str]) -> list[str]:
    """Return the versions from some before the newest bad one to some after the oldest."""
    at = [number for number, one in enumerate(versions) if one in bad]
    return list(versions[max(0, min(at) - _NEAR) : max(at) + _NEAR + 1])


def map_data(compat: Compat, method: str) -> dict[str, Any]:
    """Return the version map of a method: versions newest first, and for each family what each case gave in each pair.

    A result is ``[peft, transformers, case, letter, passed, measured, defects]`` with numbers into the lists.
    """
    families = compat.methods[method]
    results = [one for found in families.values() for one in found]
    peft, transformers = (
        versions_in_order(getattr(one, name) for one in (*results, *compat.unready)) for name in WINDOW_AXES
    )
    uses = sorted({(one.case, one.aspect) for one in results})
    accounted = {defect for one in results for defect in one.defects}
    told = sorted(accounted | {one.defect for one in compat.unready if one.defect})
    return {
        "method": method,
        "peft": peft,
        "transformers": transformers,
        "cases": [" / ".join(filter(None, use)) for use in uses],
        "generate": [at for at, (case, aspect) in enumerate(uses) if case in GENERATE and aspect not in UNCACHED],
        "uncached": [at for at, (case, aspect) in enumerate(uses) if case in GENERATE and aspect in UNCACHED],
        "defects": [[name, compat.defects[name].title, compat.defects[name].way_round] for name in told],
        "unready": [
            [
                peft.index(one.peft), transformers.index(one.transformers), one.state,
                told.index(one.defect) if one.defect else -1,
            ]
            for one in compat.unready
        ],
        "families": {
            family: [
                [
                    peft.index(one.peft), transformers.index(one.transformers), uses.index((one.case, one.aspect)),
                    LETTERS[one.support][1], one.passed, one.passed + one.wrong + one.failed,
                    [told.index(name) for name in one.defects],
                ]
                for one in found
            ]
            for family, found in families.items()
        },
    }  # fmt: skip


def nights_of() -> dict[str, list[Record]]:
    """Return the records of each night by its date: those published of the nightly, and its runs on this machine."""
    nights = read_nights()
    for path in sorted((reports_folder() / "runs").glob("[!.]*/plan.json")):
        run = Run(id=path.parent.name)
        try:
            if run.plan().matrix == NIGHTLY and (mine := read_run(run.folder)):
                nights[night_of(mine)] = mine
        except HarnessError:
            # `report RUN` says what is wrong with it; the other nights stand.
            continue
    return nights


def night_data(date: str, records: Sequence[Record], before: Mapping[str, Any] | None, cause: Any) -> dict[str, Any]:
    """Return what a night measured and what changed since the one before; both hold results by cell and variant.

    Cells are compared under their roles, the newest pair of releases with the newest, so that a new release is no new
    cell.
    """
    pairs = sorted({pair for one in records if (pair := releases_of(one.cell))}, key=newest_key, reverse=True)
    results: dict[str, dict[str, list[str]]] = {}
    for one in variants_in(records):
        pair = releases_of(one.cell)
        if pair is not None and one.outcome in MEASURED:
            words = printable(one.words)[:200]
            results.setdefault(_role(pairs, pair), {})[f"{one.case} {variant_id(one.variant)}"] = [
                str(one.outcome),
                words,
                cause(one),
            ]
    changes = []
    for role, now in results.items():
        then = before["results"].get(role, {}) if before else {}
        changes += [
            {"role": role, "variant": name, "before": then[name], "now": now[name]}
            for name in now.keys() & then.keys()
            if now[name][0] != then[name][0]
        ]
    changes.sort(key=lambda one: (one["now"][0] == "passed", one["role"], one["variant"]))
    counts = Counter(outcome for found in results.values() for outcome, *_ in found.values())
    defects = Counter(defect for found in results.values() for _, _, defect in found.values() if defect)
    return {
        "date": date,
        "defects": dict(defects.most_common()),
        "before": before["date"] if before else "",
        "pairs": [list(pair) for pair in pairs],
        "counts": dict(counts.most_common()),
        "changes": changes,
        "new_releases": [list(pair) for pair in pairs if before and list(pair) not in before["pairs"]],
        "results": results,
    }


def newest_key(pair: tuple[str, str]) -> tuple[Any, ...]:
    """Return what pairs of releases are ordered by."""
    from packaging.version import Version

    return Version(pair[0]), Version(pair[1])


def _role(pairs: Sequence[tuple[str, str]], pair: tuple[str, str]) -> str:
    peft, transformers = (versions_in_order(one[axis] for one in pairs) for axis in (0, 1))
    at = peft.index(pair[0]), transformers.index(pair[1])
    return ", ".join(
        f"{name} newest{f'-{number}' if number else ''}" for name, number in zip(WINDOW_AXES, at, strict=True)
    )


def badge(newest: tuple[str, str], live: int) -> str:
    """Draw the badge: the newest releases, and how many defects are live on them."""
    left, right = f"peft {newest[0]} + transformers {newest[1]}", f"{live} live defects" if live else "no live defect"
    width, more = 7 * len(left) + 14, 7 * len(right) + 14
    colour = "#a1260d" if live else "#116329"
    whole = width + more
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{whole}" height="20" role="img" aria-label="{left}: {right}">'
        f"<title>{left}: {right}</title>"
        f'<rect width="{width}" height="20" fill="#3d444d"/>'
        f'<rect x="{width}" width="{more}" height="20" fill="{colour}"/>'
        '<g fill="#fff" font-family="DejaVu Sans,Verdana,sans-serif" font-size="11" text-anchor="middle">'
        f'<text x="{width / 2:g}" y="14">{left}</text><text x="{width + more / 2:g}" y="14">{right}</text></g></svg>\n'
    )


def _key(record: Record) -> tuple[Any, ...]:
    pair = releases_of(record.cell)
    return (pair is not None, newest_key(pair) if pair else (), record.time)


def _counted(records: Iterable[VariantRecord]) -> str:
    counts = Counter(Outcome(one.outcome) for one in records)
    return " ".join(f"{counts[outcome]}{mark}" for outcome, mark in MARKS.items() if counts[outcome]) or "not measured"


def _repro(record: VariantRecord) -> str:
    variant = "-".join(value for axis, value in record.variant.items() if axis not in {"device", "dtype"})
    matrix = f" --matrix {record.cell.matrix}" if record.cell.matrix else ""
    words = f"{PROGRAM} repro {record.case} --cell '{record.cell.id}'{matrix} --variant {variant}"
    return f"{words} -o repro.py && uv run repro.py"


def _script_text(data: Any) -> str:
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
