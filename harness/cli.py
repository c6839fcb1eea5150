"""The group of all commands; each one is a module of ``harness.commands``."""

from __future__ import annotations

import click

from harness.commands.admin import admin
from harness.commands.advise import advise
from harness.commands.against import against
from harness.commands.bisect import bisect
from harness.commands.cases import cases
from harness.commands.claims import claims
from harness.commands.compare import compare
from harness.commands.explain import explain
from harness.commands.here import here
from harness.commands.plan import plan
from harness.commands.report import report
from harness.commands.repro import repro
from harness.commands.run import run
from harness.groups import SETTINGS, Commands
from harness.program import PROGRAM, example

_SECTIONS = {
    "Ask what was measured": (advise, explain, claims),
    "Measure": (plan, run, here, report),
    "Find": (against, bisect, compare, repro),
    "Keep": (cases, admin),
}

_MOVED = {
    "gate": f"{PROGRAM} report [RUN]",
    **{name: f"{PROGRAM} cases {name}" for name in ("catalogue", "check", "propose")},
    **{name: f"{PROGRAM} admin {name}" for name in ("merge", "publish", "clean", "watch")},
    "prove": "nox -s proof",
    **{name: f"nox -s {name}" for name in ("steady", "baseline", "calibrate", "repro-check")},
}
"""What to type instead of a name of an earlier release."""


@click.group(
    cls=Commands,
    context_settings=SETTINGS,
    sections={heading: [str(one.name) for one in commands] for heading, commands in _SECTIONS.items()},
    moved=_MOVED,
    epilog=example("advise --method prefix_tuning --model bloom --transformers '>=4.48,<5'"),
)
def cli() -> None:
    """Reproduce what breaks prompt learning in PEFT, on real releases.

    Every command has --help, with an example.
    """


for _commands in _SECTIONS.values():
    for _command in _commands:
        cli.add_command(_command)
