"""``plan``: what a run would measure, before anything is touched."""

from __future__ import annotations

from typing import Any

import click

from harness.commands.options import base_option, case_option, cell_option, device_option, shard_option
from harness.program import example


@click.command(epilog=example("plan documented --case generate_with_cache"))
@click.argument("matrix", required=False)
@case_option
@cell_option
@base_option
@device_option
@shard_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def plan(
    matrix: str | None,
    case: str | None,
    device: str,
    shard: tuple[int, int] | None,
    as_json: bool,  # noqa: FBT001
    **chosen: Any,
) -> None:
    """List the cells of MATRIX, what is cached, and what a run would cost.

    Nothing is touched. Without MATRIX, list the matrices.
    """
    from harness.environments.locks import lock_book
    from harness.judge.reference import in_shard
    from harness.matrix.cases import load_cases
    from harness.matrix.plan import Selection, concrete_device, plan_run
    from harness.matrix.read import MATRICES, load_matrix
    from harness.report.plan import print_matrices, print_plan

    if matrix is None:
        print_matrices([load_matrix(path.stem) for path in sorted(MATRICES.glob("*.toml"))])
        return
    loaded = load_matrix(matrix)
    planned = plan_run(loaded, load_cases(), Selection(case=case, device=concrete_device(device), **chosen))
    if shard:
        planned = in_shard(loaded, planned, shard)
    print_plan(loaded, planned, lock_book(loaded), as_json=as_json)
