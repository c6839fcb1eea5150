"""Join shards: runs that measured parts of one matrix become one run."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock

from harness.contracts.plan import plan_text
from harness.errors import UsageError

if TYPE_CHECKING:
    from harness.run.runs import Run


def merge_runs(runs: list[Run], target: Run) -> Run:
    """Copy the records, logs and benchmarks of ``runs`` into ``target`` and join their plans.

    Neither the order of the runs matters nor how often one is named.
    The joined run is written beside the others and renamed when it is whole; an earlier merge of the
    same name is replaced. Raises :class:`UsageError` when the runs are of different matrices or
    devices, or when ``target`` is a run that was measured.
    """
    runs = sorted(dict.fromkeys(runs), key=lambda run: run.id)
    plans = [run.plan() for run in runs]
    for name in ("matrix", "device"):
        values = {str(getattr(plan, name)) for plan in plans}
        if len(values) > 1:
            message = f"these runs differ in {name}: {', '.join(sorted(values))}; merge one kind at a time"
            raise UsageError(message)
    if target.id in {run.id for run in runs}:
        message = f"run {target.id} is one of those to join; give the joined run another name with --run-id"
        raise UsageError(message)
    cells = (cell for plan in plans for cell in plan.cells)
    joined = replace(plans[0], run=target.id, cells=(), merged=tuple(run.id for run in runs)).with_cells(cells)
    target.folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(target.folder.with_name(f".{target.id}.lock")):
        _refuse_what_was_measured(target)
        fresh = Path(tempfile.mkdtemp(prefix=".merging-", dir=target.folder.parent))
        try:
            for run in runs:
                _copy_parts(run, fresh)
            (fresh / "plan.json").write_text(plan_text(joined), encoding="utf-8")
            _put_in_place(fresh, target.folder)
        except BaseException:
            shutil.rmtree(fresh, ignore_errors=True)
            raise
    return target


def _copy_parts(run: Run, folder: Path) -> None:
    for part in ("records", "logs", "benchmarks", "locks"):
        for path in sorted((run.folder / part).glob("*")):
            # A link may lead anywhere, and what it leads to would be published.
            if path.is_symlink() or not path.is_file():
                continue
            goal = folder / part / f"{run.id}.{path.name}"
            goal.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, goal)


def _refuse_what_was_measured(target: Run) -> None:
    """Raise :class:`UsageError` unless ``target`` is free, or was itself made by a merge."""
    if not target.folder.exists():
        return
    if not target.plan_path.is_file() or target.plan().merged is None:
        message = f"run {target.id} is there already and was not made by merge; give another --run-id"
        raise UsageError(message)


def _put_in_place(fresh: Path, folder: Path) -> None:
    """Rename ``fresh`` to ``folder``; an earlier merge of that name is moved aside first, then removed."""
    fresh.chmod(0o755)
    earlier = Path(tempfile.mkdtemp(prefix=".replaced-", dir=folder.parent))
    if folder.exists():
        folder.replace(earlier / folder.name)
    fresh.replace(folder)
    shutil.rmtree(earlier, ignore_errors=True)
