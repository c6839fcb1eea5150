"""``bisect``: the release, the package and the commit that a variant broke with, or was fixed by."""

from __future__ import annotations

import signal
import sys
from typing import TYPE_CHECKING, Any

import click

from harness.commands.options import named_values
from harness.packages import REQUIRED_PACKAGES
from harness.program import example

if TYPE_CHECKING:
    from datetime import datetime

_EXAMPLE = example(
    "bisect --case generate_with_cache --method prompt_tuning --model bloom "
    "--axis peft --transformers 4.45.1 --bad 0.13.0 --good 0.14.0"
)


def _percent(_context: click.Context, _parameter: click.Parameter, value: str) -> float:
    try:
        return float(value.removesuffix("%")) / 100
    except ValueError:
        message = f"{value!r} is not a percentage such as 20%"
        raise click.BadParameter(message) from None


@click.command(epilog=_EXAMPLE)
@click.option(
    "--case", required=True, metavar="EXPR", help="A case, or CASE:PART; the first variant that fits is taken."
)
@click.option("--variant", metavar="NAME", help="Exactly this variant, such as llama-prefix_tuning-cached.")
@click.option("--model", help="The variant's model: --where model=...")
@click.option("--method", help="The variant's method: --where method=...")
@click.option("--where", default="", metavar="EXPR", help="Any axes of the variant, e.g. 'aspect=workaround'.")
@click.option(
    "--axis",
    metavar="PACKAGE",
    help="Search the releases of this package (default: transformers, or peft where that is held).",
)
@click.option("--good", metavar="V", help="A good release; or a cell: PACKAGE=V,... or the id of a cell in --matrix.")
@click.option("--bad", metavar="V", help="A bad release, or a cell. Without both: the change nearest to the newest.")
@click.option(
    "--find", type=click.Choice(["bad", "fixed"]), help="The first bad or the first fixed; the ends say it, too."
)
@click.option("--any-failure", is_flag=True, help="Any failure is bad, not only the one that the bad end shows.")
@click.option("--peft", metavar="V", help="Hold peft at a release (default: the newest).")
@click.option("--transformers", metavar="V", help="Hold transformers at a release (default: the newest).")
@click.option("--torch", metavar="V", help="Hold torch at a release (default: that of the documented matrix).")
@click.option(
    "--pin", "pins", metavar="PACKAGE=V", multiple=True, callback=named_values, help="Hold any package; repeatable."
)
@click.option("--base-cell", metavar="ID", help="Hold what this cell of --matrix pins.")
@click.option("--matrix", "matrix", default="grid", show_default=True, help="Where cells are looked up by id.")
@click.option("--python", default="3.11", show_default=True, help="The cells' Python.")
@click.option(
    "--as-of", metavar="DATE", type=click.DateTime(["%Y-%m-%d"]), help="All else as it was at the end of this day."
)
@click.option("--as-of-axis", is_flag=True, help="All that is not pinned as it was on the day of each release.")
@click.option("--minors", is_flag=True, help="Only the last patch of each minor.")
@click.option("--from-matrix", metavar="NAME", help="Only the releases of the axis that this matrix has.")
@click.option("--metric", metavar="NAME", help="Bad is a worse counter (forward_calls) or latency (latency_cached).")
@click.option("--worse-by", default="20%", show_default=True, callback=_percent, help="How much worse is bad.")
@click.option("--repo", metavar="PATH", help="Go on to the commit in this clone (or URL).")
@click.option("--first-parent", is_flag=True, help="Follow only the first parent of merges.")
@click.option("--good-commit", metavar="SHA", help="Instead of the commit of the good release.")
@click.option("--bad-commit", metavar="SHA", help="Instead of the commit of the bad release.")
@click.option("--corners", is_flag=True, help="Only say which packages it takes; search no releases.")
@click.option("--device", type=click.Choice(["cpu", "cuda", "auto"]), default="cpu", show_default=True)
@click.option("--fresh", is_flag=True, help="Use no known answer, and begin again.")
def bisect(as_of: datetime | None, **options: Any) -> None:
    """Find the release, the package and the commit that broke or fixed a variant.

    With --good and --bad cells that differ in several packages, say first which of them it takes.
    Stopped and started again with the same words, it goes on. The exit status is 0 when something
    was found, 1 when a person has to look, 3 when nothing could be measured.
    """
    from harness.bisect.bisection import Options, run

    # As after Ctrl-C: what was answered is kept.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    pins = options.pop("pins")
    pins |= {name: value for name in REQUIRED_PACKAGES if (value := options.pop(name))}
    axes = [f"{name}={value}" for name in ("model", "method") if (value := options.pop(name))]
    options["where"] = ",".join([*axes, *filter(None, [options["where"]])])
    asked = Options(as_of=as_of.date() if as_of else None, pins=pins, command=command_line(), **options)
    sys.exit(int(run(asked, click.echo)))


def command_line() -> tuple[str, ...]:
    """Return the words after ``bisect`` as they were typed, to be repeated in the report."""
    words = sys.argv[1:]
    return tuple(words[words.index("bisect") + 1 :]) if "bisect" in words else ()
