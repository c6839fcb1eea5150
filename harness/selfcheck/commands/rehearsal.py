"""``rehearsal``: three nights and an hour, as the workflows run them."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import click

from harness.errors import ExitStatus

if TYPE_CHECKING:
    from harness.selfcheck.rehearsal import Night, Rehearsal

QUICK_S = 120
"""Seconds within which the quick ring tells that a new release breaks something."""

MOST_CAUSES = 6


@click.command(epilog="Example: python -m harness.selfcheck rehearsal")
@click.option("--keep", type=click.Path(file_okay=False, path_type=Path), help="Keep the folders of the jobs here.")
def rehearsal(keep: Path | None) -> None:
    """Rehearse a green night, the hour and the night of transformers 5.24.0, and a green night after it.

    Job by job in fresh folders, with the lines of the workflows; the tracker of issues is on this machine. In the
    second night a shard is killed. Exit status 1 when a night does otherwise than it has to.
    """
    from harness.selfcheck.local_api import LocalTracker, served
    from harness.selfcheck.rehearsal import Rehearsal, RehearsalFailed

    with tempfile.TemporaryDirectory(prefix="prompt-bench-rehearsal-") as scratch, served(LocalTracker()) as tracker:
        try:
            broken = _rehearse(Rehearsal((keep or Path(scratch)) / "rehearsal", tracker))
        except RehearsalFailed as failure:
            broken = [str(failure)]
    for line in broken:
        click.echo(f"otherwise than it has to be: {line}")
    click.echo("the rehearsal failed" if broken else "the rehearsal went as nights have to")
    sys.exit(int(ExitStatus.NEEDS_A_PERSON if broken else ExitStatus.AS_EXPECTED))


def _rehearse(stage: Rehearsal) -> list[str]:
    """Run all of it; return what was otherwise than it has to be."""
    from harness.selfcheck.rehearsal import (
        ASK,
        FOLLOW_UP,
        FOLLOW_UP_PAIR,
        KILLED,
        NEW,
        OLD,
        QUICK,
        QUICK_PAIR,
        REPORT,
        REPORT_QUICK,
    )

    tracker, broken = stage.tracker, list[str]()

    def must(what: str, holds: bool) -> None:  # noqa: FBT001 - a sentence and whether it holds
        click.echo(f"  {'holds' if holds else 'FAILS'}: {what}")
        if not holds:
            broken.append(what)

    first = stage.night(OLD)
    _tell(f"night 1, transformers {OLD}", first)
    must("the first night is green", first.statuses[REPORT] == 0)
    must("it opens no issue", not tracker.issues)
    lost = stage.collected_without(KILLED)
    must("without one of its shards it is not green", lost.statuses[REPORT] == 1 and "unknown" in lost.said[REPORT])

    hour = stage.hour()
    _tell(f"the hour in which transformers {NEW} appears", hour)
    must(f"the hourly check sees transformers {NEW}", f"transformers {NEW} is new" in hour.said[ASK])
    quick = sum(hour.seconds[line] for line in (ASK, QUICK_PAIR, REPORT_QUICK))
    must(f"the quick ring says within {QUICK_S} s that it breaks something: {quick:.0f} s",
         hour.statuses[REPORT_QUICK] == 1 and quick <= QUICK_S)  # fmt: skip
    titles = [str(one["title"]) for one in tracker.open]
    for title in titles:
        click.echo(f"  opened: {title}")
    must(f"{len(titles)} issues, at least one and at most {MOST_CAUSES}", 1 <= len(titles) <= MOST_CAUSES)
    bodies = [str(one["body"]) for one in tracker.open]
    for number, body in enumerate(bodies, 1):
        (stage.folder / f"issue-{number}.md").write_text(body, encoding="utf-8")
    firsts = [line for body in bodies for line in body.splitlines() if line.startswith("**First bad release**")]
    for line in firsts:
        click.echo(f"  {line}")
    must(f"each has transformers {NEW} as its first bad release",
         len(firsts) == len(bodies) and all(f"transformers {NEW} " in line for line in firsts))  # fmt: skip
    scripts = sum("```python" in body for body in bodies)
    silent = [body for body in bodies if "```python" not in body and "not known: a short script: " not in body]
    must(f"{scripts} have a short script that shows it, and the others say why", scripts > 0 and not silent)

    second = stage.night(NEW, killed=KILLED)
    _tell(f"night 2, transformers {NEW}, shard {KILLED} killed", second)
    must("the quick ring of the night is red", second.statuses[REPORT_QUICK] == 1)
    must("the second night is red", second.statuses[REPORT] == 1)
    must("what the killed shard had to measure is unknown", "unknown" in second.said[REPORT])
    must("no issue is opened twice", [str(one["title"]) for one in tracker.open] == titles)
    click.echo("  " + second.said[FOLLOW_UP].replace("\n", "\n  ").rstrip())

    third = stage.night(OLD)
    _tell(f"night 3, transformers {OLD} again", third)
    must("the last night is green", third.statuses[REPORT] == 0)
    must("it leaves no issue open", not tracker.open)
    click.echo("  " + third.said[FOLLOW_UP].replace("\n", "\n  ").rstrip())
    click.echo(f"follow up of the hour took {hour.seconds[FOLLOW_UP_PAIR]:.0f} s, the quick ring of night 2 "
               f"{second.seconds[QUICK]:.0f} s")  # fmt: skip
    return broken


def _tell(title: str, night: Night) -> None:
    click.echo(f"{title}: {sum(night.seconds.values()):.0f} s")
    for line, seconds in night.seconds.items():
        click.echo(f"  {seconds:6.1f} s, exit {night.statuses[line]}: {line}")
