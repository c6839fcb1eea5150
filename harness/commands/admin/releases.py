"""``admin releases``: ask the index whether a watched package has something new, and write the pair to measure."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from harness.errors import ExitStatus
from harness.program import PROGRAM, example

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from harness.environments.new_releases import NewRelease
    from harness.matrix.spec import Cell, Matrix

_PATH = click.Path(dir_okay=False, path_type=Path)


@click.command(epilog=example("admin releases --state reports/releases.json"))
@click.option("--state", type=_PATH, required=True, help="The file of known releases; it is read, and written again.")
@click.option("--matrix-file", type=_PATH, help="Write the matrix of what is new, and what was before, here.")
@click.option("--like", default="nightly", show_default=True, help="The matrix that names cases and the other pins.")
@click.option("--outputs", type=_PATH, help="Add new=, before= and after= (ids of the two cells) to this file.")
def releases(state: Path, matrix_file: Path | None, like: str, outputs: Path | None) -> None:
    """Say what is new of peft, transformers, torch, sentence-transformers and accelerate, pre-releases too.

    Exit status: 1 when something is new, 0 when nothing is. Where nothing was known of a package, all that the index
    has of it is known from now on.
    """
    from harness.environments.new_releases import WATCHED, joined, new_releases, read_known, write_known
    from harness.environments.releases import list_releases
    from harness.matrix.read import load_matrix
    from harness.matrix.write import matrix_text

    known = read_known(state)
    listed = {name: [one.version for one in list_releases(name, prereleases=True)] for name in WATCHED}
    found = new_releases(known, listed)
    cells = None
    for one in found:
        click.echo(f"{one.package} {one.version} is new{f', after {one.before}' if one.before else ''}")
    if found:
        matrix = load_matrix(like)
        cells = _cells(_of_releases(matrix), found, known)
        title = ", ".join(f"{one.package} {one.version}" for one in found)
        if matrix_file is not None:
            matrix_file.parent.mkdir(parents=True, exist_ok=True)
            text = matrix_text(f"{title}, and what was the newest before", cells, limit_s=matrix.limit_s)
            matrix_file.write_text(text, encoding="utf-8")
            click.echo(f"wrote {matrix_file}; go on with: {PROGRAM} run {matrix_file}")
    else:
        click.echo(f"nothing is new: {sum(map(len, listed.values()))} releases of {', '.join(WATCHED)} are known")
    write_known(state, joined(known, listed))
    if outputs is not None:
        with outputs.open("a", encoding="utf-8") as file:
            file.writelines(f"{name}={value}\n" for name, value in _outputs(cells).items())
    sys.exit(int(ExitStatus.NEEDS_A_PERSON if found else ExitStatus.AS_EXPECTED))


def _of_releases(matrix: Matrix) -> Cell:
    """Return the first cell that pins nothing but releases. Raises :class:`UsageError` where there is none."""
    from harness.errors import UsageError
    from harness.matrix.source import is_source

    for cell in matrix.cells:
        if not any(map(is_source, cell.pins.values())):
            return cell
    message = f"every cell of matrix {matrix.name} has a source; name another with --like"
    raise UsageError(message)


def _cells(like: Cell, found: Sequence[NewRelease], known: Mapping[str, Sequence[str]]) -> tuple[Cell, Cell]:
    """Return the cell before and the one after: what is not new is the newest known final release."""
    from harness.environments.new_releases import newest_final
    from harness.matrix.pair import pair
    from harness.matrix.spec import is_newest

    there = {name: newest_final(known[name]) for name, pin in like.pins.items() if is_newest(pin) and name in known}
    before = there | {one.package: one.before for one in found if one.before}
    return pair(like, before, before | {one.package: one.version for one in found})


def _outputs(cells: tuple[Cell, Cell] | None) -> dict[str, str]:
    """Return what later steps of a job read; versions and ids have neither blanks nor line ends."""
    if cells is None:
        return {"new": "false"}
    before, after = cells
    return {"new": "true", "before": before.id, "after": after.id}
