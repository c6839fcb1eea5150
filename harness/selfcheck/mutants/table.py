"""The page of mutants, ``docs/mutants.md``: what was planted where, and which case saw it."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from harness.paths import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from harness.selfcheck.mutants.measure import Results, Verdict
    from harness.selfcheck.mutants.planted import Mutant

DOCUMENT = ROOT / "docs" / "mutants.md"

_HEAD = """# Faults planted in PEFT, and which case sees them

The suite's own mutation test. Each mutant is one change in a copy of an installed release, as a person might make it;
the variants that run the changed line and pass without it are asked until one says `wrong`: then an oracle has seen it.
An exception alone counts as `error`, since the code under test may raise for reasons that no oracle knows. Which lines
a variant runs comes from one traced run of each release; nothing is traced in a measurement.

    nox -s mutants                                       # plant what is new, in all three releases
    python -m harness.selfcheck mutants --seed {seed}
    python -m harness.selfcheck mutants --write          # write this page

Made by hand are `harness/selfcheck/mutants/by_hand/*.toml`, with what a person would have got wrong; made by a program
are a sample (seed {seed}) of the operators of `harness/selfcheck/mutants/operators.py` on `peft_model.py` and the
prompt tuners, in lines that a prompt-learning variant runs. What `--quick` missed was shown to those variants alone
that had seen a fault before; it counts apart, since any other variant may see it.
"""


def table(by_hand: Sequence[Mutant], results: Results, seed: int) -> str:
    """Write the page from the verdicts about mutants that still exist."""
    named = {one.name: one for one in by_hand}
    releases = sorted({release for release, _ in results.verdicts}, key=lambda text: [*map(int, text.split("."))])
    hand = [one for one in results.verdicts.values() if one.name in named and _still(one, named[one.name])]
    made = [one for one in results.verdicts.values() if one.name not in named and ".py:" in one.name]
    parts = [_HEAD.format(seed=seed), "## How many\n", _counts(releases, hand, made)]
    parts += ["## Made by hand\n", _by_hand(by_hand, releases, hand)]
    left = [one for one in made if one.caught in {"missed", "error", "unreached"}]
    parts += ["## Made by a program, and not caught by an oracle\n", _list(left)]
    parts += [
        "## Made by a program, and the same as the original\n",
        _list(one for one in made if one.caught == "equivalent"),
    ]
    return "\n".join(parts)


def _still(verdict: Verdict, mutant: Mutant) -> bool:
    """Return whether a verdict is about this mutant as it is now."""
    return verdict.digest == mutant.digest and verdict.release in mutant.releases


_OPEN = ("missed", "unreached")
_COLUMNS = (
    "release", "made", "planted", "by an oracle", "by an error alone", "missed", "not reached", "equivalent",
    "asked quickly: by an error alone", "missed", "not reached",
)  # fmt: skip


def _became(verdict: Verdict) -> tuple[str, bool]:
    """Say what became of a mutant, and whether other variants than were asked might say otherwise."""
    return verdict.caught, verdict.quick and verdict.caught in {"error", *_OPEN}


def _counts(releases: Sequence[str], hand: Sequence[Verdict], made: Sequence[Verdict]) -> str:
    lines = [
        f"| {' | '.join(_COLUMNS)} |",
        f"|{' --- |' * len(_COLUMNS)}",
    ]
    for release in releases:
        for how, verdicts in (("by hand", hand), ("by a program", made)):
            tally = Counter(_became(one) for one in verdicts if one.release == release)
            figures = [tally[name, False] for name in ("oracle", "error", *_OPEN, "equivalent")]
            figures += [tally[name, True] for name in ("error", *_OPEN)]
            lines.append(f"| {release} | {how} | {tally.total()} | {' | '.join(map(str, figures))} |")
    return "\n".join(lines) + "\n"


def _by_hand(by_hand: Sequence[Mutant], releases: Sequence[str], verdicts: Iterable[Verdict]) -> str:
    found = {(one.release, one.name): one for one in verdicts}
    lines = [
        f"| mutant | what a person gets wrong | {' | '.join(releases)} |",
        f"| --- | --- | {' | '.join('---' for _ in releases)} |",
    ]
    for mutant in by_hand:
        cells = [
            _seen(found.get((release, mutant.name))) if release in mutant.releases else "no such line"
            for release in releases
        ]
        lines.append(f"| {mutant.name} | {mutant.wrong} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _seen(verdict: Verdict | None) -> str:
    if verdict is None:
        return ""
    if verdict.caught == "oracle":
        return verdict.by.partition("[")[0]
    return f"**{verdict.caught}**{' (asked quickly)' * _became(verdict)[1]} {verdict.by}".strip()


def _list(verdicts: Iterable[Verdict]) -> str:
    lines = ["| release | mutant | what became of it |", "| --- | --- | --- |"]
    for one in sorted(verdicts, key=lambda verdict: (verdict.release, verdict.name)):
        quickly = " (asked quickly)" * _became(one)[1]
        words = f"{one.caught}{quickly}: {one.by or one.said or f'{one.asked} asked'}"
        words = words.replace("|", "/").replace("\n", " ")
        lines.append(f"| {one.release} | `{one.name}` | {words[:160]} |")
    return "\n".join(lines) + "\n" if len(lines) > 2 else "None.\n"  # noqa: PLR2004 - the head
