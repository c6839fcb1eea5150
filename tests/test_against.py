"""The difference of two sides: what changed, no more; in every format; and for real, with a planted fault."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.against.answer import read_answer
from harness.against.companions import oldest_working
from harness.against.difference import Change, Difference, difference, flip_of
from harness.against.flow import of_runs
from harness.against.last_time import lines_of, since_last_time
from harness.against.question import SLOW, Question, quick_ring, read_companion, shown, sides_of, spelled_out
from harness.against.render import LONGEST_COMMENT, Format, answer_of, render
from harness.against.told import Told
from harness.contracts.record import FAILED, MEASURED
from harness.environments.index import clean_environment
from harness.errors import UsageError
from harness.interface import Outcome
from harness.matrix.cases import load_cases, read_selector, select_variants
from harness.matrix.read import parse_matrix
from harness.matrix.write import matrix_text
from harness.paths import ROOT
from harness.run.runs import Run
from tests.checkouts import CASE, make_checkout
from tests.planted import LLAMA, record, state_record, write_run

if TYPE_CHECKING:
    from pathlib import Path

    from harness.contracts.record import Record, VariantRecord
    from harness.environments.build import Environment

OLD = {"peft": "0.13.0", "transformers": "4.45.1"}
NEW = {"peft": "0.13.1", "transformers": "4.45.1"}

FAMILIES = ("llama", "gpt2", "bloom", "opt")


@st.composite
def sides(draw: st.DrawFn) -> tuple[list[VariantRecord], list[VariantRecord]]:
    """Draw the records of two cells over the same few variants, each side with gaps."""
    both = []
    for packages in (OLD, NEW):
        side = []
        for model in FAMILIES:
            outcome = draw(st.none() | st.sampled_from(list(Outcome)))
            if outcome is not None:
                one = record(packages, outcome, variant={**LLAMA, "model": model})
                counters = draw(st.fixed_dictionaries({}, optional={"forward_calls": st.integers(1, 3)}))
                frame = draw(st.sampled_from(["peft.a:f", "peft.b:g"]))
                signature = f"ValueError: no @ {frame}" if outcome == Outcome.ERROR else None
                side.append(replace(one, counters=counters, signature=signature))
        both.append(side)
    return both[0], both[1]


def told_of(found: Difference, **options: Any) -> Told:
    """Return a comparison with a difference, as the command has it."""
    facts: dict[str, Any] = {
        "package": "peft", "before": "0.13.0", "after": "0.13.1", "ring": "all", "difference": found, "seconds": 1.0,
        "run": "against-1", "matrix": "against.toml", "pairs": {"": ("old", "new")},
    }  # fmt: skip
    return Told(**{**facts, **options})


@given(sides())
def test_a_side_does_not_differ_from_itself(both: tuple[list[VariantRecord], list[VariantRecord]]) -> None:
    """The same records on both sides are told as no difference, whatever they say."""
    side, _ = both
    found = difference(side, side)
    assert found.flips == ()
    assert found.count == sum(one.outcome in MEASURED for one in side)


@given(sides())
def test_every_variant_is_told_once(both: tuple[list[VariantRecord], list[VariantRecord]]) -> None:
    """A variant that both sides measured flipped or is as before; any other is missing on one of them."""
    found = difference(*both)
    names = {one.variant["model"] for side in both for one in side}
    measured = [{one.variant["model"] for one in side if one.outcome in MEASURED} for side in both]
    assert found.count == len(measured[0] & measured[1]) == len(found.flips) + sum(found.same.values())
    assert len(found.missing) == len(names - (measured[0] & measured[1]))
    assert Counter(one.name for cause in found.causes for one in cause.flips) == Counter(
        one.name for one in found.flips
    )


@given(sides())
def test_what_one_way_breaks_the_other_way_mends(both: tuple[list[VariantRecord], list[VariantRecord]]) -> None:
    """Exchanging the sides exchanges the kinds, and changes nothing else."""
    before, after = both
    opposite = {
        Change.BROKEN: Change.MENDED,
        Change.UNSUPPORTED: Change.SUPPORTED,
        Change.COSTS_MORE: Change.COSTS_LESS,
        Change.OTHERWISE: Change.OTHERWISE,
    }
    opposite |= {there: here for here, there in opposite.items()}
    there = {one.name: one.change for one in difference(before, after).flips}
    back = {one.name: opposite[one.change] for one in difference(after, before).flips}
    assert there == back


@given(sides())
def test_broken_is_what_passed_and_fails(both: tuple[list[VariantRecord], list[VariantRecord]]) -> None:
    """Held against the outcomes themselves: nothing else is called broken, and all that is so."""
    before, after = ({one.variant["model"]: one.outcome for one in side} for side in both)
    expected = {name for name in before if before[name] == Outcome.PASSED and after.get(name) in FAILED}
    assert {one.variant["model"] for one in difference(*both).flips if one.change is Change.BROKEN} == expected


def test_a_count_is_told_exactly() -> None:
    """One forward call more is a difference, though the answer is the same; an equal count is none."""
    one = replace(record(OLD, "passed"), counters={"forward_calls": 6, "tokens_fed": 20})
    more = replace(record(NEW, "passed"), counters={"forward_calls": 7, "tokens_fed": 20})
    flip = flip_of(one, more)
    assert flip is not None
    assert (flip.change, dict(flip.counts)) == (Change.COSTS_MORE, {"forward_calls": (6, 7)})
    assert flip_of(one, replace(one, duration_s=50.0)) is None


def test_a_wrong_answer_that_is_wrong_otherwise_is_told() -> None:
    """By its distance from the reference, where its words are the same; as far as before is no difference."""
    far, farther, rounded = (
        replace(record(OLD, Outcome.WRONG, variant=LLAMA), message="wrong", evidence={"distances": {"logits": share}})
        for share in (12.0, 30.0, 12.1)
    )
    assert flip_of(far, rounded) is None
    flip = flip_of(far, farther)
    assert flip is not None
    assert flip.change is Change.OTHERWISE
    text = render(told_of(difference([far], [farther])), Format.TERMINAL, table=True)
    assert "another answer than before" in text
    assert "logits off by 12 | 30 times what is allowed" in text


def test_a_cell_that_cannot_be_imported_is_one_difference() -> None:
    """Not one for each of its variants, and it breaks something."""
    before = [record(OLD, "passed", variant={**LLAMA, "model": model}) for model in FAMILIES]
    found = difference(before, [state_record(NEW)])
    (flip,) = found.flips
    assert (flip.change, found.breaks) == (Change.BROKEN, True)
    assert difference([state_record(OLD)], before).flips[0].change is Change.MENDED
    assert difference([state_record(OLD)], [state_record(NEW)]).count == 0


def test_what_is_not_supported_any_more_breaks_what_passed() -> None:
    """A refusal that reads as a skip does not hide what worked before."""
    found = difference([record(OLD, "passed")], [record(NEW, "unsupported")])
    assert found.breaks
    assert not difference([record(OLD, "error")], [record(NEW, "unsupported")]).breaks


def test_what_is_flaky_is_set_aside() -> None:
    """It neither breaks anything nor is it told as a change, and it is named."""
    found = difference([record(OLD, "passed")], [record(NEW, "error")], "beside")
    (flip,) = found.flips
    aside = found.without({("beside", ("generate_with_cache", *sorted(f"{k}={v}" for k, v in LLAMA.items())))})
    assert (aside.flips, aside.flaky, aside.breaks) == ((), (flip,), False)
    assert "flaky" in render(told_of(aside), Format.TERMINAL)


def test_one_cause_is_one_group() -> None:
    """The same exception in the same place is one line, however many families have it."""
    before = [record(OLD, "passed", variant={**LLAMA, "model": model}) for model in FAMILIES]
    after = [record(NEW, "error", variant={**LLAMA, "model": model}) for model in FAMILIES]
    (cause,) = difference(before, after).causes
    assert len(cause.flips) == len(FAMILIES)
    assert "raises ValueError" in cause.after


@given(st.text(max_size=200), st.integers(1, 400))
def test_a_comment_is_never_too_long_and_mentions_nobody(words: str, many: int) -> None:
    """Whatever an exception says: it stands in code, and the comment stays within what GitHub takes."""
    after = [
        replace(record(NEW, "error"), signature=f"E{number}: @all {words}", message=f"@all {words}", case=f"c{number}")
        for number in range(many)
    ]
    before = [replace(record(OLD, "passed"), case=f"c{number}") for number in range(many)]
    text = render(told_of(difference(before, after)), Format.COMMENT, table=True)
    assert len(text) <= LONGEST_COMMENT
    assert text.startswith("<!-- prompt-learning-bench against peft -->\n")
    outside = "".join(text.split("`")[::2])
    assert "@all" not in outside
    assert "<script" not in outside


@given(sides())
def test_every_format_can_be_read(both: tuple[list[VariantRecord], list[VariantRecord]]) -> None:
    """XML and JSON are whole, and each counts as many failures as something broke."""
    found = difference(*both)
    told, broken = told_of(found), sum(one.breaks for one in found.flips)
    tree = ET.fromstring(render(told, Format.JUNIT))  # noqa: S314 - our own
    assert len(tree.findall(".//testcase")) == found.count
    assert len(tree.findall(".//failure")) == broken
    log = [json.loads(line) for line in render(told, Format.REPORTLOG).splitlines()]
    # What PEFT's scripts/log_reports.py takes from each line.
    assert all(line["nodeid"] and f"{line['duration']:.4f}" and line["outcome"] in {"passed", "failed"} for line in log)
    assert sum(line["outcome"] == "failed" for line in log) == broken
    data = json.loads(render(told, Format.JSON))
    assert read_answer(render(told, Format.JSON).encode(), "x") == answer_of(told)
    assert sum(len(cause["variants"]) for cause in data["causes"]) == len(found.flips)
    assert data["broke"] is found.breaks


def test_the_matrix_has_both_sides_beside_each_companion(tmp_path: Path) -> None:
    """Two cells that differ in one package, for each companion."""
    question = Question(
        package="peft", before="0.13.0", after="git+https://example.org/peft@main",
        companions=({"transformers": "4.45.1"}, {"transformers": "newest"}),
    )  # fmt: skip
    matrix = parse_matrix(matrix_text(question.title, sides_of(question)), tmp_path / "against.toml")
    assert len(matrix.cells) == 4
    for one, other in zip(matrix.cells[::2], matrix.cells[1::2], strict=True):
        assert {name for name in one.pins if one.pins[name] != other.pins[name]} == {"peft"}
        assert (one.why, other.why) == ("before", "after")


def test_two_equal_sides_are_refused() -> None:
    """There is nothing to tell of them."""
    with pytest.raises(UsageError, match="name two that differ"):
        sides_of(Question(package="peft", before="0.13.0", after="0.13.0", companions=({"transformers": "4.45.1"},)))


@pytest.mark.parametrize(
    ("text", "pins"),
    [
        ("4.45.1", {"transformers": "4.45.1"}),
        ("transformers==4.45.1,accelerate==0.34.2", {"transformers": "4.45.1", "accelerate": "0.34.2"}),
        ("newest", {"transformers": "newest"}),
    ],
)
def test_what_stands_beside_is_read(text: str, pins: dict[str, str]) -> None:
    """A version alone is of the other package."""
    assert read_companion(text, "peft") == pins


def test_main_and_a_pull_request_are_those_of_the_packages_repository(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As they are typed: `against main pull/12/head`; a folder of that name, a release and a source stay."""
    monkeypatch.chdir(tmp_path)
    assert spelled_out("main", "peft") == "git+https://github.com/huggingface/peft@main"
    assert spelled_out("pull/12/head", "transformers") == "git+https://github.com/huggingface/transformers@pull/12/head"
    (tmp_path / "main").mkdir()
    for pin in ("main", "0.13.0", "./main", "git+https://example.org/peft@main"):
        assert spelled_out(pin, "peft") == pin


@pytest.mark.parametrize("text", ["flask==1", "peft==0.13.0", "transformers=git+nonsense"])
def test_what_cannot_stand_beside_is_refused(text: str) -> None:
    """In one line that says what to write."""
    with pytest.raises(UsageError, match=r"write|give"):
        read_companion(text, "peft")


def test_the_quick_ring_has_each_case_and_method_once() -> None:
    """It is a selection of what was asked for, and sees every family that a case has methods for."""
    cases = load_cases()
    chosen = select_variants(cases, "generate_families,save_and_load,prompt_tuning_guide")
    ring = read_selector(quick_ring(chosen), cases)
    taken = [(case.name, variant) for case, variant in chosen if ring(case.name, variant)]
    asked = Counter((case.name, variant.get("method", "")) for case, variant in chosen)
    assert Counter((name, variant.get("method", "")) for name, variant in taken) == Counter(set(asked))
    assert len({variant["model"] for name, variant in taken if name == "generate_families"}) > 1


def test_the_quick_ring_leaves_slow_cases_out() -> None:
    """What compiles is in the whole alone; asked for by itself it is the ring, and its name is that of a case."""
    cases = load_cases()
    assert set(SLOW) <= {case.name for case in cases}
    (slow, *_) = SLOW
    assert slow not in quick_ring(select_variants(cases, f"{slow},prompt_tuning_guide"))
    assert slow in quick_ring(select_variants(cases, slow))


def test_the_oldest_companion_is_one_that_works_with_the_newest() -> None:
    """What passes beside an older peft, or fails beside the newest, does not count."""
    records: list[Record] = [
        record({"peft": "0.13.0", "transformers": "4.40.2"}, "passed"),
        record({"peft": "0.14.0", "transformers": "4.41.2"}, "error"),
        record({"peft": "0.14.0", "transformers": "4.42.4"}, "passed"),
        record({"peft": "0.14.0", "transformers": "4.43.4"}, "passed"),
        state_record({"peft": "0.15.0", "transformers": "4.43.4"}),
    ]
    assert oldest_working(records, "peft", "transformers") == "4.42.4"
    assert oldest_working([], "peft", "transformers") == ""


def test_a_commit_is_shown_shortly() -> None:
    """A hash by ten digits, a branch by its name, a checkout by its folder."""
    assert shown("git+https://github.com/huggingface/peft@" + 4 * "0123456789") == "peft@0123456789"
    assert shown("git+https://github.com/huggingface/peft@main") == "peft@main"
    assert shown("/somewhere/my-peft") == "my-peft"
    assert shown("0.13.0") == "0.13.0"


def test_two_runs_are_held_against_each_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cells that both have are compared under their names, and one that only one has is named."""
    monkeypatch.setenv("PROMPT_BENCH_REPORTS", str(tmp_path))
    write_run(Run(id="one"), [record(OLD, "passed"), record(NEW, "passed")])
    write_run(Run(id="two"), [record(OLD, "wrong")])
    told = of_runs(Run(id="one"), Run(id="two"))
    (flip,) = told.difference.flips
    assert flip.change is Change.BROKEN
    assert any("only in one" in line for line in told.skipped)
    done = subprocess.run(
        [sys.executable, "-m", "harness", "against", "one", "two", "--format", f"json={tmp_path / 'x.json'}"],
        capture_output=True, text=True, cwd=ROOT, check=False,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert json.loads((tmp_path / "x.json").read_text(encoding="utf-8"))["broke"] is True


def test_what_changed_since_last_time_is_told() -> None:
    """Held against the newest earlier record of the same place; what is not new, or never was measured, is none."""
    outcomes = {"a": "error", "b": "passed", "c": "wrong"}
    first, second, third = (replace(record(OLD, outcome), run=run) for run, outcome in outcomes.items())
    found = since_last_time("c", [third], [first, second, third])
    assert [one.change for one in found.flips] == [Change.BROKEN]
    assert "broken 1 x passed -> " in "\n".join(lines_of(found))
    assert lines_of(since_last_time("c", [second], [first, second])) == []
    assert lines_of(since_last_time("c", [third], [third])) == []
    assert "no difference" in lines_of(since_last_time("c", [third], [replace(third, run="b")]))[0]


@pytest.fixture(scope="module")
def checkout(old_environment: Environment, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a repository with a planted fault in its last commit."""
    return make_checkout(tmp_path_factory.mktemp("checkout") / "peft", old_environment)


@pytest.mark.slow
def test_a_planted_fault_is_told_and_nothing_else(checkout: Path, tmp_path: Path) -> None:
    """Two commits, installed by uv: prompt tuning broke, p-tuning did not; the way back mends it."""
    environ = {**os.environ, "PROMPT_BENCH_REPORTS": str(tmp_path)}
    old, new = (f"git+{checkout.as_uri()}@{ref}" for ref in ("main~1", "main"))
    results = []
    for before, after in ((old, new), (new, old)):
        done = subprocess.run(
            [sys.executable, "-m", "harness", "against", before, after, "--with", "4.45.1", "--case", CASE, "--format",
             "json"],
            capture_output=True, text=True, cwd=ROOT, env=environ, check=False,
        )  # fmt: skip
        results.append((done.returncode, json.loads(done.stdout)))
    (broken, there), (mended, back) = results
    assert (broken, mended) == (1, 0)
    assert [(cause["change"], len(cause["variants"])) for cause in there["causes"]] == [("broken", 1)]
    assert "raises RuntimeError" in there["causes"][0]["after"]
    assert [(cause["change"], len(cause["variants"])) for cause in back["causes"]] == [("mended", 1)]
    assert (there["compared"], there["flaky"]) == (2, [])


@pytest.mark.slow
def test_here_tells_what_changed_since_a_commit(checkout: Path, old_environment: Environment, tmp_path: Path) -> None:
    """In the active environment, with nothing installed: the files now against those of a commit."""
    done = here(checkout, old_environment, tmp_path, "--against", "main~1", msgspec=True)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "BROKEN 1 x raises RuntimeError" in done.stdout
    assert "planted" in done.stdout
    same = here(checkout, old_environment, tmp_path, "--against", "main", msgspec=True)
    assert same.returncode == 0, same.stdout + same.stderr
    assert "no difference in 2 variants" in same.stdout


@pytest.mark.slow
def test_here_says_what_it_needs(checkout: Path, old_environment: Environment, tmp_path: Path) -> None:
    """A package that reads records is missing in a cell: one line with the command to type; so is an unknown commit."""
    done = here(checkout, old_environment, tmp_path, "--against", "main~1")
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1), done.stderr
    assert "-m pip install msgspec" in done.stderr
    done = here(checkout, old_environment, tmp_path, "--against", "nowhere", msgspec=True)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1), done.stderr
    assert "no commit 'nowhere'" in done.stderr


def here(
    checkout: Path, environment: Environment, reports: Path, *arguments: str, msgspec: bool = False
) -> subprocess.CompletedProcess[str]:
    """Run ``here`` inside a checkout with what a cell has, and msgspec where it is asked for."""
    more = reports / "more"
    if msgspec and not more.is_dir():
        import msgspec as package

        shutil.copytree(os.path.dirname(package.__file__), more / "msgspec")  # noqa: PTH120 - a string
    paths = [ROOT, *environment.overlays, *environment.behind, *([more] if msgspec else [])]
    environ = clean_environment(os.environ) | {
        "PROMPT_BENCH_REPORTS": str(reports),
        "PYTHONPATH": os.pathsep.join(map(str, paths)),
    }
    command = [str(environment.python), "-m", "harness", "here", "--case", CASE, "--no-latency", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environ, cwd=checkout, check=False)
