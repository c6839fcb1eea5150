"""``admin``: keep runs, references, environments and the history of timings."""

from __future__ import annotations

import click

from harness.commands.admin.clean import clean
from harness.commands.admin.follow_up import follow_up
from harness.commands.admin.merge import merge
from harness.commands.admin.publish import publish
from harness.commands.admin.pythons import pythons
from harness.commands.admin.releases import releases
from harness.commands.admin.watch import watch
from harness.program import example


@click.group(epilog=example("admin clean --older-than 14"))
def admin() -> None:
    """Keep runs, references and environments; say what is new, and follow a night up."""


for _command in (merge, publish, clean, pythons, watch, releases, follow_up):
    admin.add_command(_command)
