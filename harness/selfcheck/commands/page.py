"""``page``: the page of a run and the site, driven in a browser."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from harness.errors import ExitStatus
from harness.paths import ROOT


@click.command(epilog="Example: python -m harness.selfcheck page --pictures reports/pictures")
@click.option("--matrix", default="documented", show_default=True, help="Whose published records make the run.")
@click.option(
    "--pictures", type=click.Path(file_okay=False, path_type=Path), metavar="DIR",
    help="Write pictures here (the committed ones lie in reports/pictures).",
)  # fmt: skip
def page(matrix: str, pictures: Path | None) -> None:
    """Open the page of a run and the site in headless Chromium and use them.

    Fails where a filter, the address, the keyboard, the panel or a copied command does not do what it should, the page
    speaks on the console, asks for anything over a network, a link leads nowhere, or axe-core finds something serious;
    or where the page of 400 cells x 60 variants weighs 2 MB, or a filter on 100,000 results takes more than 200 ms.
    """
    import os
    import tempfile

    from harness.selfcheck import page as checks

    found = checks.Findings()
    with tempfile.TemporaryDirectory(prefix="prompt-bench-page-") as name:
        folder = Path(name)
        os.environ["PROMPT_BENCH_REPORTS"] = str(folder)
        report, site = checks.draw(matrix, folder)
        checks.use(report, site, pictures or folder / "pictures", found)
        for line in checks.check_large(folder / "large", found):
            click.echo(line)
        for line in found.problems:
            click.echo(line)
        drawn = sorted((pictures or folder / "pictures").glob("*.png"))
        click.echo(f"{found.checks} checks on {report.name} and the site: {len(found.problems)} problems")
    if pictures:
        told = pictures.relative_to(ROOT) if pictures.is_relative_to(ROOT) else pictures
        click.echo(f"wrote {len(drawn)} pictures to {told}")
    sys.exit(int(ExitStatus.NEEDS_A_PERSON) if found.problems else 0)
