"""The group of self-checks; each one is a module of ``harness.selfcheck.commands``."""

from __future__ import annotations

import click

from harness.groups import SETTINGS, Commands
from harness.selfcheck.commands.baseline import baseline
from harness.selfcheck.commands.calibrate import calibrate
from harness.selfcheck.commands.frozen import frozen
from harness.selfcheck.commands.fuzz import fuzz
from harness.selfcheck.commands.history import history
from harness.selfcheck.commands.load import load
from harness.selfcheck.commands.mutants import mutants
from harness.selfcheck.commands.page import page
from harness.selfcheck.commands.proof import proof
from harness.selfcheck.commands.references import references
from harness.selfcheck.commands.rehearsal import rehearsal
from harness.selfcheck.commands.repro_check import repro_check
from harness.selfcheck.commands.steady import steady


@click.group(cls=Commands, context_settings=SETTINGS, epilog="Example: python -m harness.selfcheck steady library")
def selfcheck() -> None:
    """Hold the suite against itself; nox has a session for each of these."""


for _command in (
    baseline,
    calibrate,
    frozen,
    fuzz,
    history,
    load,
    mutants,
    page,
    proof,
    references,
    rehearsal,
    repro_check,
    steady,
):
    selfcheck.add_command(_command)
