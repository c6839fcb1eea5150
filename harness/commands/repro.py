"""``repro``: one self-contained script with exact pins, for an issue."""

from __future__ import annotations

from pathlib import Path

import click

from harness.program import example


@click.command(epilog=example("repro generate_with_cache --cell 'peft0.13.0-*-tf4.45.1' -o repro.py"))
@click.argument("case")
@click.option("--cell", required=True, metavar="ID", help="A cell's id, or a beginning or pattern that only one has.")
@click.option("--matrix", default="documented", show_default=True, help="The matrix of the cell: a name, or a path.")
@click.option("--variant", metavar="PART", help="Part of the variant's name, such as bloom-prompt_tuning-cached.")
@click.option("--device", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True)
@click.option(
    "-o", "--output", type=click.Path(dir_okay=False, writable=True, path_type=Path), help="Write here, not to stdout."
)
def repro(  # noqa: PLR0917 - click gives keywords
    case: str, cell: str, matrix: str, variant: str | None, device: str, output: Path | None
) -> None:
    """Write one script that shows what CASE does in a cell, for `uv run`.

    It has the cell's packages pinned in its metadata (PEP 723), uses the libraries alone, and exits 1 while the
    defect is there, 0 when it is not, 2 when that cannot be told. Without --variant it is about the first variant
    that is expected to fail in this cell.
    """
    from harness.interface import variant_id
    from harness.matrix.cases import find_case, load_cases
    from harness.matrix.plan import find_cell
    from harness.matrix.read import load_matrix
    from harness.repro.choose import choose_variant, lock_of
    from harness.repro.script import script

    chosen, loaded = find_case(load_cases(), case), load_matrix(matrix)
    place = find_cell(loaded, cell)
    lock = lock_of(loaded, place)
    picked = choose_variant(chosen, variant, {**lock.versions, "python": place.python})
    text = script(chosen, {**picked, "device": device, "dtype": "float32"}, lock, place.python)
    if output is None:
        click.echo(text, nl=False)
    else:
        output.write_text(text, encoding="utf-8")
    name = output or "repro.py"
    about = (
        f"{chosen.name}:{variant_id(picked)} in {place.id}, {len(text.splitlines())} lines, {len(text) / 1000:.0f} kB"
    )
    click.echo(f"{about}; run it with: uv run {name}", err=True)
