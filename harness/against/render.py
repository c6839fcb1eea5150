"""A difference in words (pure): for a terminal, a comment on GitHub, JUnit XML, pytest's report log, or JSON.

What records quote was written by the code under test: control characters are escaped everywhere, and in a comment it
stands between backticks, where it is neither Markdown nor a mention of anybody.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

from harness.against.answer import Answer, AnsweredCause, AnsweredFlip, Side, answer_text
from harness.against.difference import Change
from harness.contracts.record import VariantRecord, json_line
from harness.escape import one_line, printable
from harness.interface import Outcome, variant_id
from harness.latency.statistics import Difference as Latency
from harness.latency.verdicts import sentence
from harness.program import PROGRAM

if TYPE_CHECKING:
    from collections.abc import Iterable

    from harness.against.difference import Cause, Flip
    from harness.against.told import Told
    from harness.contracts.record import Record

LONGEST_COMMENT = 65_536
"""Characters of a comment on GitHub; it refuses longer ones."""

_WIDEST = 500
"""Characters of one text that a record or a person brought."""
_CAUSES = 20
"""Causes that a terminal shows; every format for programs has them all."""

_HTML = {letter: f"&#{ord(letter)};" for letter in "&<>`*_[]#~|!\\"} | {"@": "@\u200b"}
"""What HTML or Markdown would take for its own."""

_CASES = 6
"""Cases that are named beside that of an example."""


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
            return terminal(answer_of(told), table=table)
        case Format.COMMENT:
            return comment(answer_of(told), table=table)
        case Format.JUNIT:
            return junit(told)
        case Format.REPORTLOG:
            return reportlog(told)
        case Format.JSON:
            return answer_text(answer_of(told))


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


_SHOWN_BY_A_SCRIPT = {Change.BROKEN, Change.OTHERWISE, Change.MENDED}


def again(told: Told, one: Flip) -> str:
    """Write the command that holds the two sides against each other in this variant alone."""
    return f"{PROGRAM} against {told.sides[one.companion]} --case {one.name}" if one.companion in told.sides else ""


def repro(told: Told, one: Flip) -> str:
    """Write the command for a script that shows the side which fails, or "" where none can show it."""
    if one.change not in _SHOWN_BY_A_SCRIPT or not told.matrix or one.companion not in told.pairs or not one.variant:
        return ""
    before, after = told.pairs[one.companion]
    cell = before if one.change is Change.MENDED else after
    variant = "-".join(one.variant.values())
    return f"{PROGRAM} repro {one.case} --matrix {told.matrix} --cell {cell} --variant {variant} -o repro.py"


def terminal(answer: Answer, *, table: bool = False) -> str:
    """Write the difference as plain lines, the gravest first."""
    lines = [f"{answer.title}: {answer.verdict} ({answer.asked}, {answer.seconds:.0f} s)"]
    for cause in answer.causes[:_CAUSES]:
        lines += ["", f"{cause.change.upper()} {len(cause.variants)} x {_title(cause)}"]
        lines += [f"  beside  {name}" for name in cause.companions if name]
        lines += [f"  before  {cause.example_before}", f"  after   {cause.example_after}"]
        lines += [f"  numbers {line}" for line in _numbers(cause.variants[0])]
        lines.append(f"  e.g.    {cause.example}{_others(cause)}")
        lines += [f"  script  {cause.script}"] if cause.script else []
    if len(answer.causes) > _CAUSES:
        lines += ["", f"and {len(answer.causes) - _CAUSES} more causes; --format json has them all"]
    lines += ["", *answer.timed] if answer.timed else []
    if table:
        lines += ["", *(_row(one) for cause in answer.causes for one in cause.variants)]
    lines += ["", *answer.notes]
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


def _title(cause: AnsweredCause) -> str:
    match cause.change:
        case Change.MENDED:
            return cause.before
        case Change.OTHERWISE:
            return f"{cause.before} -> {cause.after}"
        case _:
            return cause.after


def _numbers(one: AnsweredFlip) -> list[str]:
    """Say what differs in numbers: exact counts, or how far a wrong answer is from its reference."""
    counts = [f"{name} {before} | {after}" for name, (before, after) in one.counts.items()]
    return counts + [f"{name} off by {old} | {new} times what is allowed" for name, (old, new) in one.distances.items()]


def _others(cause: AnsweredCause) -> str:
    shown, more = cause.also_in[:_CASES], ", ..." if len(cause.also_in) > _CASES else ""
    return f", also in {', '.join(shown)}{more}" if shown else ""


def _words(record: Record, mechanism: str) -> str:
    """Say what one side does: its result, with its own words where it has some."""
    said = one_line(record.message or record.words or "")
    if isinstance(record, VariantRecord) and record.outcome == Outcome.PASSED:
        return "passed"
    if not isinstance(record, VariantRecord):
        return one_line(mechanism)[:_WIDEST]
    return f"{record.outcome}: {said}"[:_WIDEST] if said else str(record.outcome)


def _row(one: AnsweredFlip) -> str:
    told = ", ".join(_numbers(one))
    name = f"{one.case}:{variant_id(one.variant)}" if one.variant else one.case
    what = told or f"{one.before.result} -> {one.after.result}"
    return f"{one.change}: {name} {what}" + (f" beside {one.companion}" if one.companion else "")


def marker(package: str) -> str:
    """Return the hidden line by which the comment of an earlier run is found, and updated in place."""
    word = "".join(letter for letter in package if letter.isalnum() or letter == "-")
    return f"<!-- prompt-learning-bench against {word} -->"


def comment(answer: Answer, *, table: bool = False) -> str:
    """Write Markdown for a pull request, cut at a whole cause where it would be too long."""
    head = [marker(answer.package), f"`{_code(answer.title)}`: **{_html(answer.verdict)}**", ""]
    tail = [f"- `{_code(line)}`" for line in answer.notes[:_CAUSES]]
    tail.append(f"- `{_code(answer.asked)}`, {answer.seconds:.0f} s")
    parts = [_comment_part(cause) for cause in answer.causes]
    parts += [f"- `{_code(line)}`\n" for line in answer.timed]
    if table and answer.causes:
        flips = [one for cause in answer.causes for one in cause.variants]
        rows = "\n".join(f"- `{_code(_row(one))}`" for one in flips)
        parts.append(f"<details><summary>all {len(flips)} variants</summary>\n\n{rows}\n\n</details>\n")
    left = LONGEST_COMMENT - len("\n".join([*head, *tail])) - 200
    told: list[str] = []
    for index, part in enumerate(parts):
        if len(part) + 1 > left:
            told.append(f"and {len(parts) - index} more; the artifact of the run has them all\n")
            break
        told.append(part)
        left -= len(part) + 1
    return "\n".join([*head, *told, *tail]) + "\n"


def _comment_part(cause: AnsweredCause) -> str:
    what = f"<b>{_html(cause.change)}</b> {len(cause.variants)} x <code>{_html(_title(cause))}</code>"
    lines = [
        f"<details{' open' if cause.breaks else ''}><summary>{what}</summary>",
        "",
        f"- before: `{_code(cause.example_before)}`",
        f"- after: `{_code(cause.example_after)}`",
    ]
    lines += [f"- `{_code(line)}`" for line in _numbers(cause.variants[0])]
    lines.append(f"- e.g. `{_code(cause.example + _others(cause))}`")
    lines += [f"- beside `{_code(name)}`" for name in cause.companions if name]
    if cause.again:
        lines.append(f"- again: `{_code(cause.again)}`")
    return "\n".join([*lines, "", "</details>", ""])


def _code(text: str) -> str:
    """Return a text to stand between backticks: without any of its own, and never empty, which would end them."""
    return one_line(text).replace("`", "'")[:_WIDEST] or " "


def _html(text: str) -> str:
    """Return a text within an HTML element of a comment; a zero-width space keeps ``@name`` from being a mention."""
    return "".join(_HTML.get(letter, letter) for letter in one_line(text)[:_WIDEST])


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


def answer_of(told: Told) -> Answer:
    """Return a comparison as other programs read it."""
    return Answer(
        package=told.package,
        before=told.before,
        after=told.after,
        run=told.run,
        ring=told.ring,
        whole=told.whole,
        seconds=round(told.seconds, 1),
        verdict=verdict(told),
        broke=told.difference.breaks,
        compared=told.difference.count,
        same=dict(told.difference.same),
        causes=tuple(_cause(told, cause) for cause in told.difference.causes),
        timed=tuple(sentence(row) for row in told.timed if row.difference is not Latency.SAME),
        flaky=tuple(map(_flip, told.difference.flaky)),
        missing=told.difference.missing,
        notes=tuple(notes(told)),
    )


def _cause(told: Told, cause: Cause) -> AnsweredCause:
    example = cause.representative
    return AnsweredCause(
        change=str(cause.change),
        breaks=any(one.breaks for one in cause.flips),
        before=cause.before,
        after=cause.after,
        companions=cause.companions,
        example=example.name,
        example_before=_words(example.before, cause.before),
        example_after=_words(example.after, cause.after),
        also_in=tuple(name for name in cause.cases if name != example.case),
        variants=tuple(map(_flip, (example, *(one for one in cause.flips if one is not example)))),
        again=again(told, example),
        script=repro(told, example),
    )


def _flip(one: Flip) -> AnsweredFlip:
    return AnsweredFlip(
        change=str(one.change),
        breaks=one.breaks,
        companion=one.companion,
        case=one.case,
        variant=dict(one.variant),
        before=Side(result=one.before.result, words=one.before.words),
        after=Side(result=one.after.result, words=one.after.words),
        counts=dict(one.counts),
        distances={name: (f"{old:.3g}", f"{new:.3g}") for name, (old, new) in one.distances.items()},
    )
