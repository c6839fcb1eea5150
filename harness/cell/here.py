"""Run the cases in the environment that is active now: a maintainer's own checkout, say.

``python -m harness here`` with nothing but the packages of a cell and pytest installed.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import os
import platform
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
_BAD_USAGE, _NOTHING_MEASURED = 2, 3


def main() -> int:
    """Measure, print one line a variant, keep a run that ``report`` and ``gate`` understand.

    Returns 0 when everything selected ran (whatever came out), 2 when the selection matches
    nothing or a package is missing, 3 when nothing could be measured.
    """
    sys.path.append(str(ROOT))
    options = _options()
    missing = [name for name in ("torch", "transformers", "peft", "pytest", "pytest_benchmark") if not _installed(name)]
    if missing:
        print(f"not installed here: {', '.join(missing)}; run: pip install {' '.join(missing)}", file=sys.stderr)
        return _BAD_USAGE
    from harness.cell.plugin import quiet_environment

    quiet_environment()
    device = _device(options.device)
    variants = _variants(options.case, device)
    if not variants:
        names = ", ".join(sorted(path.stem for path in _case_files()))
        print(f"the case expression {options.case!r} matches nothing; cases: {names}", file=sys.stderr)
        return _BAD_USAGE
    return _measure(variants, device)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m harness here",
        description=__doc__,
        epilog="Example: python -m harness here --case generate_with_cache:bloom",
    )
    parser.add_argument("--case", metavar="EXPR", default="*", help="case names or patterns, CASE:PART for variants")
    parser.add_argument(
        "--device", choices=("cpu", "cuda", "auto"), default="auto", help="where to run (default: auto)"
    )
    return parser.parse_args()


def _installed(name: str) -> bool:
    return importlib.util.find_spec(name) is not None


def _device(wanted: str) -> str:
    if wanted != "auto":
        return wanted
    return "cuda" if importlib.import_module("torch").cuda.is_available() else "cpu"


def _case_files() -> list[Path]:
    return [path for path in sorted((ROOT / "cases").glob("*.py")) if path.stem not in {"__init__", "conftest"}]


def _variants(expression: str, device: str) -> list[dict[str, Any]]:
    from harness.cell.plugin import variants_of
    from harness.interface import selects

    chosen: list[dict[str, Any]] = []
    for path in _case_files():
        module = importlib.import_module(f"cases.{path.stem}")
        for variant in variants_of(module, device):
            if any(selects(word, path.stem, variant) for word in expression.split(",")):
                chosen.append(
                    {"index": len(chosen), "case": path.stem, "document": module.DOCUMENT, "variant": variant}
                )
    return chosen


def _measure(variants: list[dict[str, Any]], device: str) -> int:
    from harness.cell.session import run_variants
    from harness.interface import SCHEMA, CellState

    run = time.strftime("here-%Y%m%d-%H%M%S", time.gmtime())
    folder = Path(os.environ.get("PROMPT_BENCH_REPORTS", ROOT / "reports")) / "runs" / run
    for part in ("records", "benchmarks"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    cell: dict[str, Any] = {
        "id": "here",
        "matrix": "here",
        "lock": None,
        "python": platform.python_version(),
        "packages": {},
    }
    tally: Counter[str] = Counter()
    # pytest captures file descriptor 1 while a check runs; this copy still reaches the screen.
    screen = os.fdopen(os.dup(1), "w", encoding="utf-8")
    with (
        tempfile.TemporaryDirectory() as scratch,
        (folder / "records" / "here.jsonl").open("w", encoding="utf-8") as output,
    ):
        facts: dict[str, Any] = {"machine": {"cpu": platform.processor(), "cores": os.cpu_count(), "gpu": None}}

        def take(event: dict[str, Any]) -> None:
            match event:
                case {"ready": dict(imported), "device": dict(gpu)}:
                    cell["packages"] = imported
                    facts["machine"] |= gpu
                    print(" ".join(f"{name} {version}" for name, version in imported.items()), file=screen, flush=True)
                case {"refused": str(words)}:
                    print(f"import failed: {words}", file=sys.stderr)
                case {"finished": int(index), "result": dict(result)}:
                    keep(index, result)
                case {"collect": str(case), "result": dict(result)}:
                    for one in variants:
                        if one["case"] == case:
                            keep(one["index"], result)

        def keep(index: int, result: dict[str, Any]) -> None:
            one = variants[index]
            tally[result["outcome"]] += 1
            name = "-".join(one["variant"].values())
            words = result.get("message") or ""
            print(f"{result['outcome']:<12} {one['case']}[{name}] {words[:160]}", file=screen, flush=True)
            about = {"schema": SCHEMA, "run": run, "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}
            empty = {"signature": None, "message": None, "evidence": {}, "counters": {}, "latency": {}}
            named = {"key": f"{run}-{index}", **{key: one[key] for key in ("case", "document", "variant")}}
            record = {**about, **facts, "cell": cell, **named, **empty, **result}
            output.write(json.dumps(record, ensure_ascii=False, default=str) + "\n")
            output.flush()

        entry = {"cell": cell, "scratch": f"{scratch}/cases", "benchmarks": str(folder / "benchmarks" / "here.json")}
        run_variants({"root": str(ROOT), "device": device}, entry, variants, take, quiet=True)
    screen.close()
    asked = [{"case": one["case"], "variant": one["variant"]} for one in variants]
    planned = {"id": "here", "base": "here", "python": cell["python"], "pins": cell["packages"], "as_of": None}
    planned |= {"why": "the environment that was active", "state": str(CellState.READY), "asked": asked}
    plan = {"matrix": "here", "title": "The active environment", "device": device, "run": run, "cells": [planned]}
    (folder / "plan.json").write_text(json.dumps(plan), encoding="utf-8")
    print(", ".join(f"{count} {outcome}" for outcome, count in tally.most_common()) or "nothing was measured")
    print(f"judge it with: python -m harness report {run}")
    return 0 if tally and set(tally) != {"no-device"} else _NOTHING_MEASURED


if __name__ == "__main__":
    raise SystemExit(main())
