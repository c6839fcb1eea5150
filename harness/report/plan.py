"""Show a plan before anything is touched: cells, what is cached, what a run would cost."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click
from rich.table import Table

from harness.environments.build import base_folder, is_complete, overlay_folder
from harness.program import PROGRAM
from harness.report.terminal import console

if TYPE_CHECKING:
    from harness.environments.locks import LockBook
    from harness.environments.resolve import Lock
    from harness.matrix.plan import PlannedCell
    from harness.matrix.spec import Matrix

SECONDS_A_BASE = 12.0
"""Building a base from packages that are already downloaded, on two cores; measured."""

SECONDS_A_VARIANT = {True: 0.2, False: 0.1}
"""A variant with its share of the imports, timed or not; measured over the documented matrix and over the grid."""

MEGABYTES_A_BASE = 40
"""Byte code of a base (`clean` tells); its packages are links into uv's cache."""


def print_matrices(matrices: list[Matrix]) -> None:
    """List the matrices with their size."""
    for matrix in matrices:
        click.echo(f"{matrix.name}: {matrix.title} ({len(matrix.cells)} cells on {len(matrix.bases)} bases)")
    click.echo(f"\nplan one with: {PROGRAM} plan NAME")


def print_plan(matrix: Matrix, planned: tuple[PlannedCell, ...], book: LockBook, *, as_json: bool) -> None:
    """Print the planned cells as a table, or as JSON for other programs."""
    rows = [_row(one, book.get(one.cell)) for one in planned]
    missing = {row["base_folder"] or row["id"] for row in rows if not row["base_cached"]}
    variants = sum(row["variants"] for row in rows)
    cost = {
        "cells": len(rows),
        "variants": variants,
        "bases_to_build": len(missing),
        "estimated_seconds": round((len(missing) * SECONDS_A_BASE + variants * SECONDS_A_VARIANT[matrix.timed]) / 2),
        "estimated_megabytes": len(missing) * MEGABYTES_A_BASE,
    }
    excluded = [{"id": cell.id, "why": why} for cell, why in matrix.excluded]
    for row in rows:
        del row["base_folder"]
    if as_json:
        click.echo(json.dumps({"matrix": matrix.name, "cells": rows, "excluded": excluded, "cost": cost}, indent=1))
        return
    out = console()
    table = Table(box=None, pad_edge=False, padding=(0, 1), header_style="bold")
    for heading in ("cell", "variants", "lock", "base", "overlay"):
        table.add_column(heading, overflow="fold")
    for row in rows:
        states = ["kept" if row["locked"] else "to resolve", *("cached" if row[k] else "to build" for k in _CACHED)]
        table.add_row(row["id"], str(row["variants"]), *states)
    out.print(table)
    for one in excluded:
        out.print(f"excluded {one['id']}: {one['why']}")
    out.print(
        f"\n{cost['cells']} cells, {variants} variants; {len(missing)} bases to build; on two cores about "
        f"{cost['estimated_seconds']} s and {cost['estimated_megabytes']} MB, downloads aside"
    )


_CACHED = ("base_cached", "overlay_cached")


def _row(one: PlannedCell, lock: Lock | None) -> dict[str, Any]:
    python = one.cell.python
    base = base_folder(lock, python) if lock else None
    return {
        "id": one.cell.id,
        "base": one.cell.base_id,
        "why": one.cell.why,
        "variants": len(one.variants),
        "locked": lock is not None,
        "base_folder": str(base) if base else None,
        "base_cached": base is not None and is_complete(base),
        "overlay_cached": lock is not None
        and all(is_complete(overlay_folder(pin, python)) for pin in lock.overlay_pins),
    }
