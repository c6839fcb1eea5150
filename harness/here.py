"""Run the cases in the environment that is active now, and judge them: a maintainer's own checkout, say.

Needs nothing but the standard library, and what a cell has: torch, transformers, peft, pytest, pytest-benchmark.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.contracts.job import CellJob, Job, Request, Settings
from harness.contracts.plan import AskedCell, AskedVariant, Plan, plan_text
from harness.contracts.record import CellFacts, VariantRecord
from harness.errors import ExitStatus, HarnessError, UsageError
from harness.escape import one_line
from harness.interface import Outcome, variant_id, with_defaults
from harness.judge.verdicts import Judged, Verdict, judge
from harness.machine import machine_facts
from harness.matrix.cases import load_cases, select_variants
from harness.matrix.plan import concrete_device
from harness.matrix.weights import DTYPES, read_weights
from harness.packages import REQUIRED_PACKAGES
from harness.paths import ROOT, cache_folder, reports_folder
from harness.program import PROGRAM
from harness.worker_client import FORKS, WorkerClient, WorkerEnded

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from harness.against.checkout import Checkout
    from harness.contracts.record import Record
    from harness.matrix.cases import Case

_LIMIT_S = 600.0
"""Seconds for one variant: a checkout under a debugger or on a slow machine is not hurried."""

_WIDEST_MESSAGE = 160
_CELL = "here"
_BEFORE = "here-before"


def main(arguments: Sequence[str]) -> int:
    """Measure, print one line a variant, keep a run that ``report`` understands.

    Returns 0 when everything selected ran (whatever came out), 1 when some did not, 2 when the selection matches
    nothing or a package is missing, 3 when nothing could be measured.
    """
    options = _options(arguments)
    try:
        requests = _requests(options)
        return int(_measure_against(requests, options) if options.against else _measure(requests, options))
    except HarnessError as refusal:
        print(refusal, file=sys.stderr)
        return int(refusal.exit_status)
    except WorkerEnded as ended:
        print(ended, file=sys.stderr)
        return int(ExitStatus.NEEDS_A_PERSON)
    except ModuleNotFoundError as error:
        # Records are read, and so checked, with packages that a cell has no need of.
        package = (error.name or "").partition(".")[0]
        if not options.against or package in {"", "harness"}:
            raise
        print(f"--against needs {package}; run: {sys.executable} -m pip install {package}", file=sys.stderr)
        return int(ExitStatus.BAD_USAGE)


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog=f"{PROGRAM} here",
        description=__doc__,
        epilog=f"Example: {PROGRAM} here --case generate_with_cache:bloom",
    )
    parser.add_argument("--case", metavar="EXPR", help="case names or patterns, CASE:PART for variants, !WORD for not")
    parser.add_argument(
        "--device", choices=("cpu", "cuda", "auto"), default="auto", help="where to run (default: auto)"
    )
    parser.add_argument("--no-latency", dest="timed", action="store_false", help="check only, and time nothing")
    parser.add_argument("--weights", metavar="FAMILY=PATH_OR_NAME", action="append", default=[], help="real weights")
    parser.add_argument("--dtype", choices=DTYPES, help="of real weights")
    parser.add_argument("--against", metavar="REV", help="tell what changed since this commit of the checkout here")
    parser.add_argument("--device-map", metavar="MAP", help="of real weights, such as auto")
    return parser.parse_args(arguments)


def _requests(options: argparse.Namespace) -> tuple[Request, ...]:
    """Return the variants that are asked for.

    Raises :class:`UsageError` when there are none, or a package is missing.
    """
    needed = (*REQUIRED_PACKAGES, "pytest", "pytest_benchmark")
    missing = [name for name in needed if importlib.util.find_spec(name) is None]
    if missing:
        message = f"not installed here: {', '.join(missing)}; run: {sys.executable} -m pip install {' '.join(missing)}"
        raise UsageError(message)
    options.device = concrete_device(options.device)
    weights = read_weights(options.weights, dtype=options.dtype, device_map=options.device_map)
    options.weights = weights.job() if weights else {}
    chosen = [
        (case, {**with_defaults(variant, options.device), **more})
        for case, variant in select_variants(load_cases(), options.case)
        if (more := weights.of(variant) if weights else {}) is not None
    ]
    if not chosen:
        message = "no case has what was asked for; leave out --weights, or name another family"
        raise UsageError(message)
    return tuple(
        Request(key=f"here-{index}", case=case.name, document=case.document, variant=variant)
        for index, (case, variant) in enumerate(chosen)
    )


def _measure(requests: tuple[Request, ...], options: argparse.Namespace) -> ExitStatus:
    run = time.strftime("here-%Y%m%d-%H%M%S", time.gmtime())
    folder = _run_folder(run)
    (folder / "plan.json").write_text(plan_text(_plan(run, requests, options.device)), encoding="utf-8")
    screen = Screen(output=folder / "records" / "here.jsonl", cases={case.name: case for case in load_cases()})
    _measure_cell(_CELL, requests, options, screen=screen, folder=folder, environ=with_byte_code(os.environ))
    return screen.end(run, len(requests))


def _run_folder(run: str) -> Path:
    folder = reports_folder() / "runs" / run
    for part in ("records", "benchmarks", "logs"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    return folder


def _measure_cell(
    name: str,
    requests: tuple[Request, ...],
    options: argparse.Namespace,
    *,
    screen: Screen,
    folder: Path,
    environ: Mapping[str, str],
) -> None:
    """Measure variants in one worker of the active interpreter, started with ``environ``."""
    with tempfile.TemporaryDirectory(prefix="prompt-bench-") as scratch:
        settings = Settings(
            limit_s=_LIMIT_S,
            device=options.device,
            timed=options.timed,
            fork=FORKS,
            memory=str(reports_folder() / "examples"),
            told=str(folder / "examples.jsonl"),
            weights=options.weights,
        )
        job = Job(
            root=str(ROOT),
            behind=(),
            output=str(screen.output),
            run=folder.name,
            machine=machine_facts(),
            settings=settings,
        )
        cell = CellFacts(id=name, python=platform.python_version(), matrix=_CELL)
        entry = CellJob(
            cell=cell,
            overlays=(),
            log=str(folder / "logs" / f"{name}.log"),
            benchmarks=str(folder / "benchmarks" / f"{name}.json"),
            scratch=str(Path(scratch) / "cases"),
            requests=requests,
        )
        log = folder / "logs" / f"{name}.worker.log"
        client = WorkerClient(Path(sys.executable), job, scratch=Path(scratch), log=log, environ=environ)
        try:
            client.measure(entry, screen.take)
        finally:
            client.close()


def _measure_against(requests: tuple[Request, ...], options: argparse.Namespace) -> ExitStatus:
    """Measure the checkout as a commit has it and as its files are now, side by side, and print the difference."""
    from harness.against.checkout import find_checkout
    from harness.against.difference import difference, place_of
    from harness.against.render import answer_of, terminal
    from harness.against.told import EVERY, Told
    from harness.contracts.records import read_records

    run, begin = time.strftime("here-%Y%m%d-%H%M%S", time.gmtime()), time.monotonic()
    now = find_checkout(Path.cwd())
    with tempfile.TemporaryDirectory(prefix="prompt-bench-") as scratch:
        sides = {_BEFORE: now.export(options.against, Path(scratch)), _CELL: now}
        for side in sides.values():
            _check_origin(side)
        folder = _run_folder(run)
        plan = replace(_plan(run, requests, options.device), cells=())
        cells = [replace(_plan(run, requests, options.device).cells[0], id=name) for name in sides]
        (folder / "plan.json").write_text(plan_text(plan.with_cells(cells)), encoding="utf-8")

        def ask(wanted: tuple[Request, ...], again: str = "") -> tuple[list[Record], list[Record]]:
            screens = [Screen(output=folder / "records" / f"{name}{again}.jsonl", quiet=True) for name in sides]
            with ThreadPoolExecutor(len(sides)) as pool:
                futures = [
                    pool.submit(
                        _measure_cell,
                        name,
                        wanted,
                        options,
                        screen=screen,
                        folder=folder,
                        environ=side.environment(os.environ),
                    )
                    for (name, side), screen in zip(sides.items(), screens, strict=True)
                ]
                for future in futures:
                    future.result()
            before, after = (list(read_records(screen.output)) for screen in screens)
            return before, after

        found = difference(*ask(requests))
        flipped = {place_of(one) for one in found.flips if one.variant}
        if again := tuple(one for one in requests if place_of(one) in flipped):
            repeated = difference(*ask(again, ".again"))
            steady = {place_of(one) for one in repeated.flips}
            found = found.without({("", place) for place in flipped - steady})
    told = Told(
        package=now.package,
        before=options.against,
        after="the files here",
        ring=EVERY,
        difference=found,
        seconds=time.monotonic() - begin,
        run=run,
    )
    print(terminal(answer_of(told)))
    if not found.count:
        return ExitStatus.NOTHING_MEASURED
    return ExitStatus.NEEDS_A_PERSON if found.breaks else ExitStatus.AS_EXPECTED


def _check_origin(side: Checkout) -> None:
    """Make sure that a worker imports the package from a checkout, whatever is installed.

    Raises :class:`UsageError` when something else comes first.
    """
    code = f"import importlib.util as u; print(u.find_spec({side.package!r}).origin)"
    done = subprocess.run(  # noqa: S603 - this interpreter
        [sys.executable, "-P", "-c", code],
        capture_output=True, text=True, env=side.environment(os.environ), check=False,
    )  # fmt: skip
    if not Path(done.stdout.strip()).is_relative_to(side.code):
        where = done.stdout.strip() or done.stderr.strip()[-200:]
        message = f"{side.package} is imported from {where}, not from {side.code}; uninstall it, or use another venv"
        raise UsageError(message)


def with_byte_code(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of the worker: byte code is kept in the harness's own cache where the person's forbids it.

    ``PYTHONDONTWRITEBYTECODE``, which many CI images set, makes importing torch and transformers two to three times
    slower each time where nobody wrote byte code at installing (uv does not). What is installed is left as it is.
    """
    result = dict(environ)
    package = importlib.util.find_spec("transformers")
    folders = package.submodule_search_locations if package else None
    compiled = any(Path(folder, "__pycache__").is_dir() for folder in folders or ())
    if result.get("PYTHONDONTWRITEBYTECODE") and not compiled:
        del result["PYTHONDONTWRITEBYTECODE"]
        result.setdefault("PYTHONPYCACHEPREFIX", str(cache_folder() / "bytecode"))
    return result


def _plan(run: str, requests: tuple[Request, ...], device: str) -> Plan:
    """Return what is asked for; it is written before anything runs, so that a crash leaves a run that can be judged."""
    cell = AskedCell(
        id=_CELL,
        base=_CELL,
        python=platform.python_version(),
        pins={},
        why="the environment that was active",
        asked=tuple(AskedVariant(case=one.case, variant=dict(one.variant)) for one in requests),
    )
    return Plan(matrix=_CELL, title="The active environment", device=device, run=run, cells=(cell,))


def _told(judged: Judged) -> str:
    """Say what a verdict comes to, in brackets: nothing where something passes as expected."""
    if judged.verdict is Verdict.AS_EXPECTED and judged.defect:
        return f"(as expected: {judged.defect})"
    match judged.label:
        case Verdict.AS_EXPECTED:
            return ""
        case Verdict.CHANGED if judged.expectation:
            return f"(changed: {judged.expectation.defect or judged.expectation.outcome} was expected)"
        case Verdict.REGRESSED:
            return "(regressed: it was expected to pass)"
        case Verdict.FIXED if judged.expectation:
            return f"(fixed: {judged.expectation.defect or judged.expectation.outcome} was expected)"
    return f"({judged.label})"


def _counts(tally: Counter[str]) -> str:
    return ", ".join(f"{count} {what}" for what, count in tally.most_common())


@dataclass(kw_only=True)
class Screen:
    """Prints a line for each record as it is written to ``output``, judged, and counts outcomes and verdicts.

    ``cases`` are by name. Nothing is read or printed when ``quiet``.
    """

    output: Path
    cases: Mapping[str, Case] = field(default_factory=dict)
    quiet: bool = False
    tally: Counter[str] = field(default_factory=Counter)
    verdicts: Counter[str] = field(default_factory=Counter)
    _read: int = 0

    def take(self, event: Mapping[str, Any]) -> None:
        """Take an event of the worker; records are read from where it writes them."""
        if self.quiet or event["event"] not in {"record", "state"}:
            return
        with self.output.open("rb") as output:
            output.seek(self._read)
            data = output.read()
        self._read += len(data)
        for line in data.splitlines():
            self._show(json.loads(line))

    def _show(self, record: Mapping[str, Any]) -> None:
        message = one_line(record.get("message") or "")
        if "outcome" not in record:
            print(f"{record['cell']['state']}: {message}", flush=True)
            return
        if not self.tally:
            versions = (f"{name} {version}" for name, version in record["cell"]["packages"].items())
            print(" ".join(versions), flush=True)
        self.tally[record["outcome"]] += 1
        judged = self._judge(record)
        self.verdicts[judged.label] += 1
        words = " ".join(filter(None, [message[:_WIDEST_MESSAGE], _told(judged)]))
        print(f"{record['outcome']:<12} {record['case']}[{variant_id(record['variant'])}] {words}".rstrip(), flush=True)

    def _judge(self, record: Mapping[str, Any]) -> Judged:
        """Hold a record against what is expected of the versions that were imported."""
        cell = CellFacts(id=_CELL, python=record["cell"]["python"], packages=record["cell"]["packages"], matrix=_CELL)
        measured = VariantRecord(
            run=record["run"],
            time=record["time"],
            cell=cell,
            key=record["key"],
            case=record["case"],
            variant=record["variant"],
            outcome=Outcome(record["outcome"]),
            signature=record.get("signature"),
            message=record.get("message"),
            counters=record.get("counters") or {},
        )
        return judge(self.cases[measured.case], measured, _CELL, measured.variant)

    def end(self, run: str, asked: int) -> ExitStatus:
        """Say how many came to which outcome, and what to type next."""
        print(_counts(self.tally) or "nothing was measured")
        if self.verdicts:
            print(f"judged by what is expected of these versions: {_counts(self.verdicts)}")
        print(f"kept as run {run}")
        if not self.tally or set(self.tally) == {"no-device"}:
            return ExitStatus.NOTHING_MEASURED
        missing = asked - self.tally.total()
        if missing:
            print(f"{missing} of {asked} variants did not run", file=sys.stderr)
        return ExitStatus.NEEDS_A_PERSON if missing else ExitStatus.AS_EXPECTED
