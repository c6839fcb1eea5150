"""Write a judged run to files: Markdown, HTML, JUnit XML and JSON, under ``reports/latest``."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from markupsafe import Markup

from harness.escape import fence, markdown, markdown_code, printable
from harness.explain.uses import spoken
from harness.interface import Outcome, variant_id
from harness.judge.defects import load_defects, osv
from harness.judge.verdicts import Verdict
from harness.judge.windows import declared
from harness.packages import TOLD_PACKAGES
from harness.paths import reports_folder
from harness.program import PROGRAM
from harness.report.grid import across, aside, cell_text, grid_rows, legend
from harness.report.page_data import page_data, page_text
from harness.report.pivot import all_marks, mark_order, pivot_of
from harness.report.shown import shown
from harness.report.timings import CHART, growth_sections, latency_rows, newest_rows, scale_of
from harness.run.store import Store

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from harness.judge.causes import Group
    from harness.judge.claims import AuditedClaim
    from harness.judge.defects import Defect
    from harness.judge.summary import Summary
    from harness.judge.verdicts import Judged
    from harness.report.page_data import Place
    from harness.report.shown import Shown
    from harness.report.since import Since
    from harness.run.store import Measurement


MOST_CAUSES = 20
"""Causes that a report lists one by one."""

MARKDOWN_BYTES = 1 << 20
"""What a job summary takes."""


def write_reports(
    summary: Summary, diff: str = "", since: Since | None = None, clean: Shown | None = None
) -> list[Path]:
    """Write every kind of report and return the paths.

    ``diff`` is the proposed edit of what is expected, ``clean`` the summary as it is shown where that is known already.
    """
    folder = reports_folder() / "latest"
    folder.mkdir(parents=True, exist_ok=True)
    clean, known = clean or shown(summary), load_defects()
    facts = _facts(clean, known, printable(diff), since)
    texts = {
        "report.json": json.dumps(as_json(summary), ensure_ascii=False),
        "defects.json": json.dumps(advisories(summary, known), ensure_ascii=False, indent=1),
        "report.md": _within(render("report.md.jinja", facts), MARKDOWN_BYTES),
        "report.html": page(facts, clean, known, since),
        "junit.xml": junit(clean.summary),
    }
    order = ("report.md", "report.html", "junit.xml", "report.json", "defects.json")
    for name in order:
        # A lone surrogate, which only the JSON may hold, becomes JSON's own escape.
        (folder / name).write_text(texts[name], encoding="utf-8", errors="backslashreplace")
    return [folder / name for name in order]


def page(facts: dict[str, Any], run: Shown, known: Mapping[str, Defect], since: Since | None) -> str:
    """Return the self-contained page of a run."""
    history: Mapping[Place, Sequence[Measurement]] = {}
    store = reports_folder() / "store.sqlite"
    if store.is_file():
        history = Store(store).history(run.summary.matrix)
    before = {place: printable(words) for place, words in since.changes.items()} if since else {}
    data = page_data(run.summary, run.groups, known, history, before)
    return render("report.html.jinja", {**facts, "data": data, "data_text": Markup(page_text(data))})  # noqa: S704 - page_text escapes


def render(template: str, facts: dict[str, Any]) -> str:
    """Fill a template of ``harness/report/templates``; what records and plans brought stays text, whatever it holds."""
    return environment().get_template(template).render(facts)


def _facts(run: Shown, known: Mapping[str, Defect], diff: str, since: Since | None) -> dict[str, Any]:
    """Return what the templates speak of; texts are printable already."""
    summary = run.summary
    rows = latency_rows(summary)
    columns = across(summary)
    newest_first = summary.cells[::-1]
    return {
        "summary": summary,
        "diff": diff,
        "fence": fence(diff),
        "pivot": pivot_of(summary),
        "all_marks": all_marks,
        "mark_order": mark_order,
        "packages": TOLD_PACKAGES,
        "cell_text": cell_text,
        "columns": columns,
        "rows": grid_rows(summary),
        "aside": aside(summary),
        "latency_rows": rows,
        "newest_rows": newest_rows([cell.id for cell in newest_first], rows),
        "scale_of": scale_of,
        "chart": CHART,
        "growth": growth_sections(one.record for cell in newest_first for one in cell.judged if one.record),
        "legend": legend(),
        "groups": [CauseRow.of(group, summary.matrix) for group in run.groups],
        "most": MOST_CAUSES,
        "defects": defect_rows(summary, known),
        "since": since,
    }


@dataclass(frozen=True, kw_only=True)
class CauseRow:
    """A cause as a report lists it. ``kind`` is the verdict that names its colour."""

    verdict: str
    kind: str
    words: str
    size: int
    cases: tuple[str, ...]
    representative: Judged
    command: str
    """What writes a script of the representative; "" where nothing was measured."""

    @classmethod
    def of(cls, group: Group, matrix: str) -> CauseRow:
        """Return the row of a group."""
        return cls(
            verdict=group.verdict,
            kind=group.verdict.partition(":")[0],
            words=group.words,
            size=len(group.members),
            cases=group.cases,
            representative=group.representative,
            command=repro_command(group, matrix) if group.representative.record else "",
        )


def _within(text: str, limit: int) -> str:
    """Cut a text at the end of a line where it is longer than so many bytes, and say so."""
    data = text.encode("utf-8", "backslashreplace")
    if len(data) <= limit:
        return text
    words = "\n\nCut here; report.html has the rest.\n"
    return data[: limit - len(words)].decode("utf-8", "ignore").rpartition("\n")[0] + words


@dataclass(frozen=True, kw_only=True)
class DefectRow:
    """A known defect of a run, the variants that it accounts for, and what its file says (None: there is no file)."""

    id: str
    judged: tuple[Judged, ...]
    defect: Defect | None

    @property
    def count(self) -> int:
        """Count the variants."""
        return len(self.judged)

    @property
    def words(self) -> str:
        """Return what to tell whom it hits."""
        return self.defect.sentence if self.defect else f"hits {self.id}"


def repro_command(group: Group, matrix: str, program: str = PROGRAM) -> str:
    """Return the command that writes a script of a group's representative."""
    one = group.representative
    variant = variant_id(declared(one.variant))
    options = shlex.join([one.case, "--matrix", matrix, "--cell", one.cell, "--variant", variant])
    return f"{program} repro {options}"


def defect_rows(summary: Summary, known: Mapping[str, Defect]) -> list[DefectRow]:
    """List the known defects that a run met, the most frequent first."""
    return [
        DefectRow(id=name, judged=tuple(judged), defect=known.get(name)) for name, judged in summary.defects.items()
    ]


def advisories(summary: Summary, known: Mapping[str, Defect]) -> list[dict[str, Any]]:
    """Return the known defects that a run met in OSV's shape."""
    times = [one.record.time for one in summary.judged if one.record]
    return [osv(row.defect, max(times)) for row in defect_rows(summary, known) if row.defect]


@cache
def environment() -> Environment:
    """Return the templates, each of which is compiled once."""
    environment = Environment(
        loader=PackageLoader("harness.report"),
        autoescape=select_autoescape(["html.jinja"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["cell_line"] = lambda text: " ".join(str(text).split()).replace("|", "\\|")
    environment.filters["spoken"] = spoken
    environment.filters["markdown"] = lambda text: markdown(str(text))
    environment.filters["markdown_code"] = lambda text: markdown_code(str(text))
    return environment


def junit(summary: Summary) -> str:
    """Return JUnit XML: a suite for each cell; what needs a person fails, what was not measured is skipped.

    The texts are printable already.
    """
    root = ET.Element("testsuites", name=summary.title)
    for cell in summary.cells:
        amiss = cell.state_verdict is not Verdict.AS_EXPECTED and not cell.is_skipped
        failures = amiss + sum(one.needs_a_person for one in cell.judged)
        count = amiss + cell.is_skipped + len(cell.judged)
        suite = ET.SubElement(root, "testsuite", name=cell.id, tests=str(count), failures=str(failures))
        if cell.is_skipped:
            absent = ET.SubElement(suite, "testcase", classname=cell.id, name="environment")
            ET.SubElement(absent, "skipped", message=f"{cell.state}: {cell.words}")
        if amiss:
            broken = ET.SubElement(suite, "testcase", classname=cell.id, name="environment")
            ET.SubElement(broken, "failure", message=cell.state).text = cell.words
        for one in cell.judged:
            seconds = str((one.record and one.record.duration_s) or 0)
            name = f"{one.case}[{'-'.join(one.variant.values())}]"
            test = ET.SubElement(suite, "testcase", classname=cell.id, name=name, time=seconds)
            if one.needs_a_person:
                ET.SubElement(test, "failure", message=_junit_words(one))
            elif one.outcome == Outcome.NO_DEVICE:
                ET.SubElement(test, "skipped", message=_junit_words(one))
    ET.indent(root)
    return ET.tostring(root, encoding="unicode", xml_declaration=True)


def _junit_words(one: Judged) -> str:
    said = (one.record and one.record.message) or ("" if one.label == str(one.verdict) else one.words)
    return f"{one.label}: {one.outcome}: {said}"


def as_json(summary: Summary) -> dict[str, Any]:
    """Return the report for other programs: every planned variant with its verdict."""
    return {
        "schema": 1,
        "run": summary.run,
        "matrix": summary.matrix,
        "device": summary.device,
        "verdicts": dict(summary.verdicts),
        "outcomes": dict(summary.outcomes()),
        "exit_status": int(summary.exit_status()),
        "cells": [
            {
                "id": cell.id,
                "why": cell.facts.why,
                "state": cell.state,
                "message": cell.words,
                "verdict": cell.state_verdict,
                "versions": cell.versions,
                "variants": [
                    {
                        "case": one.case,
                        "variant": dict(one.variant),
                        "outcome": one.outcome,
                        "verdict": one.verdict,
                        "cost": one.cost,
                        "defect": one.defect or None,
                        "signature": one.record and one.record.signature,
                        "message": one.record and one.record.message,
                    }
                    for one in cell.judged
                ],
            }
            for cell in summary.cells
        ],
        "defects": {name: len(judged) for name, judged in summary.defects.items()},
        "causes": [
            {
                "verdict": group.verdict,
                "step": group.step,
                "mechanism": group.mechanism,
                "records": len(group.members),
                "cases": list(group.cases),
                "representative": {
                    "cell": group.representative.cell,
                    "case": group.representative.case,
                    "variant": dict(group.representative.variant),
                },
            }
            for group in summary.groups
        ],
        "claims": [claim_data(one) for one in summary.claims],
    }


def claim_data(one: AuditedClaim) -> dict[str, Any]:
    """Return a claim and where it holds for other programs."""
    return {
        "id": one.claim.id,
        "document": one.claim.document,
        "case": one.claim.case,
        "defect": one.claim.defect or None,
        "quote": one.claim.quote,
        "english": one.claim.english,
        "audit": one.audit,
        "windows": one.windows,
        "answer": one.claim.answer,
        "holding": list(one.holding),
        "contradicting": list(one.contradicting),
        "set_aside": dict(one.aside),
        "decided_by": one.example,
    }
