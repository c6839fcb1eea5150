"""The end of a bisect: the report for a terminal, as Markdown for an issue, and as JSON."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from harness.bisect.symptom import samples, shown
from harness.bisect.wording import details, headline, short
from harness.contracts.record import record_data
from harness.interface import variant_id
from harness.judge.reference import without_paths
from harness.program import PROGRAM

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from harness.bisect.commits import CommitAnswer
    from harness.bisect.flow import Result
    from harness.bisect.question import Step
    from harness.bisect.releases import Found
    from harness.contracts.record import Record

_COLUMNS = 100
_FILES = 12
_PRIVATE = re.compile(r"\b(?:https?|file|ssh)://(?!github\.com/|pypi\.org/|huggingface\.co/)[^\s'\"`|)]+")


@dataclass(frozen=True, kw_only=True)
class About:
    """What a report says of the question.

    ``held`` are the pins beside the axis, ``command`` the words typed, ``failing`` the id of the
    cell that shows the defect and a matrix that has it.
    """

    case: str
    variant: Mapping[str, str]
    held: str
    command: Sequence[str]
    run: str
    failing: tuple[str, str] | None = None
    metric: str | None = None

    @property
    def subject(self) -> str:
        """Name the variant: ``generate_with_cache llama-prefix_tuning-cached``."""
        return f"{self.case} {variant_id({k: v for k, v in self.variant.items() if k not in {'device', 'dtype'}})}"


def told(record: Record, metric: str | None) -> str:
    """Say what a record shows; with a metric its value, too (the median of a latency's samples, in seconds)."""
    values = samples(record, metric) if metric else ()
    return f"{shown(record)}, {metric} {median(values):.6g}" if values else shown(record)


def step_line(number: int, step: Step, metric: str | None = None) -> str:
    """Write one answer on one line, as it comes."""
    took = f"{step.seconds:5.1f} s" if step.source == "measured" else f"{step.source:>7}"
    head = f"{number:3d} {step.why:<10} {short(step.label, 34):<34} {took}  "
    return head + short(told(step.record, metric), _COLUMNS - len(head))


def answer_lines(result: Result) -> list[str]:
    """Write what was found, most important first, as plain sentences."""
    lines = []
    if result.corners is not None:
        lines.append(f"Which package: {result.corners.sentence}")
    for found in result.axes:
        lines += [headline(found), *(f"  {line}" for line in details(found))]
    if result.commit is not None:
        lines += commit_lines(result.commit)
    return [*lines, *result.refusals]


def commit_lines(answer: CommitAnswer) -> list[str]:
    """Write the commit: its title, date, pull request, files, and where to compare."""
    if len(answer.commits) == 1:
        lines = [f"{answer.find} commit of {answer.package}: {answer.commits[0].sha}"]
    else:
        lines = [f"{answer.find} commit of {answer.package}: one of {len(answer.commits)}, the others were skipped"]
    for commit in answer.commits:
        pull = f"{answer.web}/pull/{commit.pull}" if answer.web and commit.pull else commit.pull and f"#{commit.pull}"
        lines += [
            f"  {commit.sha[:12]} {commit.title}",
            f"  {commit.date}, pull request: {pull or 'none in its title'}",
            f"  {len(commit.files)} files: {', '.join(commit.files[:_FILES])}"
            + (f" and {len(commit.files) - _FILES} more" if len(commit.files) > _FILES else ""),
        ]
    if answer.compare:
        lines.append(f"  compare: {answer.compare}")
    lines.append(f"  {answer.probes} commits asked of {answer.candidates} between the two")
    return [*lines, *(f"  {note}" for note in answer.notes)]


def reproduce_lines(about: About, *, beside: bool = False) -> list[str]:
    """Write the commands that show it again: the failing cell as one script, and this bisect.

    With ``beside`` a matrix that the bisect wrote is named as a file that lies beside the report.
    """
    lines = []
    if about.failing is not None:
        cell, matrix = about.failing
        matrix = Path(matrix).name if beside else matrix
        variant = about.subject.partition(" ")[2]
        words = [
            *PROGRAM.split(),
            "repro",
            about.case,
            "--cell",
            cell,
            "--matrix",
            matrix,
            "--variant",
            variant,
        ]
        lines.append(shlex.join(words))
    return [*lines, shlex.join([*PROGRAM.split(), "bisect", *about.command])]


def markdown(about: About, result: Result, steps: Sequence[Step]) -> str:
    """Write the whole report as Markdown, ready for an issue: it names nothing of this machine."""
    heads = [result.corners.sentence] if result.corners else []
    heads += [headline(found) for found in result.axes]
    lines = [f"## Bisect: `{about.subject}`", "", *(f"**{head}**\n" for head in heads)]
    lines += [f"Held: {about.held}.", ""]
    for found in result.axes:
        lines += [*(f"- {line}" for line in details(found)), ""]
    if result.commit is not None:
        first, *rest = commit_lines(result.commit)
        lines += [f"**{first}**", "", *(f"- {line.strip()}" for line in rest), ""]
    lines += [*result.refusals, ""] if result.refusals else []
    lines += ["Reproduce with:", "", *(f"    {line}" for line in reproduce_lines(about, beside=True)), ""]
    if about.failing is not None and (matrix := Path(about.failing[1])).suffix == ".toml":
        lines += [f"`{matrix.name}` is:", "", "```toml", *matrix.read_text(encoding="utf-8").splitlines(), "```", ""]
    lines += ["| # | why | asked | shown | from |", "| --- | --- | --- | --- | --- |"]
    for number, step in enumerate(steps, start=1):
        what = short(told(step.record, about.metric)).replace("|", "\\|")
        source = f"{step.seconds:.1f} s" if step.source == "measured" else step.source
        lines.append(f"| {number} | {step.why} | {step.label.replace('|', chr(92) + '|')} | {what} | {source} |")
    return anonymous("\n".join(lines) + "\n")


def anonymous(text: str) -> str:
    """Return a text for strangers: neither paths of this machine nor addresses that are not public ones."""
    return _PRIVATE.sub("<address>", without_paths(text))


def as_data(about: About, result: Result, steps: Sequence[Step]) -> dict[str, Any]:
    """Return the whole report as JSON data."""
    corners = result.corners
    return {
        "schema": 1,
        "run": about.run,
        "case": about.case,
        "variant": dict(about.variant),
        "held": about.held,
        "reproduce": reproduce_lines(about),
        "corners": corners
        and {
            "sentence": corners.sentence,
            "answers": [{"bad": sorted(one), "answer": str(answer)} for one, answer in corners.answers.items()],
        },
        "axes": [_axis_data(found) for found in result.axes],
        "commit": asdict(result.commit) if result.commit else None,
        "refusals": result.refusals,
        "steps": [{**asdict(step), "record": record_data(step.record)} for step in steps],
    }


def _axis_data(found: Found) -> dict[str, Any]:
    versions = [one.version for one in found.axis.releases]

    def change(one: Any) -> dict[str, Any]:
        return {
            "left": versions[one.left],
            "right": versions[one.right],
            "becomes": str(one.becomes),
            "open": [versions[index] for index in one.between],
        }

    return {
        "package": found.axis.package,
        "find": str(found.ends.find),
        "ends": [versions[found.ends.low], versions[found.ends.high]],
        "ends_from": found.ends_from,
        "rule": found.rule.describe() if found.rule else None,
        "headline": headline(found),
        "change": change(found.finding.change) if found.finding.change else None,
        "others": [change(one) for one in found.finding.others],
        "answers": {versions[index]: found.standing(index) for index in sorted(found.records)},
        "probes": found.finding.probes,
        "repeats": found.finding.repeats,
        "skips": found.finding.skips,
        "flaky": [versions[index] for index in found.finding.flaky],
        "came_along": {name: list(two) for name, two in found.came_along.items()},
    }


def write_report(folder: Path, about: About, result: Result, steps: Sequence[Step]) -> list[Path]:
    """Write ``bisect.md`` and ``bisect.json`` into the folder of the run."""
    paths = [folder / "bisect.md", folder / "bisect.json"]
    paths[0].write_text(markdown(about, result, steps), encoding="utf-8")
    data = json.dumps(as_data(about, result, steps), indent=1, ensure_ascii=False)
    paths[1].write_text(data + "\n", encoding="utf-8")
    return paths
