"""Run the cases in the environment that is active now: a maintainer's own checkout, say.

``prompt-bench here`` with nothing but the packages of a cell and pytest installed.
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
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

ROOT = Path(__file__).resolve().parents[2]
_BAD_USAGE, _NOTHING_MEASURED = 2, 3


def main(program: str, arguments: list[str]) -> int:
    """Measure, print one line a variant, keep a run that ``report`` understands.

    ``program`` is the name that was typed before ``here``. Returns 0 when everything selected ran (whatever came out),
    1 when some did not, 2 when the selection matches nothing or a package is missing, 3 when nothing could be measured.
    """
    sys.path.append(str(ROOT))
    options = _options(program, arguments)
    from harness.packages import REQUIRED_PACKAGES

    missing = [name for name in (*REQUIRED_PACKAGES, "pytest", "pytest_benchmark") if not _installed(name)]
    if missing:
        pip = f"{sys.executable} -m pip install"
        print(f"not installed here: {', '.join(missing)}; run: {pip} {' '.join(missing)}", file=sys.stderr)
        return _BAD_USAGE
    from harness.cell.plugin import one_thread, quiet_environment

    quiet_environment()
    if not options.weights:
        one_thread()
    device = _device(options.device)
    weights = _weights(options)
    if weights is None:
        print("write --weights FAMILY=PATH_OR_NAME, such as bloom=bigscience/bloomz-560m", file=sys.stderr)
        return _BAD_USAGE
    if error := _import_error():
        print(f"import failed: {error}", file=sys.stderr)
        return _NOTHING_MEASURED
    from harness.selectors import SelectionError

    try:
        variants = _variants(options.case, device)
    except SelectionError as error:
        print(error, file=sys.stderr)
        return _BAD_USAGE
    if weights:
        variants = _on_real_weights(variants, weights)
    return _measure(variants, device, timed=options.timed, weights=weights, program=program)


def _options(program: str, arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog=f"{program} here",
        description=__doc__,
        epilog=f"Example: {program} here --case generate_with_cache:bloom",
    )
    parser.add_argument("--case", metavar="EXPR", default="*", help="case names or patterns, CASE:PART for variants")
    parser.add_argument(
        "--device", choices=("cpu", "cuda", "auto"), default="auto", help="where to run (default: auto)"
    )
    parser.add_argument("--no-latency", dest="timed", action="store_false", help="check only, and time nothing")
    parser.add_argument("--weights", metavar="FAMILY=PATH_OR_NAME", action="append", default=[], help="real weights")
    parser.add_argument(
        "--dtype", choices=("float32", "float16", "bfloat16"), default="float32", help="of real weights"
    )
    parser.add_argument("--device-map", metavar="MAP", help="of real weights, such as auto")
    return parser.parse_args(arguments)


def _weights(options: argparse.Namespace) -> dict[str, dict[str, Any]] | None:
    """Read the options on real weights as a job has them, by family; None when one is not understood."""
    read = {}
    for word in options.weights:
        family, _, source = word.partition("=")
        if not (family and source):
            return None
        path = Path(source).expanduser()
        where = str(path.resolve()) if path.exists() else source
        read[family] = {"source": where, "dtype": options.dtype, "device_map": options.device_map}
    return read


def _on_real_weights(variants: list[dict[str, Any]], weights: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """Leave out the variants of other families, and say in the others what they run on."""
    kept: list[dict[str, Any]] = []
    for one in variants:
        facts = [facts for family, facts in weights.items() if family == one["variant"].get("model", family)]
        if facts:
            source = ",".join(fact["source"] for fact in facts)
            more = {"dtype": facts[0]["dtype"], "weights": source}
            kept.append({**one, "index": len(kept), "variant": {**one["variant"], **more}})
    return kept


def _installed(name: str) -> bool:
    return importlib.util.find_spec(name) is not None


def _device(wanted: str) -> str:
    if wanted != "auto":
        return wanted
    return "cuda" if importlib.import_module("torch").cuda.is_available() else "cpu"


def _import_error() -> str | None:
    """Import what every case imports at its top; return the message of a failure, None when there is none."""
    from harness.kit.outcomes import message

    try:
        importlib.import_module("harness.cell.session").verify_imports({})
    except Exception as error:  # noqa: BLE001 - whatever it raises, nothing can be measured
        return message(error)
    return None


def _case_files() -> list[Path]:
    return [path for path in sorted((ROOT / "cases").glob("*.py")) if path.stem not in {"__init__", "conftest"}]


@dataclass(frozen=True, kw_only=True)
class ImportedCase:
    """What a case file declares, imported: outside of a cell it is read from the syntax tree."""

    name: str
    document: str | None
    variants: tuple[dict[str, str], ...]
    by_name: bool


def _imported_cases() -> list[ImportedCase]:
    cases = []
    for path in _case_files():
        module = importlib.import_module(f"cases.{path.stem}")
        variants = tuple(variant for axes in module.VARIANTS for variant in axes)
        by_name = bool(getattr(module, "BY_NAME", False))
        cases.append(ImportedCase(name=path.stem, document=module.DOCUMENT, variants=variants, by_name=by_name))
    return cases


def _variants(expression: str, device: str) -> list[dict[str, Any]]:
    """List the variants that a case expression selects, as a job lists them. Raises ``SelectionError``."""
    from harness.interface import with_defaults
    from harness.selectors import variant_selector

    cases = _imported_cases()
    selected = variant_selector(expression, cases, implied="*")
    chosen = [(case, variant) for case in cases for variant in case.variants if selected(case.name, variant)]
    return [
        {"index": index, "case": case.name, "document": case.document, "variant": with_defaults(variant, device)}
        for index, (case, variant) in enumerate(chosen)
    ]


def _measure(
    variants: list[dict[str, Any]], device: str, *, timed: bool, weights: dict[str, dict[str, Any]], program: str
) -> int:
    from harness.cell.session import prepare, run_variants

    run = time.strftime("here-%Y%m%d-%H%M%S", time.gmtime())
    folder = Path(os.environ.get("PROMPT_BENCH_REPORTS", ROOT / "reports")) / "runs" / run
    for part in ("records", "benchmarks"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    _write_plan(folder, variants, device)
    with (
        tempfile.TemporaryDirectory() as scratch,
        (folder / "records" / "here.jsonl").open("w", encoding="utf-8", errors="backslashreplace") as output,
        # pytest captures file descriptor 1 while a check runs; this copy still reaches the screen.
        os.fdopen(os.dup(1), "w", encoding="utf-8") as screen,
    ):
        observer = Observer(run, variants, output, screen)
        benchmarks = str(folder / "benchmarks" / "here.json")
        entry = {"cell": observer.cell, "scratch": f"{scratch}/cases", "benchmarks": benchmarks}
        told = {"memory": str(folder.parent.parent / "examples"), "told": str(folder / "examples.jsonl")}
        job = {"root": str(ROOT), "device": device, "timed": timed, "weights": weights, **told}
        if prepare(job, entry, observer.take):
            run_variants(job, entry, variants, observer.take, attended=True)
    tally = observer.tally
    print(", ".join(f"{count} {outcome}" for outcome, count in tally.most_common()) or "nothing was measured")
    print(f"judge it with: {program} report {run}")
    if not tally or set(tally) == {"no-device"}:
        return _NOTHING_MEASURED
    missing = len(variants) - sum(tally.values())
    if missing:
        print(f"{missing} of {len(variants)} variants did not run", file=sys.stderr)
    return 1 if missing else 0


def _write_plan(folder: Path, variants: list[dict[str, Any]], device: str) -> None:
    """Write what is asked for, before anything runs: a crash then leaves a run that can be judged."""
    asked = [{"case": one["case"], "variant": one["variant"]} for one in variants]
    cell: dict[str, Any] = {
        "id": "here",
        "base": "here",
        "python": platform.python_version(),
        "pins": {},
        "as_of": None,
    }
    cell |= {"why": "the environment that was active", "state": "ready", "asked": asked}
    plan = {"matrix": "here", "title": "The active environment", "device": device, "run": folder.name, "cells": [cell]}
    (folder / "plan.json").write_text(json.dumps(plan), encoding="utf-8")


class Observer:
    """Turns what the session tells into records and lines on the screen."""

    def __init__(self, run: str, variants: list[dict[str, Any]], output: IO[str], screen: IO[str]) -> None:
        """``output`` takes JSON lines, ``screen`` a line for each variant."""
        self.tally: Counter[str] = Counter()
        facts = {"matrix": "here", "lock": None, "python": platform.python_version()}
        self.cell: dict[str, Any] = {"id": "here", **facts, "packages": {}}
        self._machine: dict[str, Any] = {"cpu": platform.processor(), "cores": os.cpu_count(), "gpu": None}
        self._run, self._variants, self._output, self._screen = run, variants, output, screen

    def take(self, event: dict[str, Any]) -> None:
        """Take one event, as the worker would."""
        match event:
            case {"device": dict(gpu)}:
                self._machine |= gpu
            case {"ready": dict(imported)}:
                self.cell["packages"] = imported
                self._say(" ".join(f"{name} {version}" for name, version in imported.items()))
            case {"refused": str(words)}:
                self._say(f"import failed: {words}")
            case {"finished": int(index), "result": dict(result)}:
                self._keep(self._variants[index], result)
            case {"collect": str(case), "result": dict(result)}:
                for one in self._variants:
                    if one["case"] == case:
                        self._keep(one, result)

    def _keep(self, one: dict[str, Any], result: dict[str, Any]) -> None:
        from harness.cell.events import to_line
        from harness.interface import SCHEMA

        self.tally[result["outcome"]] += 1
        name = "-".join(one["variant"].values())
        self._say(f"{result['outcome']:<12} {one['case']}[{name}] {(result.get('message') or '')[:160]}")
        about = {"schema": SCHEMA, "run": self._run, "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}
        empty: dict[str, Any] = {"signature": None, "message": None, "evidence": {}, "counters": {}, "latency": {}}
        named = {"key": f"{self._run}-{one['index']}", **{key: one[key] for key in ("case", "document", "variant")}}
        record = {**about, "machine": self._machine, "cell": self.cell, **named, **empty, **result}
        self._output.write(to_line(record) + "\n")
        self._output.flush()

    def _say(self, text: str) -> None:
        print(text, file=self._screen, flush=True)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1], sys.argv[2:]))
