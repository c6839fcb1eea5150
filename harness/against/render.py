"""A difference in words (pure): for a terminal, a comment on GitHub, JUnit XML, pytest's report log, or JSON.

What records quote was written by the code under test: control characters are escaped everywhere, and in a comment it
stands between backticks, where it is neither Markdown nor a mention of anybody.
"""

from __future__ import annotations

import json
from enum import StrEnum
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

from harness.against.difference import Change
from harness.contracts.record import VariantRecord, json_line
from harness.escape import markdown, markdown_code, one_line, printable
from harness.interface import Outcome
from harness.latency.statistics import Difference as Latency
from harness.latency.verdicts import as_data, sentence
from harness.program import PROGRAM

if TYPE_CHECKING:
    from collections.abc import Iterable

    from harness.against.difference import Cause, Flip
    from harness.against.told import Told
    from harness.contracts.record import Record

SCHEMA = 1
"""Version of the JSON. 1: the first."""

LONGEST_COMMENT = 65_536
"""Characters of a comment on GitHub; it refuses longer ones."""

_WIDEST = 300
_CAUSES = 20
"""Causes that a terminal shows; every format for programs has them all."""


class Format(StrEnum):
    """How a difference is written."""

    TERMINAL = "terminal"
    COMMENT = "github-comment"
    JUNIT = "junit"
    REPORTLOG = "reportlog"
    JSON = "json"


def render(told: Told, form: Format, *, table: bool = False) -> str:
    """Write a difference; with ``table`` every flipped variant, not only an example of each cause."""
    match form:
        case Format.TERMINAL:
            return terminal(told, table=table)
        case Format.COMMENT:
            return comment(told, table=table)
        case Format.JUNIT:
            return junit(told)
        case Format.REPORTLOG:
            return reportlog(told)
        case Format.JSON:
            return json.dumps(data_of(told), ensure_ascii=False, indent=1)


def verdict(told: Told) -> str:
    """Say the whole in one line: how many variants changed, by kind."""
    changed = dict.fromkeys(Change, 0)
    for one in told.difference.flips:
        changed[one.change] += 1
    words = [f"{count} {change}" for change, count in changed.items() if count]
    slower = sum(row.difference is Latency.SLOWER for row in told.timed)
    faster = sum(row.difference is Latency.FASTER for row in told.timed)
    words += [f"{slower} slower"] if slower else []
    words += [f"{faster} faster"] if faster else []
    if not told.difference.count:
        return "nothing could be compared"
    return f"{', '.join(words) or 'no difference'} in {told.difference.count} variants"


def unchanged(told: Told) -> str:
    """Say in one line what was so before."""
    same = ", ".join(f"{count} {outcome}" for outcome, count in sorted(told.difference.same.items()))
    return f"as before: {same or 'nothing'}"


def repro(told: Told, one: Flip) -> str:
    """Write the command for a script that shows the side which fails, or "" where none can show it."""
    if not told.matrix or one.companion not in told.pairs or not one.variant:
        return ""
    before, after = told.pairs[one.companion]
    cell = before if one.change is Change.MENDED else after
    variant = "-".join(one.variant.values())
    return f"{PROGRAM} repro {one.case} --matrix {told.matrix} --cell {cell} --variant {variant} -o repro.py"


def terminal(told: Told, *, table: bool = False) -> str:
    """Write the difference as plain lines, the gravest first."""
    lines = [f"{told.title}: {verdict(told)} ({told.ring}, {told.seconds:.0f} s)"]
    for cause in told.difference.causes[:_CAUSES]:
        example = cause.representative
        lines += ["", f"{str(cause.change).upper()} {len(cause.flips)} x {_title(cause)}"]
        lines += [f"  beside {name}" for name in cause.companions if name]
        lines += [
            f"  before  {_words(example.before, cause.before)}",
            f"  after   {_words(example.after, cause.after)}",
        ]
        lines += [f"  {name}: {one} | {other}" for name, (one, other) in example.counts.items()]
        lines.append(f"  e.g.    {example.name}{_others(cause)}")
        if script := repro(told, example):
            lines.append(f"  script  {script}")
    if len(told.difference.causes) > _CAUSES:
        lines += ["", f"and {len(told.difference.causes) - _CAUSES} more causes; --format json has them all"]
    if told.timed:
        lines += ["", *(sentence(row) for row in told.timed if row.difference is not Latency.SAME)]
    if table:
        lines += ["", *(_row(one) for one in told.difference.flips)]
    lines += ["", *notes(told)]
    return printable("\n".join(lines))


def notes(told: Told) -> list[str]:
    """List what stands beside a difference: what did not change, and what nothing is said about."""
    found = told.difference
    lines = [unchanged(told)]
    if found.flaky:
        lines.append(f"flaky, and not told: {len(found.flaky)} ({_few(one.name for one in found.flaky)})")
    if found.missing:
        lines.append(f"not on both sides: {len(found.missing)} ({_few(found.missing)})")
    lines += [f"beside {name} the sides differ in more: {words}" for name, words in told.also.items()]
    return [*lines, *told.skipped]


def _few(names: Iterable[str]) -> str:
    listed = list(names)
    return "; ".join(one_line(one)[:_WIDEST] for one in listed[:3]) + ("; ..." if len(listed) > 3 else "")  # noqa: PLR2004


def _title(cause: Cause) -> str:
    match cause.change:
        case Change.MENDED:
            return cause.before
        case Change.OTHERWISE:
            return f"{cause.before} -> {cause.after}"
        case _:
            return cause.after


def _others(cause: Cause) -> str:
    more = [name for name in cause.cases if name != cause.representative.case]
    return f", also in {', '.join(more[:6])}{', ...' if len(more) > 6 else ''}" if more else ""  # noqa: PLR2004


def _words(record: Record, mechanism: str) -> str:
    """Say what one side does: its result, with its own words where it has some."""
    said = one_line(record.message or record.words or "")
    if isinstance(record, VariantRecord) and record.outcome == Outcome.PASSED:
        return "passed"
    if not isinstance(record, VariantRecord):
        return one_line(mechanism)[:_WIDEST]
    return f"{record.outcome}: {said}"[:_WIDEST] if said else str(record.outcome)


def _row(one: Flip) -> str:
    counts = ", ".join(f"{name} {before} | {after}" for name, (before, after) in one.counts.items())
    what = counts or f"{one.before.result} -> {one.after.result}"
    return f"{one.change}: {one.name} {what}" + (f" beside {one.companion}" if one.companion else "")


def marker(told: Told) -> str:
    """Return the hidden line by which the comment of an earlier run is found, and updated in place."""
    return f"<!-- prompt-learning-bench against {one_line(told.package).replace('-->', '')} -->"


def comment(told: Told, *, table: bool = False) -> str:
    """Write Markdown for a pull request, cut at a whole cause where it would be too long."""
    head = [marker(told), f"**{markdown(told.title)}**: {markdown(verdict(told))}", ""]
    tail = [f"- {markdown(line)}" for line in notes(told)]
    tail.append(f"- {markdown(told.ring)}, {told.seconds:.0f} s")
    parts = [_comment_part(told, cause) for cause in told.difference.causes]
    parts += [f"- `{markdown_code(sentence(row))}`\n" for row in told.timed if row.difference is not Latency.SAME]
    if table and told.difference.flips:
        rows = "\n".join(f"- `{markdown_code(_row(one))}`" for one in told.difference.flips)
        parts.append(f"<details><summary>all {len(told.difference.flips)} variants</summary>\n\n{rows}\n\n</details>\n")
    left = LONGEST_COMMENT - len("\n".join([*head, *tail])) - 200
    shown: list[str] = []
    for index, part in enumerate(parts):
        if len(part) + 1 > left:
            shown.append(f"and {len(parts) - index} more; the artifact of the run has them all\n")
            break
        shown.append(part)
        left -= len(part) + 1
    return "\n".join([*head, *shown, *tail]) + "\n"


def _comment_part(told: Told, cause: Cause) -> str:
    example = cause.representative
    open_ = " open" if example.breaks else ""
    what = f"<b>{cause.change}</b> {len(cause.flips)} x <code>{_html(_title(cause))}</code>"
    lines = [
        f"<details{open_}><summary>{what}</summary>",
        "",
        f"- before: `{markdown_code(_words(example.before, cause.before))}`",
        f"- after: `{markdown_code(_words(example.after, cause.after))}`",
    ]
    lines += [f"- {name}: {one} before, {other} after" for name, (one, other) in example.counts.items()]
    lines.append(f"- e.g. `{markdown_code(example.name + _others(cause))}`")
    lines += [f"- beside `{markdown_code(name)}`" for name in cause.companions if name]
    if script := repro(told, example):
        lines.append(f"- script: `{markdown_code(script)}`")
    return "\n".join([*lines, "", "</details>", ""])


def _html(text: str) -> str:
    """Return a text within an HTML element of a comment; a zero-width space keeps ``@name`` from being a mention."""
    text = one_line(text)[:_WIDEST].replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return text.replace("@", "@\u200b").replace("`", "&#96;")


def junit(told: Told) -> str:
    """Write JUnit XML: a suite for each companion, a failure for what broke."""
    broken = {id(one.after): one for one in told.difference.flips if one.breaks}
    root = ET.Element("testsuites", name=printable(told.title))
    suites: dict[str, list[tuple[Record, Record]]] = {}
    for companion, before, after in told.difference.compared:
        suites.setdefault(companion, []).append((before, after))
    for companion, pairs in suites.items():
        failures = sum(id(after) in broken for _, after in pairs)
        suite = ET.SubElement(
            root, "testsuite", name=printable(companion or told.title), tests=str(len(pairs)), failures=str(failures)
        )
        for before, after in pairs:
            test = ET.SubElement(suite, "testcase", classname=printable(companion), name=_test_name(before, after))
            if isinstance(after, VariantRecord):
                test.set("time", str(after.duration_s or 0))
            if flip := broken.get(id(after)):
                words = printable(f"{flip.change}: {_words(flip.after, flip.after.words)}")
                ET.SubElement(test, "failure", message=words)
    ET.indent(root)
    return ET.tostring(root, encoding="unicode", xml_declaration=True)


def reportlog(told: Told) -> str:
    """Write a line of JSON for each variant, with the names that pytest's report log has: a failure for what broke."""
    broken = {id(one.after) for one in told.difference.flips if one.breaks}
    lines = []
    for companion, before, after in told.difference.compared:
        name = _test_name(before, after)
        line: dict[str, Any] = {
            "nodeid": f"{name} {companion}".strip(),
            "outcome": "failed" if id(after) in broken else "passed",
            "duration": (after.duration_s if isinstance(after, VariantRecord) else None) or 0.0,
        }
        lines.append(json_line(line))
    return "\n".join(lines)


def _test_name(before: Record, after: Record) -> str:
    record = next((one for one in (after, before) if isinstance(one, VariantRecord)), None)
    if record is None or not isinstance(after, type(before)):
        return "environment"
    return printable(f"{record.case}[{'-'.join(record.variant.values())}]")


def data_of(told: Told) -> dict[str, Any]:
    """Return the difference for other programs."""
    return {
        "schema": SCHEMA,
        "package": told.package,
        "before": told.before,
        "after": told.after,
        "run": told.run,
        "ring": told.ring,
        "seconds": round(told.seconds, 1),
        "broke": told.difference.breaks,
        "compared": told.difference.count,
        "same": dict(told.difference.same),
        "causes": [
            {
                "change": str(cause.change),
                "before": cause.before,
                "after": cause.after,
                "companions": list(cause.companions),
                "example": cause.representative.name,
                "repro": repro(told, cause.representative) or None,
                "variants": [_flip_data(one) for one in cause.flips],
            }
            for cause in told.difference.causes
        ],
        "timed": [as_data(row) for row in told.timed],
        "flaky": [_flip_data(one) for one in told.difference.flaky],
        "missing": list(told.difference.missing),
        "also_different": dict(told.also),
        "notes": list(told.skipped),
    }


def _flip_data(one: Flip) -> dict[str, Any]:
    return {
        "change": str(one.change),
        "breaks": one.breaks,
        "companion": one.companion,
        "case": one.case,
        "variant": dict(one.variant),
        "before": {"result": one.before.result, "words": one.before.words},
        "after": {"result": one.after.result, "words": one.after.words},
        "counts": {name: list(pair) for name, pair in one.counts.items()},
    }
