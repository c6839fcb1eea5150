"""``mutants``: plant faults in copies of releases, and see which case says ``wrong``."""

from __future__ import annotations

import fnmatch
import sys
from collections import Counter
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.selfcheck.mutants.measure import Release, Results, Verdict
    from harness.selfcheck.mutants.planted import Mutant

SEED = 13
QUICKLY = " of those alone that have seen a fault before"


@click.command(epilog="Example: python -m harness.selfcheck mutants --release 0.21.2 --name 'cpt-*' --generated 0")
@click.option("--release", "releases", metavar="VERSION", multiple=True, help="Releases of peft (default: all three).")
@click.option("--name", "names", metavar="PATTERN", multiple=True, help="Mutants by hand of this name (default: all).")
@click.option("--case", metavar="EXPR", help="Ask these cases alone.")
@click.option("--generated", "count", type=click.IntRange(0), default=40, show_default=True, help="Made by a program.")
@click.option("--seed", type=int, default=SEED, show_default=True, help="Which of those.")
@click.option("--afresh", is_flag=True, help="Plant again what was measured before.")
@click.option("--missed", is_flag=True, help="Plant only what no oracle has caught, or nothing has, the last time.")
@click.option("--quick", is_flag=True, help="Ask only what has seen a fault before; what is missed is marked so.")
@click.option("--write", is_flag=True, help="Measure nothing: publish what was measured, and write docs/mutants.md.")
def mutants(
    releases: tuple[str, ...],
    names: tuple[str, ...],
    case: str | None,
    count: int,
    seed: int,
    *,
    afresh: bool,
    missed: bool,
    quick: bool,
    write: bool,
) -> None:
    """Plant one fault at a time in a copy of a release, and ask the variants that run its lines.

    A fault is caught by an oracle when a variant that passes without it is `wrong`; an exception alone is no oracle.
    Exit status 1 says that one made by hand was not caught by an oracle. Verdicts are kept in reports/mutants.jsonl.
    """
    from harness.errors import ExitStatus
    from harness.matrix.cases import load_cases
    from harness.matrix.read import load_matrix
    from harness.selfcheck.mutants.measure import CASES, CELLS, Release, Results
    from harness.selfcheck.mutants.planted import expect_plantable, read_mutants
    from harness.selfcheck.mutants.table import DOCUMENT, table

    by_hand, results = read_mutants(), Results()
    if write:
        click.echo(f"written: {results.publish()}")
        DOCUMENT.write_text(table(by_hand, results, seed), encoding="utf-8")
        click.echo(f"written: {DOCUMENT}")
        return
    told: Counter[str] = Counter()
    for cell in CELLS:
        if releases and not any(cell.startswith(f"peft{release}-") for release in releases):
            continue
        asked = results.watchers() if quick else None
        release = Release(load_matrix("references"), load_cases(), cell, expression=case or CASES, names=asked)
        try:
            here = [one for one in by_hand if release.version in one.releases]
            expect_plantable(here, release.source, f"peft {release.version}")
            outcomes = Counter(release.trace().values())
            click.echo(f"peft {release.version} ({release.beside}) without a fault: {_counted(outcomes)}")
            chosen = [one for one in here if any(fnmatch.fnmatch(one.name, name) for name in names or ("*",))]
            click.echo(f"{len(chosen)} faults by hand, {count} by a program with seed {seed}")
            if missed:
                # Of all that were ever planted: which are drawn changes with the lines that variants run.
                made = [one for one in release.all_generated() if results.caught(release.version, one) == "missed"]
                chosen = [one for one in chosen if results.caught(release.version, one) not in {"oracle", "equivalent"}]
            else:
                made = release.generated(count, seed)
            told += _plant(release, chosen, results, "by hand", afresh=afresh)
            told += _plant(release, made, results, "generated", afresh=afresh)
        finally:
            release.close()
    click.echo(_counted(told))
    if not told:
        sys.exit(int(ExitStatus.NOTHING_MEASURED))
    overlooked = any(told[f"by hand, {caught}"] for caught in ("missed", "error", "unreached"))
    sys.exit(int(ExitStatus.NEEDS_A_PERSON) if overlooked else 0)


def _plant(
    release: Release,
    chosen: Sequence[Mutant],
    results: Results,
    made: str,
    *,
    afresh: bool,
) -> Counter[str]:
    told: Counter[str] = Counter()
    for one in chosen:
        before = None if afresh else results.get(release.version, one)
        verdict = release.judge(one, before, results.seen_by(one))
        if verdict is not before:
            results.keep(verdict)
        told[f"{made}, {verdict.caught}"] += 1
        click.echo(f"{verdict.caught:<10} {_about(verdict)}")
    return told


def _about(verdict: Verdict) -> str:
    by = f"by {verdict.by}: {verdict.said[:90]}" if verdict.by else f"{verdict.asked} asked{QUICKLY * verdict.quick}"
    return f"{verdict.release} {verdict.name} ({verdict.lines}) {by}"


def _counted(tally: Counter[str]) -> str:
    return ", ".join(f"{count} {what}" for what, count in sorted(tally.items())) or "nothing was planted"
