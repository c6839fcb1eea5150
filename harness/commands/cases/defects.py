"""``cases defects``: the known causes, and how many records each explains."""

from __future__ import annotations

import json

import click

from harness.program import example


@click.command(epilog=example("cases defects --live"))
@click.option("--live", is_flag=True, help="Only what is there in the newest releases that were measured.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON in OSV's shape.")
@click.option("--write", is_flag=True, help="Write what was seen into cases/defects/, and docs/defects.md.")
def defects(live: bool, as_json: bool, write: bool) -> None:  # noqa: FBT001
    """List the defects: records explained, and what became of each in the newest releases.

    The records are the published references. What is shown is what the defects' files say was seen; --write draws that
    anew.
    """
    from harness.judge.defects import Status, load_defects, observe, osv, with_seen
    from harness.judge.origin import published_with
    from harness.matrix.cases import load_cases
    from harness.paths import ROOT
    from harness.report.pages.defects import PAGE, defects_page

    if write:
        known = load_defects()
        seen = observe(load_cases(), known, published_with(None).records)
        texts = {one.path: with_seen(one.path, seen[one.id]) for one in known.values()}
        for path, text in {**texts, PAGE: defects_page(known, seen)}.items():
            if not path.is_file() or path.read_text(encoding="utf-8") != text:
                path.write_text(text, encoding="utf-8")
                click.echo(f"wrote {path.relative_to(ROOT)}", err=True)
    known = load_defects()
    shown = [one for one in known.values() if not live or (one.kept and one.kept.status is Status.LIVE)]
    if as_json:
        times = [record.time for record in published_with(None).records]
        newest = max(times, default="1970-01-01T00:00:00Z")
        click.echo(json.dumps([osv(one, newest) for one in shown], ensure_ascii=False, indent=1))
        return
    for one in sorted(shown, key=lambda one: (-(one.kept.records if one.kept else 0), one.id)):
        count = one.kept.records if one.kept else 0
        click.echo(f"{count:>5}  {one.id}: {one.sees}; {one.words}")
        click.echo(f"       {one.way_round}")
    count = sum(one.kept.records for one in shown if one.kept)
    click.echo(f"{len(shown)} defects explain {count} records")
