"""``repro``: one self-contained script with exact pins, for an issue."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from harness.program import example


@click.command(epilog=example("repro generate_with_cache --cell 'peft0.13.0-*-tf4.45.1' -o repro.py"))
@click.argument("case")
@click.option("--cell", required=True, metavar="ID", help="A cell's id, or a beginning or pattern that only one has.")
@click.option("--matrix", default="documented", show_default=True, help="The matrix of the cell: a name, or a path.")
@click.option("--variant", metavar="PART", help="Part of the variant's name, such as bloom-prompt_tuning-cached.")
@click.option("--device", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True)
@click.option("--full", "form", flag_value="full", help="The whole case as a script, whatever a short form shows.")
@click.option("--short", "form", flag_value="short", help="Only the short form; without one, nothing and status 1.")
@click.option("--pytest", "as_test", is_flag=True, help="A patch that adds the short form to PEFT's tests.")
@click.option(
    "-o", "--output", type=click.Path(dir_okay=False, writable=True, path_type=Path), help="Write here, not to stdout."
)
def repro(  # noqa: PLR0917 - click gives keywords
    case: str,
    cell: str,
    matrix: str,
    variant: str | None,
    device: str,
    form: str | None,
    as_test: bool,  # noqa: FBT001
    output: Path | None,
) -> None:
    """Write one script that shows what CASE does in a cell, for `uv run`.

    It has the cell's packages pinned in its metadata (PEP 723) and uses the libraries alone. Where a short form (at
    most 40 lines, a random model, one call) shows the same outcome and signature when both are run in the cell, it is
    that; else it is the whole case, which exits 1 while the defect is there, 0 when it is not, 2 when that cannot be
    told. Without --variant it is about the first variant that is expected to fail in this cell.
    """
    from harness.environments.build import InstallFailed
    from harness.interface import variant_id
    from harness.matrix.cases import find_case, load_cases
    from harness.matrix.plan import find_cell
    from harness.matrix.read import load_matrix
    from harness.repro.choose import choose_variant, lock_of
    from harness.repro.pytest_form import patch
    from harness.repro.script import script
    from harness.repro.verify import verified_here

    if form == "full" and as_test:
        message = "--pytest is made of the short form; leave out --full"
        raise click.UsageError(message)
    chosen, loaded = find_case(load_cases(), case), load_matrix(matrix)
    place = find_cell(loaded, cell)
    lock = lock_of(loaded, place)
    picked = choose_variant(chosen, variant, {**lock.versions, "python": place.python})
    whole = {**picked, "device": device, "dtype": "float32"}
    text, name = script(chosen, whole, lock, place.python), f"{chosen.name}:{variant_id(picked)}"
    if form != "full":
        try:
            short = verified_here(chosen, whole, lock, place.python, whole=text)
            found, why = short.text, short.why
        except InstallFailed as failure:
            found, why = None, f"its cell cannot be built here: {str(failure)[:120]}"
        if found is None:
            click.echo(f"no short form of {name}: {why}", err=True)
            if form == "short" or as_test:
                click.echo("leave out --short and --pytest for the whole case", err=True)
                sys.exit(1)
        text = found or text
    written = patch(text, name) if as_test else text
    if output is None:
        click.echo(written, nl=False)
    else:
        output.write_text(written, encoding="utf-8")
    lines = f"{len(written.splitlines())} lines, {len(written) / 1000:.0f} kB"
    click.echo(f"{name} in {place.id}, {lines}; {_how(output, place.python, device, as_test=as_test)}", err=True)


def _how(output: Path | None, python: str, device: str, *, as_test: bool) -> str:
    """Say how what was written is run; on a CPU without the CUDA packages that torch brings along."""
    if as_test:
        return f"in a checkout of peft: git apply {output or 'repro.patch'}"
    name = output or "repro.py"
    if device != "cpu":
        return f"run it with: uv run {name}"
    install = f"uv venv -p {python} repro-env && uv pip install -p repro-env --torch-backend cpu -r {name}"
    return f"run it with: uv run {name}, or without CUDA: {install} && repro-env/bin/python {name}"
