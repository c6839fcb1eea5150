"""Jobs for a real worker over planted case files, and the processes that it starts."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.environments.index import clean_environment
from harness.paths import ROOT

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from harness.environments.build import Environment

CASE = '''"""Planted."""
from harness.interface import Variants
DOCUMENT = None
VARIANTS = (Variants(axes={{"fault": {faults!r}}}),)
{body}
'''


def case_source(faults: Sequence[str], body: str) -> str:
    """Write a case file with one variant for each fault; ``body`` defines ``check(trial)``."""
    return CASE.format(faults=tuple(faults), body=body)


def make_job(
    folder: Path, environment: Environment, cases: Mapping[str, str], faults: Mapping[str, Sequence[str]]
) -> dict[str, Any]:
    """Make a job over case files ``{name: source}`` and their variants, in a root of its own."""
    root = folder / "root"
    shutil.copytree(ROOT / "harness", root / "harness")
    (root / "cases").mkdir()
    for name in ("__init__.py", "conftest.py", "pytest.ini"):
        shutil.copy(ROOT / "cases" / name, root / "cases" / name)
    for name, source in cases.items():
        (root / "cases" / f"{name}.py").write_text(source, encoding="utf-8")
    variants = [
        {"key": f"{case}-{fault}", "case": case, "document": None, "variant": {"fault": fault, "device": "cpu"}}
        for case, listed in faults.items()
        for fault in listed
    ]
    entry = {
        "cell": {"id": "c", "packages": {"peft": "0.13.0", "transformers": "4.45.1"}},
        "overlays": [str(path) for path in environment.overlays],
        "log": str(folder / "log"),
        "benchmarks": str(folder / "b.json"),
        "scratch": str(folder / "scratch"),
        "variants": [{"index": index, **one} for index, one in enumerate(variants)],
    }
    return {
        "root": str(root),
        "behind": [str(path) for path in environment.behind],
        "output": str(folder / "out.jsonl"),
        "limit_s": 60,
        "device": "cpu",
        "header": {"schema": 1, "run": "r", "machine": {}},
        "cells": [entry],
    }


def start(
    job: dict[str, Any], environment: Environment, folder: Path, *, stdin: int | None = None
) -> subprocess.Popen[str]:
    """Start a worker as the harness does."""
    path = folder / "job.json"
    path.write_text(json.dumps(job), encoding="utf-8")
    command = [str(environment.python), "-P", str(ROOT / "harness" / "cell" / "worker.py"), str(path)]
    environ = clean_environment({**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": "/nonsense"})
    return subprocess.Popen(command, text=True, stdin=stdin, stdout=subprocess.PIPE, env=environ)


def measure(job: dict[str, Any], environment: Environment, folder: Path) -> dict[str, dict[str, Any]]:
    """Let a worker do a job to its end; return its records by their keys."""
    with start(job, environment, folder) as worker:
        worker.communicate(timeout=600)
    assert worker.returncode == 0, Path(job["cells"][0]["log"]).read_text(encoding="utf-8", errors="replace")[-2000:]
    written = records(job)
    by_key = {record["key"]: record for record in written}
    assert len(by_key) == len(written), "a variant has two records"
    return by_key


def records(job: dict[str, Any]) -> list[dict[str, Any]]:
    """Read what a worker wrote, as strictly as JSON is defined."""

    def refuse(word: str) -> None:
        message = f"{word} is not JSON"
        raise ValueError(message)

    lines = Path(job["output"]).read_text(encoding="utf-8").splitlines()
    return [json.loads(line, parse_constant=refuse) for line in lines]


def children_of(pid: int) -> list[int]:
    """List the children of a process, and theirs."""
    try:
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii")
    except OSError:
        return []
    children = [int(word) for word in text.split()]
    return [*children, *(below for child in children for below in children_of(child))]


def is_alive(pid: int) -> bool:
    """Tell whether a process runs; a zombie that nobody has waited for does not."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="ascii")
    except OSError:
        return False
    return text.rpartition(")")[2].split()[0] not in {"Z", "X"}


def marked(mark: str) -> list[int]:
    """List the living processes whose command line has a word."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
        except OSError:
            continue
        if mark.encode() in words and is_alive(int(path.parent.name)):
            found.append(int(path.parent.name))
    return found


def wait_until_gone(mark: str, *, limit_s: float = 30) -> list[int]:
    """Wait for the end of the processes whose command line has a word; return those that are left."""
    deadline = time.monotonic() + limit_s
    while (left := marked(mark)) and time.monotonic() < deadline:
        time.sleep(0.05)
    return left
