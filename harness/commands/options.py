"""Options and their readers that several commands share."""

from __future__ import annotations

import re

import click

case_option = click.option("--case", metavar="EXPR", help="Case names or patterns, e.g. 'generate_with_cache:bloom'.")
cell_option = click.option(
    "--cell", "cells", metavar="ID", multiple=True, help="A cell's id or its beginning; repeatable."
)
base_option = click.option(
    "--base", "bases", metavar="ID", multiple=True, help="A base's id or its beginning; repeatable."
)
device_option = click.option("--device", type=click.Choice(["cpu", "cuda", "auto"]), default="cpu", show_default=True)
matrix_option = click.option(
    "--matrix", "matrices", metavar="NAME", multiple=True, help="Ask the reference records of this matrix; repeatable."
)
run_option = click.option(
    "--run", "runs", metavar="RUN", multiple=True, help="Ask the records of this run; repeatable."
)


def named_values(_context: click.Context, _parameter: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    """Read ``NAME=VALUE`` words."""
    pairs = {}
    for value in values:
        name, equals, word = value.partition("=")
        if not (name and equals and word):
            message = f"{value!r} is not NAME=VALUE"
            raise click.BadParameter(message)
        pairs[name] = word
    return pairs


def _shard(_context: click.Context, _parameter: click.Parameter, value: str | None) -> tuple[int, int] | None:
    if value is None:
        return None
    first, slash, second = value.partition("/")
    if not (slash and first.isdigit() and second.isdigit() and 1 <= int(first) <= int(second)):
        message = f"{value!r} is not I/N with 1 <= I <= N, such as 1/4"
        raise click.BadParameter(message)
    return int(first), int(second)


shard_option = click.option(
    "--shard", metavar="I/N", callback=_shard, help="The I-th of N shards of about equal measured cost."
)


def minor_version(_context: click.Context, _parameter: click.Parameter, value: str | None) -> str | None:
    """Read a minor version of Python."""
    if value is not None and re.fullmatch(r"3\.\d+", value) is None:
        message = f"{value!r} is no minor version such as 3.12"
        raise click.BadParameter(message)
    return value
