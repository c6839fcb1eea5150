"""Join shards: runs that measured parts of one matrix become one run."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

from harness.errors import UsageError
from harness.runs import add_cell

if TYPE_CHECKING:
    from harness.runs import Run


def merge_runs(runs: list[Run], target: Run) -> Run:
    """Copy the records, logs and benchmarks of ``runs`` into ``target`` and join their plans.

    Raises :class:`UsageError` when the runs are of different matrices or devices.
    """
    plans = [run.plan() for run in runs]
    for name in ("matrix", "device"):
        values = {plan[name] for plan in plans}
        if len(values) > 1:
            message = f"these runs differ in {name}: {', '.join(sorted(values))}; merge one kind at a time"
            raise UsageError(message)
    cells: dict[str, dict[str, Any]] = {}
    for plan in plans:
        for cell in plan["cells"]:
            add_cell(cells, cell)
    if target.id in {run.id for run in runs}:
        message = f"run {target.id} is one of those to join; give the joined run another name with --run-id"
        raise UsageError(message)
    # What an earlier merge of that name left must not stand in for a shard that failed this time.
    shutil.rmtree(target.folder, ignore_errors=True)
    for run in runs:
        for part in ("records", "logs", "benchmarks"):
            for path in sorted((run.folder / part).glob("*")):
                goal = target.folder / part / f"{run.id}.{path.name}"
                goal.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, goal)
    target.folder.mkdir(parents=True, exist_ok=True)
    head = {**plans[0], "run": target.id, "cells": list(cells.values())}
    target.plan_path.write_text(json.dumps(head, ensure_ascii=False), encoding="utf-8")
    return target
