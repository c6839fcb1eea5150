"""What the page of a run embeds as JSON: every result once, equal ones shared (pure)."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from harness.interface import Outcome, variant_id
from harness.packages import TOLD_PACKAGES
from harness.program import PROGRAM
from harness.report.grid import MARKS
from harness.report.timings import latency_row

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from harness.judge.causes import Group
    from harness.judge.defects import Defect
    from harness.judge.summary import CellSummary, Summary
    from harness.judge.verdicts import Judged
    from harness.run.store import Measurement

MOST_BYTES = 1_600_000
"""Of the JSON with counters and history of everything; a larger page has those of what is not as expected alone."""

LONGEST = 600
"""Characters of a message on the page; the records have all of it."""

_HARNESS_AXES = frozenset({"device", "dtype"})
_COUNTERS = ("use_cache", "forward_calls", "tokens_fed", "tokens_per_call", "cache_per_call", "operators", "flops")
_OFTEN = 2

Place = tuple[str, str, str]
"""A cell's id, a case, and a variant as :func:`harness.interface.variant_id` writes it."""


def page_data(
    summary: Summary,
    groups: Sequence[Group],
    defects: Mapping[str, Defect],
    history: Mapping[Place, Sequence[Measurement]],
    before: Mapping[Place, str],
) -> dict[str, Any]:
    """Return what the page shows of a run, whose texts are printable already.

    ``grid`` has a list for each cell, the newest first, with a number into ``details`` for each variant (-1: not asked
    for). ``more`` and ``before`` are keyed by ``cell * len(variants) + variant``. ``history`` is of the store;
    ``before`` says in words what an earlier run gave where it was otherwise.
    """
    cells = tuple(reversed(summary.cells))
    cases = {case.name: number for number, case in enumerate(summary.cases)}
    strangers = dict.fromkeys(one.case for one in summary.judged if one.case not in cases)
    cases |= {name: len(cases) + number for number, name in enumerate(strangers)}
    data = _Grid(cases)
    data.add(cells, history, before)
    members = {
        (one.cell, one.case, variant_id(one.variant)): group for group, of in enumerate(groups) for one in of.members
    }
    of_group: dict[int, list[int]] = {number: [] for number in range(len(groups))}
    for where, place in data.places.items():
        if where in members:
            of_group[members[where]].append(place)
    told = {one["defect"] for one in data.details if one["defect"]}
    return {
        "title": summary.title,
        "run": summary.run,
        "matrix": summary.matrix,
        "program": PROGRAM,
        "packages": [name for name in TOLD_PACKAGES if len({cell.versions.get(name) for cell in cells}) > 1]
        or ["peft", "transformers"],
        "marks": {str(outcome): mark for outcome, mark in MARKS.items()},
        "count": len(data.places),
        "cases": [
            {"name": case.name, "document": case.document, "summary": case.summary.replace("``", "")}
            for case in summary.cases
        ]
        + [{"name": name, "document": None, "summary": ""} for name in strangers],
        "defects": {
            name: {
                "title": defects[name].title,
                "words": f"{defects[name].words.capitalize()}. Way round: {defects[name].way_round}.",
            }
            for name in sorted(told)
            if name in defects
        },
        "causes": [
            {"words": f"{group.verdict}: {group.words}"[:LONGEST], "members": of_group[number]}
            for number, group in enumerate(groups)
        ],
        "cells": [_cell(cell) for cell in cells],
        "variants": data.variants,
        "details": data.details,
        "grid": data.grid,
        "counters": data.counters,
        "more": data.more,
        "before": data.before,
    }


def page_text(data: dict[str, Any]) -> str:
    """Write the data as JSON that can stand in a script element: no text in it ends the element or begins a comment.

    Where all is more than :data:`MOST_BYTES`, counters, latency and history of what is as expected are left out.
    """
    text = _json(data)
    if len(text) > MOST_BYTES:
        details, width = data["details"], len(data["variants"])
        loud = {
            place: more
            for place, more in data["more"].items()
            if details[data["grid"][place // width][place % width]]["person"]
        }
        text = _json({**data, "more": loud, "trimmed": True})
    if len(text) > MOST_BYTES:
        text = _json({**data, "more": {}, "trimmed": True})
    return text


def _json(data: dict[str, Any]) -> str:
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


class _Grid:
    """The results of all cells, with equal details, counters and variants held once."""

    def __init__(self, cases: Mapping[str, int]) -> None:
        self._cases = cases
        self.variants: list[tuple[int, str, dict[str, str]]] = []
        self.details: list[dict[str, Any]] = []
        self.counters: list[str] = []
        self.grid: list[list[int]] = []
        self.more: dict[int, dict[str, Any]] = {}
        self.before: dict[int, str] = {}
        self.places: dict[Place, int] = {}

    def add(
        self, cells: Sequence[CellSummary], history: Mapping[Place, Sequence[Measurement]], before: Mapping[Place, str]
    ) -> None:
        """Take in all cells, in the order in which they stand on the page."""
        known = {(one.case, variant_id(one.variant)): one for cell in cells for one in cell.judged}
        order = sorted(known.values(), key=lambda one: self._cases[one.case])
        of_variant = {(one.case, variant_id(one.variant)): number for number, one in enumerate(order)}
        self.variants = [(self._cases[one.case], _name(one.variant), dict(one.variant)) for one in order]
        of_detail: dict[tuple[Any, ...], int] = {}
        of_counters: dict[str, tuple[int, dict[str, Any]]] = {}
        for number, cell in enumerate(cells):
            row = [-1] * len(order)
            for one in cell.judged:
                name = variant_id(one.variant)
                variant = of_variant[one.case, name]
                detail = _detail(one)
                row[variant] = of_detail.setdefault(detail, len(of_detail))
                place, where = number * len(order) + variant, (cell.id, one.case, name)
                self.places[where] = place
                if more := _more(one, of_counters, history.get(where, ())):
                    self.more[place] = more
                if where in before:
                    self.before[place] = before[where]
            self.grid.append(row)
        names = ("outcome", "label", "person", "message", "signature", "defect")
        self.details = [dict(zip(names, detail, strict=True)) for detail in of_detail]
        self.counters = [
            "\n".join(f"{name}: {_short(value)}" for name, value in counters.items())
            for _, counters in of_counters.values()
        ]


def _cell(cell: CellSummary) -> dict[str, Any]:
    lock = next((one.record.cell.lock for one in cell.judged if one.record and one.record.cell.lock), None)
    versions = {name: version.partition("+")[0] for name, version in cell.versions.items()}
    return {
        "id": cell.id,
        "versions": {name: versions[name] for name in TOLD_PACKAGES if name in versions},
        "state": cell.state,
        "words": cell.words[:LONGEST],
        "why": cell.facts.why,
        "lock": lock,
    }


def _detail(one: Judged) -> tuple[Any, ...]:
    record = one.record
    message, signature = (record.message or "", record.signature or "") if record else ("", "")
    return one.outcome, one.label, one.needs_a_person, message[:LONGEST], signature[:LONGEST], one.defect


def _more(
    one: Judged, of_counters: dict[str, tuple[int, dict[str, Any]]], history: Sequence[Measurement]
) -> dict[str, Any]:
    record = one.record
    if record is None:
        return {}
    more: dict[str, Any] = {}
    if counters := {name: record.counters[name] for name in _COUNTERS if name in record.counters}:
        more["counters"] = of_counters.setdefault(repr(counters), (len(of_counters), counters))[0]
    if row := latency_row(record):
        more["latency"] = [
            {
                "name": name,
                "middle": _rounded(arm.median_ms),
                "low": _rounded(arm.low_ms),
                "high": _rounded(arm.high_ms),
            }
            for name, arm in row.arms
        ]
    if len(history) >= _OFTEN:
        more["history"] = [[item.time, item.outcome, item.run, item.machine] for item in history]
    if more and record.duration_s is not None and record.outcome != Outcome.PASSED:
        more["took"] = record.duration_s
    return more


def _short(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _rounded(number: float | None) -> float | None:
    return None if number is None else float(f"{number:.3g}")


def _name(variant: Mapping[str, str]) -> str:
    return " ".join(value for axis, value in variant.items() if axis not in _HARNESS_AXES)
