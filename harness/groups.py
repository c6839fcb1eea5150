"""The groups of commands: listed under headings, with every refusal as one line and an exit status."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

import click

from harness.errors import ExitStatus, HarnessError, MachineError, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

INTERRUPTED = 130
"""The exit status after Ctrl-C, as shells have it."""

_BROKEN_PIPE = 128 + 13

SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


class Commands(click.Group):
    """The outermost group of a program.

    ``sections`` orders the commands in ``--help``: a heading, and the names under it. ``moved`` maps a name that is no
    command any more to the words that say what to type instead.
    """

    def __init__(
        self,
        *arguments: Any,
        sections: Mapping[str, Sequence[str]] | None = None,
        moved: Mapping[str, str] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(*arguments, **options)
        self.sections, self.moved = sections or {}, moved or {}

    def main(self, args: Sequence[str] | None = None, *rest: Any, **options: Any) -> Any:
        """Run a command; end with a line and an exit status of :class:`ExitStatus` when it is refused."""
        try:
            return super().main(args, *rest, **{**options, "standalone_mode": False})
        except HarnessError as error:
            click.echo(str(error), err=True)
            raise SystemExit(int(error.exit_status)) from None
        except click.ClickException as error:
            error.show()
            raise SystemExit(int(ExitStatus.BAD_USAGE)) from None
        except BrokenPipeError:
            # Whoever read the output has enough of it (`| head`); Python must not find the pipe closed at its end.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise SystemExit(_BROKEN_PIPE) from None
        except OSError as error:
            if refusal := MachineError.of(error):
                click.echo(str(refusal), err=True)
                raise SystemExit(int(refusal.exit_status)) from None
            raise
        except (click.Abort, KeyboardInterrupt):
            click.echo("interrupted; what was measured is kept", err=True)
            raise SystemExit(INTERRUPTED) from None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that is called. Raises :class:`UsageError` naming the new one for a name that moved."""
        if args[0] in self.moved:
            message = f"there is no command {args[0]} any more; type: {self.moved[args[0]]}"
            raise UsageError(message)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands under the headings of ``sections``."""
        if not self.sections:
            super().format_commands(ctx, formatter)
            return
        width = max(map(len, self.commands))
        for heading, names in self.sections.items():
            with formatter.section(heading):
                limit = formatter.width - width - 6
                rows = [(f"{name:<{width}}", self.commands[name].get_short_help_str(limit)) for name in names]
                formatter.write_dl(rows)
