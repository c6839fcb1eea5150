"""``here``: listed beside the other commands; :mod:`harness.here` runs it."""

from __future__ import annotations

import click

from harness.program import PROGRAM, example


@click.command(add_help_option=False, epilog=example("here --case generate_with_cache:bloom"))
def here() -> None:
    """Run the cases in the active environment, without installing anything."""
    # ``harness/__main__.py`` takes it before any other command is imported: click may be missing in a cell.
    message = f"type it first: {PROGRAM} here"
    raise click.UsageError(message)
