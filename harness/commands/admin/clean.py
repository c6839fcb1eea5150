"""``admin clean``: what environments take on disk, and how to free it."""

from __future__ import annotations

import time

import click

from harness.program import example

_DAY_S = 86_400
_GIB = 1 << 30


@click.command(epilog=example("admin clean --older-than 14"))
@click.option("--all", "everything", is_flag=True, help="Remove every environment.")
@click.option("--older-than", metavar="DAYS", type=click.FloatRange(0), help="Remove what was not used for so long.")
@click.option("--budget", metavar="GIB", type=click.FloatRange(0), help="Remove the longest unused until this is left.")
def clean(everything: bool, older_than: float | None, budget: float | None) -> None:  # noqa: FBT001
    """Free the disk that environments take.

    Without an option, only half-built ones go. What a running process uses is left alone. Runs and reports
    are not touched.
    """
    from harness.environments.disk import KINDS, budget_bytes, entries, remove, to_give_up
    from harness.paths import cache_folder

    known = entries()
    now = time.time()
    if everything:
        chosen = known
    elif older_than is not None:
        chosen = [one for one in known if not one.complete or now - one.used > older_than * _DAY_S]
    else:
        wanted = sum(one.own for one in known) if budget is None else int(budget * _GIB)
        chosen = to_give_up(known, wanted)
    gone = remove(chosen)
    click.echo(f"{cache_folder()}")
    left = [one for one in known if one not in gone]
    for kind in KINDS:
        mine = [one for one in left if one.kind == kind]
        own, linked = sum(one.own for one in mine) / _GIB, sum(one.linked for one in mine) / _GIB
        click.echo(
            f"  {kind:<9} {len(mine):4d}   {own:6.2f} GiB of their own, {linked:6.2f} GiB linked from uv's cache"
        )
    click.echo(f"removed {len(gone)} of {len(known)}, {sum(one.own for one in gone) / _GIB:.2f} GiB freed")
    if skipped := len(chosen) - len(gone):
        click.echo(f"{skipped} are in use and stay")
    click.echo(
        f"after a run the longest unused go until {budget_bytes() / _GIB:g} GiB are left (PROMPT_BENCH_CACHE_GB)"
    )
    click.echo("uv keeps the packages themselves: `uv cache prune` frees what nothing links to any more")
