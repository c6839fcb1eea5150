"""Write a judged run to files: Markdown, HTML, JUnit XML and JSON, under ``reports/latest``."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from harness.escape import markdown, markdown_code, printable
from harness.interface import CellState, Outcome
from harness.judge.defects import load_defects, osv
from harness.judge.verdicts import Verdict
from harness.packages import TOLD_PACKAGES
from harness.paths import reports_folder
from harness.report.grid import MARKS, across, aside, cell_text, legend, worst_verdict
from harness.report.pivot import all_marks, mark_order, pivot_of
from harness.report.shown import shown
from harness.report.timings import CHART, growth_sections, latency_rows, newest_rows, scale_of

if TYPE_CHECKING:
    from pathlib import Path

    from harness.judge.claims import AuditedClaim
    from harness.judge.defects import Defect
    from harness.judge.summary import Summary
    from harness.judge.verdicts import Judged


def write_reports(summary: Summary, diff: str = "") -> list[Path]:
    """Write every kind of report and return the paths; ``diff`` is the proposed edit of what is expected."""
    folder = reports_folder() / "latest"
    folder.mkdir(parents=True, exist_ok=True)
    texts = {
        "report.md": render("report.md.jinja", summary, diff),
        "report.html": render("report.html.jinja", summary, diff),
        "junit.xml": junit(summary),
        "report.json": json.dumps(as_json(summary), ensure_ascii=False, indent=1),
    }
    texts["defects.json"] = json.dumps(advisories(summary), ensure_ascii=False, indent=1)
    for name, text in texts.items():
        # A lone surrogate, which only the JSON may hold, becomes JSON's own escape.
        (folder / name).write_text(text, encoding="utf-8", errors="backslashreplace")
    return [folder / name for name in texts]


def render(template: str, summary: Summary, diff: str = "") -> str:
    """Fill a template of ``harness/report/templates``; what records and plans brought stays text, whatever it holds."""
    summary, diff = shown(summary), printable(diff)
    rows = latency_rows(summary)
    return (
        _environment()
        .get_template(template)
        .render(
            summary=summary,
            diff=diff,
            fence="`" * max(3, 1 + max(map(len, re.findall("`+", diff)), default=0)),
            pivot=pivot_of(summary),
            all_marks=all_marks,
            mark_order=mark_order,
            packages=TOLD_PACKAGES,
            cell_text=cell_text,
            columns=across(summary),
            aside=aside(summary),
            worst=worst_verdict,
            mark=lambda one: MARKS[Outcome(one.outcome)],
            variant_rows=variant_rows,
            latency_rows=rows,
            newest_rows=newest_rows(summary, rows),
            scale_of=scale_of,
            chart=CHART,
            growth=growth_sections(summary),
            legend=legend(),
            groups=summary.groups,
            defects=defect_rows(summary),
            Verdict=Verdict,
            READY=CellState.READY,
        )
    )


@dataclass(frozen=True, kw_only=True)
class DefectRow:
    """A known defect of a run, the variants that it accounts for, and what its file says (None: there is no file)."""

    id: str
    judged: tuple[Judged, ...]
    defect: Defect | None

    @property
    def words(self) -> str:
        """Return the status, and the way round."""
        return f"{self.defect.words}; {self.defect.way_round}" if self.defect else ""


def defect_rows(summary: Summary) -> list[DefectRow]:
    """List the known defects that a run met, the most frequent first."""
    known = load_defects()
    return [
        DefectRow(id=name, judged=tuple(judged), defect=known.get(name)) for name, judged in summary.defects().items()
    ]


def advisories(summary: Summary) -> list[dict[str, Any]]:
    """Return the known defects that a run met in OSV's shape."""
    times = [one.record.time for one in summary.judged if one.record]
    return [osv(row.defect, max(times)) for row in defect_rows(summary) if row.defect]


@cache
def _environment() -> Environment:
    """Return the templates, each of which is compiled once."""
    environment = Environment(
        loader=PackageLoader("harness.report"),
        autoescape=select_autoescape(["html.jinja"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["cell_line"] = lambda text: " ".join(str(text).split()).replace("|", "\\|")
    environment.filters["markdown"] = lambda text: markdown(str(text))
    environment.filters["markdown_code"] = lambda text: markdown_code(str(text))
    return environment


def variant_rows(summary: Summary, case: str) -> dict[str, dict[str, Judged]]:
    """Map each variant of a case to what it gave in each cell."""
    rows: dict[str, dict[str, Judged]] = defaultdict(dict)
    for cell in summary.cells:
        for one in cell.of_case(case):
            name = " ".join(value for axis, value in one.variant.items() if axis not in {"device", "dtype"})
            rows[name][cell.id] = one
    return rows


def junit(summary: Summary) -> str:
    """Give JUnit XML: a suite for each cell; what needs a person fails, what was not measured is skipped."""
    summary = shown(summary)
    root = ET.Element("testsuites", name=summary.title)
    for cell in summary.cells:
        skipped = cell in summary.skipped()
        amiss = cell.state_verdict is not Verdict.AS_EXPECTED and not skipped
        failures = amiss + sum(one.needs_a_person for one in cell.judged)
        count = amiss + skipped + len(cell.judged)
        suite = ET.SubElement(root, "testsuite", name=cell.id, tests=str(count), failures=str(failures))
        if skipped:
            absent = ET.SubElement(suite, "testcase", classname=cell.id, name="environment")
            ET.SubElement(absent, "skipped", message=f"{cell.state}: {cell.words}")
        if amiss:
            broken = ET.SubElement(suite, "testcase", classname=cell.id, name="environment")
            ET.SubElement(broken, "failure", message=cell.state).text = cell.words
        for one in cell.judged:
            seconds = str((one.record and one.record.duration_s) or 0)
            name = f"{one.case}[{'-'.join(one.variant.values())}]"
            test = ET.SubElement(suite, "testcase", classname=cell.id, name=name, time=seconds)
            said = (one.record and one.record.message) or ("" if one.label == str(one.verdict) else one.words)
            words = f"{one.label}: {one.outcome}: {said}"
            if one.needs_a_person:
                ET.SubElement(test, "failure", message=words)
            elif one.outcome == Outcome.NO_DEVICE:
                ET.SubElement(test, "skipped", message=words)
    ET.indent(root)
    return ET.tostring(root, encoding="unicode", xml_declaration=True)


def as_json(summary: Summary) -> dict[str, Any]:
    """Return the report for other programs: every planned variant with its verdict."""
    return {
        "schema": 1,
        "run": summary.run,
        "matrix": summary.matrix,
        "device": summary.device,
        "verdicts": dict(summary.verdicts()),
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
        "defects": {name: len(judged) for name, judged in summary.defects().items()},
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
