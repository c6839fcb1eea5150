"""``cases``: keep the cases, what is expected of them, their causes and their catalogue whole."""

from __future__ import annotations

import click

from harness.commands.cases.catalogue import catalogue
from harness.commands.cases.check import check
from harness.commands.cases.defects import defects
from harness.commands.cases.new import new
from harness.commands.cases.propose import propose
from harness.program import example


@click.group(epilog=example("cases check --run guide"))
def cases() -> None:
    """Add a case, and keep the cases, what is expected of them, and the known defects whole."""


for _command in (new, catalogue, check, defects, propose):
    cases.add_command(_command)
