"""The pages as people use them: headless Chromium, driven by Playwright.

Both come from outside the harness: Playwright and axe-core from the dependency group ``page``, Chromium from the
distribution (``CHROMIUM`` names it where it is not on the path).
"""

from __future__ import annotations

import os
import re
import shutil
from contextlib import contextmanager
from dataclasses import dataclass, field
from statistics import median
from typing import TYPE_CHECKING, Any

from harness.contracts.plan import AskedCell, AskedVariant, Plan, plan_text
from harness.contracts.record import StateRecord, VariantRecord
from harness.contracts.records import append_records
from harness.errors import EnvironmentFailure
from harness.judge.reference import read_reference
from harness.packages import PACKAGES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from harness.contracts.record import Record

WIDE, NARROW = {"width": 1100, "height": 620}, {"width": 480, "height": 800}
TALL = {"width": 1100, "height": 940}
"""Of the picture of a version map: high enough for the row of peft 0.13.2."""
FILTER_MS = 200
"""A filter answers within so many milliseconds."""
PAGE_RUN, PAGE_BYTES = (400, 60), 2_000_000
"""Cells and variants of a run, and what its page may weigh."""
FILTER_RUN = (1000, 100)
"""Cells and variants of the run whose filters are timed: 100,000 results."""

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


def check_report(page: Any, found: Findings) -> None:
    """Use the page of a run: filters and the address, keyboard, panel, copy."""
    count = "document.getElementById('count').textContent"
    whole = page.evaluate(count)
    page.select_option("#f-method", "prefix_tuning")
    page.select_option("#f-family", "llama")
    found.expect("report: a filter changes the count", holds=page.evaluate(count) != whole)
    found.expect(
        "report: the address keeps the filters", holds="method=prefix_tuning" in page.url and "family=llama" in page.url
    )
    labels = page.locator("#canvas [role=rowheader]").all_inner_texts()
    found.expect(
        "report: rows are of the method alone",
        holds=bool(labels) and all("llama prefix_tuning" in one for one in labels),
    )
    milliseconds = page.evaluate(_TIMED)
    found.expect(f"report: a filter takes {milliseconds:.0f} ms", holds=milliseconds <= FILTER_MS)
    address, filtered = page.url, page.evaluate(count)
    page.goto("about:blank")
    page.goto(address)
    found.expect("report: the address brings the filters back", holds=page.evaluate(count) == filtered)
    page.fill("#f-q", "no such words anywhere")
    found.expect("report: a search without results says so", holds=page.evaluate(count).startswith("0 of"))
    page.click("#reset")
    found.expect("report: Clear brings everything back", holds=page.evaluate(count) == whole)
    at = "document.activeElement.dataset.at"
    page.locator("#canvas [data-at='0,0']").focus()
    for key in ("ArrowDown", "ArrowDown", "ArrowRight"):
        page.keyboard.press(key)
    found.expect("report: arrow keys move through the grid", holds=page.evaluate(at) == "2,1")
    page.keyboard.press("Control+End")
    last = page.evaluate(at)
    found.expect("report: the last result is reached by keyboard", holds=last not in {None, "2,1"})
    page.keyboard.press("Enter")
    found.expect(
        "report: Enter opens the panel and moves there", holds=page.evaluate("document.activeElement.id") == "close"
    )
    found.expect("report: the address names the result", holds="cell=" in page.url and "variant=" in page.url)
    words = page.locator("#panel").inner_text()
    found.expect("report: the panel names lock and commands", holds="sha256:" in words and "--case" in words)
    page.locator("#panel .copy button").first.click()
    page.wait_for_function("document.querySelector('#panel .copy [role=status]').textContent.includes('copied')")
    copied, shown = page.evaluate("navigator.clipboard.readText()"), page.locator("#panel .copy pre").first.inner_text()
    found.expect("report: the command is on the clipboard", holds=copied.strip() == shown.strip())
    page.keyboard.press("Escape")
    found.expect(
        "report: Escape closes the panel and returns", holds=page.is_hidden("#panel") and page.evaluate(at) == last
    )


_SCROLL_MS = 700
_TIMED = """() => {
  const timed = (id, value) => {
    const field = document.getElementById(id), begin = performance.now();
    field.value = value;
    field.dispatchEvent(new Event("input"));
    document.getElementById("canvas").getBoundingClientRect();
    const took = performance.now() - begin;
    field.value = "";
    field.dispatchEvent(new Event("input"));
    return took;
  };
  const method = document.getElementById("f-method");
  return Math.max(timed("f-q", "llama error tensor"), timed("f-method", method.options[1].value));
}"""
"""Milliseconds of the slower of two filters, a search and a choice, until the page is laid out again."""


def check_large(folder: Path, found: Findings) -> list[str]:
    """Draw the pages of two large made-up runs: the size of the first, and how long the filters of the second take.

    Returns a line of words for each.
    """
    from harness.selfcheck.load import cost_of_report, make_run

    pages = {}
    for cells, variants in (PAGE_RUN, FILTER_RUN):
        home = folder / f"{cells}x{variants}"
        make_run(home, cells, variants, _SEED)
        cost_of_report(home)
        pages[cells, variants] = home / "latest" / "report.html"
    size = pages[PAGE_RUN].stat().st_size
    found.expect(f"large: the page of {PAGE_RUN} has {size:,} bytes", holds=size < PAGE_BYTES)
    with browser() as started, opened(started, pages[FILTER_RUN], found) as page:
        middle = median(page.evaluate(_TIMED) for _ in range(_FILTERED))
        count = page.evaluate("document.getElementById('count').textContent")
    found.expect(f"large: a filter takes {middle:.0f} ms", holds=middle <= FILTER_MS)
    return [
        f"{PAGE_RUN[0]} cells x {PAGE_RUN[1]} variants: a page of {size:,} bytes",
        f"{count}: the slower of a search and a choice took, in the middle of {_FILTERED}, {middle:.0f} ms",
    ]


_SEED, _FILTERED = 17, 5


def check_questions(page: Any, found: Findings, picture: Callable[[str], None]) -> None:
    """Answer the three questions from the first page of the site, in at most two clicks each."""
    first = page.url
    found.expect(
        "site: the first page says what is live", holds="live on peft" in page.locator(".verdict").inner_text()
    )
    picture("broken")
    page.locator("a", has_text="prefix tuning").first.click()
    page.locator("#map tbody th button", has_text="0.13.2").click()
    answer = page.locator("#answer").inner_text()
    found.expect("site: which transformers for peft 0.13.2", holds="peft 0.13.2" in answer and "works" in answer)
    found.expect("site: the address keeps the question", holds="peft=0.13.2" in page.url)
    page.wait_for_timeout(_SCROLL_MS)
    inside = page.locator("#answer").evaluate("one => one.getBoundingClientRect().top >= 0")
    found.expect("site: the answer is in view", holds=inside)
    page.set_viewport_size(TALL)
    found.expect(
        "site: the map shows the row asked for", holds=page.locator("#map tbody th", has_text="0.13.2").is_visible()
    )
    picture("versions")
    page.set_viewport_size(WIDE)
    page.goto(first)
    page.locator("nav a", has_text="Nights").click()
    page.locator("main h2 a").first.click()
    found.expect("site: a night says what changed", holds="night" in page.locator("h1").inner_text().lower())
    picture("night")


def check_links(folder: Path, found: Findings) -> None:
    """Follow every relative link of every page of a site to its file."""
    for path in sorted(folder.rglob("*.html")):
        for link in re.findall(r'(?:href|src)="([^"#:]+)(?:#[^"]*)?"', path.read_text(encoding="utf-8")):
            found.expect(f"{path.relative_to(folder)}: leads to {link}", holds=(path.parent / link).is_file())


def draw(matrix: str, folder: Path) -> tuple[Path, Path]:
    """Draw the page of a run of published records, and the site; return the page and the site's folder."""
    from harness.judge.summary import summarise
    from harness.matrix.cases import load_cases
    from harness.report.files import write_reports
    from harness.report.pages.site import write_site
    from harness.run.runs import Run

    run_of_reference(matrix, folder)
    cases = load_cases()
    paths = write_reports(summarise(Run(id=matrix), cases))
    site = folder / "site"
    write_site(site, cases)
    return next(path for path in paths if path.name == "report.html"), site


def use(report: Path, site: Path, pictures: Path, found: Findings) -> None:
    """Use both in a browser, and take pictures of them."""
    pictures.mkdir(parents=True, exist_ok=True)
    looks: dict[str, dict[str, Any]] = {"light": {}, "dark": {"color_scheme": "dark"}, "480": {"viewport": NARROW}}
    with browser() as started:
        with opened(started, report, found) as page:
            check_report(page, found)
        with opened(started, site / "index.html", found) as page:
            check_questions(page, found, lambda name: page.screenshot(path=pictures / f"{name}.png"))
        fragment = "#defect=prompt-put-in-at-every-step"
        for look, settings in looks.items():
            with opened(started, report, found, fragment=fragment, **settings) as page:
                page.screenshot(path=pictures / f"report-{look}.png")
                found.expect(f"report, {look}: no wider than the window", holds=page.evaluate(_FITS))
                check_accessibility(page, f"report, {look}", found)
                page.locator("#canvas [data-at='0,0']").click()
                check_accessibility(page, f"panel, {look}", found)
                if look == "light":
                    page.screenshot(path=pictures / "panel.png")
        for path in sorted(site.glob("*.html")) + [next(site.glob(f"{name}/*.html")) for name in _DETAILS]:
            for look, settings in looks.items():
                with opened(started, path, found, **settings) as page:
                    name = f"{path.relative_to(site)}, {look}"
                    found.expect(f"{name}: no wider than the window", holds=page.evaluate(_FITS))
                    check_accessibility(page, name, found)
    check_links(site, found)
    shutil.copy(site / "badge.svg", pictures / "badge.svg")


_FITS = "document.documentElement.scrollWidth <= innerWidth"
_DETAILS = ("defects", "maps", "documents", "nights")
