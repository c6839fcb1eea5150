"""The pages as people use them: headless Chromium, driven by Playwright.

Both come from outside the harness: Playwright and axe-core from the dependency group ``page``, Chromium from the
distribution (``CHROMIUM`` names it where it is not on the path).
"""

from __future__ import annotations

import os
import shutil
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from harness.contracts.plan import AskedCell, AskedVariant, Plan, plan_text
from harness.contracts.record import StateRecord, VariantRecord
from harness.contracts.records import append_records
from harness.errors import EnvironmentFailure
from harness.judge.reference import read_reference
from harness.packages import PACKAGES

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from harness.contracts.record import Record

WIDE, NARROW = {"width": 1280, "height": 800}, {"width": 480, "height": 800}
FILTER_MS = 200
"""A filter answers within so many milliseconds."""

_NAMES = ("chromium", "chromium-browser", "google-chrome")
_FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
)


@dataclass(kw_only=True)
class Findings:
    """What was seen on pages: checks that did not hold, messages on the console, and requests that left the page."""

    problems: list[str] = field(default_factory=list)
    checks: int = 0

    def expect(self, what: str, *, holds: bool) -> None:
        """Count a check; note it where it does not hold."""
        self.checks += 1
        if not holds:
            self.problems.append(what)


def chromium() -> str:
    """Return the path of Chromium. Raises :class:`EnvironmentFailure` where there is none."""
    named = os.environ.get("CHROMIUM")
    found = named or next((path for name in _NAMES if (path := shutil.which(name))), None)
    if found is None:
        message = "no Chromium on the path; install the distribution's package `chromium`, or name it in CHROMIUM"
        raise EnvironmentFailure(message)
    return found


def plan_of(records: list[Record], matrix: str, title: str) -> Plan:
    """Return the plan that records were measured by, as far as they tell."""
    cells: dict[str, AskedCell] = {}
    for record in records:
        facts = record.cell
        state = str(record.state) if isinstance(record, StateRecord) else "ready"
        before = cells.get(facts.id)
        asked = before.asked if before else ()
        if isinstance(record, VariantRecord):
            asked = (*asked, AskedVariant(case=record.case, variant=dict(record.variant)))
        pins = {name: version.partition("+")[0] for name, version in facts.packages.items() if name in PACKAGES}
        cells[facts.id] = AskedCell(id=facts.id, base="b", python=facts.python, pins=pins, state=state, asked=asked)
    return Plan(matrix=matrix, title=title, device="cpu", run=matrix, cells=tuple(cells.values()))


def run_of_reference(name: str, folder: Path) -> Path:
    """Write the published records of a matrix as a run of that name below a reports folder; return its folder."""
    records = read_reference(name)
    home = folder / "runs" / name
    append_records(home / "records" / "published.jsonl", records)
    (home / "plan.json").write_text(plan_text(plan_of(records, name, f"The {name} matrix")), encoding="utf-8")
    return home


@contextmanager
def browser() -> Iterator[Any]:
    """Start headless Chromium."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=chromium(), args=list(_FLAGS))
        try:
            yield started
        finally:
            started.close()


@contextmanager
def opened(started: Any, path: Path, found: Findings, *, fragment: str = "", **settings: Any) -> Iterator[Any]:
    """Open a file in a fresh page. What it says on the console, and what it asks of others, is a finding."""
    context = started.new_context(**{"viewport": WIDE, **settings})
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    page = context.new_page()
    page.on("console", lambda message: found.problems.append(f"{path.name}: console: {message.text}"))
    page.on("pageerror", lambda error: found.problems.append(f"{path.name}: {error}"))

    def asked(request: Any) -> None:
        if not request.url.startswith(("file:", "data:")):
            found.problems.append(f"{path.name}: asks for {request.url}")

    page.on("request", asked)
    try:
        page.goto(f"{path.as_uri()}{fragment}")
        yield page
    finally:
        context.close()


def check_accessibility(page: Any, name: str, found: Findings) -> None:
    """Hold a page against axe-core; serious and critical findings are problems."""
    from axe_playwright_python.sync_playwright import Axe

    for one in Axe().run(page, options={"preload": False}).response["violations"]:
        found.checks += 1
        if one["impact"] in {"serious", "critical"}:
            where = "; ".join(str(node["target"]) for node in one["nodes"][:3])
            found.problems.append(f"{name}: {one['id']} ({one['impact']}): {one['help']}: {where}")
