"""``here``: listed beside the other commands, run by a program of its own."""

from __future__ import annotations

import click

from harness.program import PROGRAM, example


@click.command(add_help_option=False, epilog=example("here --case generate_with_cache:bloom"))
def here() -> None:
    """Run the cases in the active environment, without installing anything."""
    # ``harness/__main__.py`` hands it over to ``harness/cell/here.py``, which imports nothing of this side.
    message = f"type it first: {PROGRAM} here"
    raise click.UsageError(message)
