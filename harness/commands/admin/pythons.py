"""``admin pythons``: see to it that the Pythons of a matrix are here, before anything is prepared."""

from __future__ import annotations

import click

from harness.commands.options import minor_version
from harness.program import example


@click.command(epilog=example("admin pythons documented"))
@click.argument("matrix")
@click.option("--python", metavar="MINOR", callback=minor_version, help="Instead: this one, as for `run --python`.")
def pythons(matrix: str, python: str | None) -> None:
    """Find the Pythons that the cells of MATRIX need, or fetch what is missing.

    uv fetches as it does by itself (UV_PYTHON_DOWNLOADS is respected). Where one is not to be had, one
    line says what is missing and how to get it, and the exit status is 2.
    """
    from harness.environments.interpreters import ensure_pythons
    from harness.matrix.read import load_matrix

    wanted = {python} if python else {cell.python for cell in load_matrix(matrix).cells}
    ensure_pythons(wanted)
    click.echo(f"here: Python {', '.join(sorted(wanted))}")
