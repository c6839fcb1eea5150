"""``fuzz``: the readers of matrix files and of shards, fed with broken input."""

from __future__ import annotations

import sys
import time

import click

from harness.errors import ExitStatus


@click.command(epilog="Example: python -m harness.selfcheck fuzz --count 200 --seed 1")
@click.option("--count", type=click.IntRange(1), default=10_000, show_default=True, help="Inputs of each kind.")
@click.option("--seed", type=click.IntRange(0), help="Make the inputs of this seed again (default: a new one).")
@click.option("--only", type=click.Choice(["matrices", "shards"]), help="One kind of input (default: both).")
def fuzz(count: int, seed: int | None, only: str | None) -> None:
    """Read mutated matrix files and shards; fail if one ends in anything but a result or a refusal."""
    from harness.selfcheck.fuzz import fuzz_matrices, fuzz_shards, peak_mib

    chosen = time.time_ns() % 1_000_000 if seed is None else seed
    click.echo(f"seed {chosen}")
    failures = 0
    kinds = {"matrices": ("matrix files", fuzz_matrices), "shards": ("shards", fuzz_shards)}
    for what, feed in [kinds[only]] if only else kinds.values():
        begin = time.monotonic()
        tally = feed(count, chosen)
        for failure in tally.failures:
            click.echo(failure)
        click.echo(
            f"{count} mutated {what}: {tally.accepted} accepted, {tally.refused} refused, "
            f"{len(tally.failures)} failures; {time.monotonic() - begin:.0f} s, peak memory {peak_mib()} MiB"
        )
        failures += len(tally.failures)
    sys.exit(int(ExitStatus.NEEDS_A_PERSON) if failures else 0)
