"""``load``: the store and the report on a large run."""

from __future__ import annotations

import sys

import click

from harness.errors import ExitStatus

STORE_S, REPORT_S, PEAK_MIB = 10, 15, 1000
"""What 100,000 records may cost: processor seconds of the store and of the report, and memory of either."""
MARKDOWN_BYTES, PAGE_BYTES = 1 << 20, 8 << 20
TERMINAL_LINES = 120
GROWTH = 12
"""How many times as much ten times as many records may cost."""


@click.command(epilog="Example: python -m harness.selfcheck load --cells 1000 --variants 100")
@click.option("--cells", type=click.IntRange(10), default=1000, show_default=True, help="Cells of the large run.")
@click.option("--variants", type=click.IntRange(1), default=100, show_default=True, help="Variants in each cell.")
@click.option("--seed", type=click.IntRange(0), default=17, show_default=True, help="Of the made-up numbers.")
def load(cells: int, variants: int, seed: int) -> None:
    """Make up a run of CELLS x VARIANTS records, a third of them failing, and one of a tenth; draw both.

    Fails where the store, the report, its memory, its files or what the terminal shows are larger than allowed, or
    where ten times as many records cost more than twelve times as much.
    """
    import tempfile
    from pathlib import Path

    from harness.selfcheck.load import cost_of_report, cost_of_store, make_run

    broken: list[str] = []
    seconds: list[float] = []
    for count in (max(1, cells // 10), cells):
        with tempfile.TemporaryDirectory(prefix="prompt-bench-load-") as name:
            folder = Path(name)
            make_run(folder, count, variants, seed)
            store, report = cost_of_store(folder), cost_of_report(folder)
            sizes = {path.name: path.stat().st_size for path in sorted((folder / "latest").glob("*"))}
            last = (folder / "output.txt").read_text(encoding="utf-8")[-400:]
        click.echo(
            f"{count} cells x {variants} variants: store {store.cpu_s:.1f} s, {store.peak_mib} MiB; "
            f"report {report.cpu_s:.1f} s, {report.peak_mib} MiB, {report.lines} lines on the terminal"
        )
        click.echo("  " + ", ".join(f"{name} {size:,} bytes" for name, size in sizes.items()))
        if store.status or report.status != ExitStatus.NEEDS_A_PERSON:
            broken.append(f"exit status {store.status} and {report.status}: {last}")
        checks = (
            ("store", store.cpu_s, STORE_S), ("report", report.cpu_s, REPORT_S), ("memory", report.peak_mib, PEAK_MIB),
            ("report.md", sizes.get("report.md", 0), MARKDOWN_BYTES),
            ("report.html", sizes.get("report.html", 0), PAGE_BYTES), ("terminal", report.lines, TERMINAL_LINES),
        )  # fmt: skip
        broken += [f"{what}: {found:.1f} is more than {most}" for what, found, most in checks if found > most]
        seconds.append(store.cpu_s + report.cpu_s)
    factor = seconds[1] / seconds[0]
    click.echo(f"the large run costs {factor:.1f} times as much as a tenth of it")
    if factor > GROWTH:
        broken.append(f"growth: {factor:.1f} is more than {GROWTH}")
    for line in broken:
        click.echo(line)
    sys.exit(int(ExitStatus.NEEDS_A_PERSON) if broken else 0)
