"""``frozen``: the adapters and answers that other releases gave, held against those releases."""

from __future__ import annotations

import sys

import click


@click.command(epilog="Example: python -m harness.selfcheck frozen --cell peft0.9.0-tf4.38.2-*")
@click.option("--cell", "named", metavar="ID", multiple=True, help="Cells of the matrix library (default: all three).")
@click.option("--write", is_flag=True, help="Write cases/adapters anew; otherwise compare, and change nothing.")
def frozen(named: tuple[str, ...], *, write: bool) -> None:
    """Make the adapters of `cases/frozen_answers.py` and their answers again, each in the release that it is of.

    Exit status 1 says that a release does not make the committed files: the bytes of an adapter, or an answer to more
    than rounding.
    """
    from harness.errors import ExitStatus
    from harness.matrix.cases import load_cases
    from harness.matrix.read import load_matrix
    from harness.selfcheck.frozen import cells, run_program

    amiss = False
    for cell, status, said in run_program(load_matrix("library"), load_cases(), named or cells(), write=write):
        click.echo(said.strip())
        click.echo(f"{cell}: {'as committed' if status == 0 and not write else 'written' if status == 0 else 'amiss'}")
        amiss |= status != 0
    sys.exit(int(ExitStatus.NEEDS_A_PERSON) if amiss else 0)
