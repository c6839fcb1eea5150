"""Hostile input: broken matrix files and shards, and words that would be more than words where they are shown."""

from __future__ import annotations

import io
import json
import random
import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from harness.contracts.records import append_records
from harness.errors import MatrixError, UsageError
from harness.escape import markdown, markdown_code, printable
from harness.interface import CellState
from harness.judge.summary import Summary, summarise
from harness.matrix.cases import load_cases
from harness.matrix.read import LARGEST_FILE, MOST_CELLS, load_matrix, parse_matrix
from harness.progress import Progress
from harness.report.files import write_reports
from harness.report.shown import shown
from harness.report.terminal import print_summary
from harness.run.runs import Run
from harness.selfcheck.cli import selfcheck
from harness.selfcheck.fuzz import fuzz_matrices, fuzz_shards, mutate_values
from tests import planted

if TYPE_CHECKING:
    from collections.abc import Callable

HEAD = '[matrix]\ntorch = "2.13.0"\npeft = "0.13.0"\ntransformers = "4.45.2"\n'
CELL = f"{HEAD}[[cell]]\n"
STATE = f'{CELL}[[state]]\nwhy = "x"\nstate = "unsatisfiable"\n'
AXIS = "[" + ",".join(f'"0.{number}"' for number in range(200)) + "]"

HOSTILE = {
    "too large": (CELL + "#" * LARGEST_FILE, "larger than"),
    "product": (f"[axes]\npeft = {AXIS}\ntransformers = {AXIS}\ntorch = {AXIS}\n", f"at most {MOST_CELLS}"),
    "cells": (HEAD + "[[cell]]\n" * (MOST_CELLS + 1), f"at most {MOST_CELLS}"),
    "dotted key": ("a" + ".a" * 20_000 + " = 1\n", "more than 16 parts"),
    "quoted key": ("x = {" + ".".join(['"a b"'] * 20_000) + " = 1}\n", "more than 16 parts"),
    "brackets": ("a = " + "[" * 100_000, "not TOML"),
    "digits": ("a = " + "1" * 10_000, "not TOML"),
    "hexadecimal": ("[matrix]\nlimit-seconds = 0x" + "f" * 100_000, "limit-seconds must be"),
    "version": (CELL.replace("4.45.2", "1" * 6_000), "longer than 100"),
    "specifier": (f'{STATE}says = "x"\npeft = "<{"1" * 6_000}"\n', "is not a specifier"),
    "list of specifiers": (f'{STATE}says = "x"\npeft = ["<1"]\n', "is not a specifier"),
    "escape": (f'{CELL}why = "\\u001b[2J"\n', "control characters"),
    "repetition": (f'{STATE}says = "a{{99999999999999}}"\n', "not a regular expression"),
    "parentheses": (f'{STATE}says = "{"(" * 5_000})"\n', "not a regular expression"),
    "set in a set": (f'{STATE}says = "[[x]("\n', "not a regular expression"),
    "state": (f"state = 3\n{CELL}", "two brackets"),
    "head": ('[matrix]\ntorch = 2.13\npeft = "0.1"\n[axes]\ntransformers = ["4.45.2"]\n', "is not a version"),
    "sections": ("".join(f"[a{number}]\n" for number in range(2_000)), "unknown section"),
    "mistakes": (HEAD + '[[cell]]\npeft = "x"\n' * 2_000, "and 1950 more mistakes"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_matrix_is_refused_in_short_lines(name: str, tmp_path: Path) -> None:
    """Before its cells are made; the message is short, and no control character is in it."""
    text, words = HOSTILE[name]
    with pytest.raises(MatrixError, match=re.escape(words)) as refusal:
        parse_matrix(text, Path("m.toml"))
    assert len(str(refusal.value)) < 20_000
    path = tmp_path / "m.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(MatrixError):
        load_matrix(str(path))


def test_a_matrix_that_is_no_text_is_refused(tmp_path: Path) -> None:
    """Other bytes than UTF-8."""
    path = tmp_path / "m.toml"
    path.write_bytes(b'[matrix]\ntitle = "\xff"\n')
    with pytest.raises(MatrixError, match="cannot be read"):
        load_matrix(str(path))


@pytest.mark.parametrize("feed", [fuzz_matrices, fuzz_shards])
def test_broken_input_ends_in_a_result_or_a_refusal(feed: Callable[[int, int], object]) -> None:
    """200 of each, of a seed that is fixed here; nox -s fuzz draws others."""
    print("seed 1124")
    tally = feed(200, 1124)
    assert tally.failures == []  # type: ignore[attr-defined]
    assert tally.accepted > 5  # type: ignore[attr-defined]
    assert tally.refused > 20  # type: ignore[attr-defined]


def test_the_self_check_fails_when_something_else_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    """A planted traceback is told with its seed, and the exit status is 1; without it, 0 and the figures."""
    runner = CliRunner()
    good = runner.invoke(selfcheck, ["fuzz", "--count", "3", "--seed", "5"])
    assert good.exit_code == 0, good.output
    assert good.output.startswith("seed 5\n3 mutated matrix files: ")
    assert "peak memory" in good.output

    def broken(*_: object) -> None:
        raise KeyError

    monkeypatch.setattr("harness.selfcheck.fuzz.parse_matrix", broken)
    bad = runner.invoke(selfcheck, ["fuzz", "--count", "3", "--seed", "5"])
    assert bad.exit_code == 1
    assert "input 0 of seed 5: Traceback" in bad.output


@given(st.text(st.characters(categories=None)))
def test_printable_text_holds_nothing_that_acts(text: str) -> None:
    """No control character or surrogate is left, and ordinary text is as it was."""
    done = printable(text)
    ET.fromstring(ET.tostring(ET.Element("a", {"b": done})))  # noqa: S314 - ours
    done.encode()
    assert not {one for one in done if not one.isprintable() and one not in "\n\t" and not one.isspace()}
    assert printable(done) == done
    if text.isprintable():
        assert done == text


@given(st.text("ab `<>[]()!#|*\\\n"))
def test_markdown_takes_no_character_for_its_own(text: str) -> None:
    """Each is behind a backslash, on one line; between backticks there is no other backtick."""
    done = markdown(text)
    assert "\n" not in done
    assert not re.search(r"[`<>\[\]!#|*]", re.sub(r"\\.", "", done))
    assert "`" not in markdown_code(text)


def test_a_refusal_and_a_step_hold_no_escape() -> None:
    """What they quote is shown as an escape."""
    assert str(UsageError("no run \x1b[2J")) == r"no run \x1b[2J"
    stream = io.StringIO()
    Progress(1, stream=stream).step("cell", "\x1b]0;title\x07")
    assert stream.getvalue().isascii()
    assert "\x1b" not in stream.getvalue()
    assert "\x07" not in stream.getvalue()


EVIL = "\x1b[2J\x07\x9b\u202e</p><h1>a</h1> ![a](http://b) [red]b[/] [/x] `c` \n# d\n| e | \ud800"


@pytest.fixture
def summary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Summary:
    """Judge a run of which every text from outside is hostile: two failed variants and a cell that is no more."""
    monkeypatch.setenv("PROMPT_BENCH_REPORTS", str(tmp_path))
    case = load_cases()[0]
    first, second = case.variants[:2]
    bad = replace(
        planted.record({"peft": "0.13.0"}, "error"), case=case.name, variant=dict(first), signature=EVIL, message=EVIL
    )
    failed = replace(planted.state_record({"peft": "0.14.0"}), state=CellState.INSTALL_FAILED, message=EVIL)
    run = Run(id="hostile")
    plan = {
        "matrix": "m", "title": EVIL, "device": EVIL, "run": "hostile",
        "cells": [
            {"id": bad.cell.id, "base": "b", "python": "3.11", "pins": {"peft": EVIL}, "why": EVIL,
             "asked": [{"case": case.name, "variant": dict(one)} for one in (first, second)]
             + [{"case": EVIL, "variant": {EVIL: EVIL}}]},
            {"id": failed.cell.id, "base": "b", "python": "3.11", "pins": {"peft": "0.14.0"}, "why": "",
             "asked": [{"case": case.name, "variant": dict(first)}]},
        ],
    }  # fmt: skip
    machine = replace(bad.machine, cpu=EVIL, gpu=EVIL)
    append_records(run.folder / "records" / "r.jsonl", [replace(bad, machine=machine), failed])
    run.plan_path.write_text(json.dumps(plan).replace("\\ud800", ""), encoding="utf-8")
    return summarise(run, load_cases())


def test_hostile_words_stay_words_in_every_report(summary: Summary) -> None:
    """In Markdown no HTML, image, heading or table entry; in HTML no tag; JUnit is well-formed; JSON has them all."""
    paths = {path.name: path for path in write_reports(summary, f"-a\n+{EVIL}\n```\n# e")}
    ET.parse(paths["junit.xml"])  # noqa: S314 - ours
    cells = json.loads(paths["report.json"].read_text(encoding="utf-8"))["cells"]
    assert EVIL.replace("\ud800", "") in [cell["why"] for cell in cells]
    texts = {name: paths[name].read_text(encoding="utf-8") for name in ("report.md", "report.html", "junit.xml")}
    for text in texts.values():
        assert not set(text) & set("\x1b\x07\x9b\u202e")
    assert "<h1>a" not in texts["report.html"]
    page, _, diff = texts["report.md"].partition("## Proposed edit")
    assert "````diff\n" in diff
    assert not re.search(r"(?<!\\)<h1|(?<!\\)!\[|^# d", re.sub(r"`[^`]*`", "", page), flags=re.MULTILINE)
    assert len(re.findall("^# ", page, flags=re.MULTILINE)) == 1


def test_hostile_words_do_not_reach_the_terminal(summary: Summary) -> None:
    """No escape, and no markup: neither a style nor an error of it."""
    out = io.StringIO()
    print_summary(shown(summary), Console(file=out, width=100, force_terminal=True, color_system="truecolor"))
    told = out.getvalue()
    assert "[red]b[/] [/x]" in " ".join(re.sub(r"\x1b\[[\d;]*m", "", told).split())
    assert not re.search(r"\x1b(?!\[[\d;]*m)", told)
    assert not set(told) & set("\x07\x9b\u202e")


def test_broken_input_of_a_seed_is_the_same_again() -> None:
    """Whatever inputs were made before it: a failure is made again from its seed and number alone."""
    text = b'{"a": [], "b": {}, "c": {"d": []}, "e": [[1]]}\n'
    first = mutate_values(text, random.Random(0))  # noqa: S311 - a seed that can be said, no secret
    assert json.loads(first) != json.loads(text)
    for seed in range(2000):
        mutate_values(text, random.Random(seed))  # noqa: S311
    assert mutate_values(text, random.Random(0)) == first  # noqa: S311
