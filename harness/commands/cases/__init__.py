"""``cases``: keep the cases, their windows and their catalogue whole."""

from __future__ import annotations

import click

from harness.commands.cases.catalogue import catalogue
from harness.commands.cases.check import check
from harness.commands.cases.propose import propose
from harness.program import example


@click.group(epilog=example("cases check --run guide"))
def cases() -> None:
    """Keep the cases whole: catalogue, check, propose."""


for _command in (catalogue, check, propose):
    cases.add_command(_command)
