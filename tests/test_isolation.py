"""Hostile case files in a real worker: nothing hangs, nothing is left running, nothing reaches another case file."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.jobs import Task, case_source, make_planted_task, marked, measure, records, start, wait_until_gone

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from harness.environments.build import Environment

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs Linux: processes are found in /proc"),
]

SEED = int(os.environ.get("PROMPT_BENCH_SEED", str(random.SystemRandom().randrange(1000))))

PROCESSES = """
def check(trial):
    import os, signal, subprocess, sys, time
    program = "import sys, time; time.sleep(900)"
    if trial.fault == "close-and-sleep":
        os.closerange(3, 256)
        time.sleep(900)
    if trial.fault == "close-and-pass":
        os.closerange(3, 256)
    if trial.fault == "child":
        subprocess.Popen([sys.executable, "-c", program, "MARK"])
    if trial.fault == "session":
        subprocess.Popen([sys.executable, "-c", program, "MARK"], start_new_session=True, close_fds=False)
    if trial.fault == "daemon":
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                os.execv(sys.executable, [sys.executable, "-c", program, "MARK"])
            os._exit(0)
        os.wait()
    if trial.fault == "fork-and-stay":
        # It holds every pipe that this process holds.
        if os.fork() == 0:
            time.sleep(900)
    if trial.fault == "kill-parent":
        os.kill(os.getppid(), signal.SIGKILL)
        time.sleep(900)
    if trial.fault == "stop-itself":
        os.kill(os.getpid(), signal.SIGSTOP)
    if trial.fault == "ignore-signals":
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        subprocess.Popen([sys.executable, "-c", program, "MARK"])
        time.sleep(900)
"""
ENDS = {
    "child": "passed", "close-and-sleep": "timeout", "close-and-pass": "crashed", "daemon": "passed",
    "fork-and-stay": "passed", "ignore-signals": "timeout", "kill-parent": "crashed", "last": "passed",
    "session": "passed", "stop-itself": "timeout",
}  # fmt: skip


def one_case(folder: Path, environment: Environment, faults: Sequence[str], body: str, **settings: Any) -> Task:
    """Make a task over a single planted case file, and a second one that asks nothing of anybody."""
    cases = {"planted": case_source(faults, body), "quiet": case_source(["none"], "def check(trial): pass")}
    return make_planted_task(folder, environment, cases, {"planted": faults, "quiet": ["none"]}, **settings)


@pytest.mark.parametrize("fork", [True, False])
def test_the_limit_holds_and_nothing_outlives_the_case(
    old_environment: Environment, tmp_path: Path, *, fork: bool
) -> None:
    """A child that closes its pipe, stops, kills its parent or leaves processes costs its own variant at most."""
    mark = f"stray-{os.getpid()}-{fork}"
    # In a fresh process the parent is the worker itself.
    faults = [fault for fault in ENDS if fork or fault != "kill-parent"]
    task = one_case(tmp_path, old_environment, faults, PROCESSES.replace("MARK", mark), fork=fork, limit_s=10)
    written = measure(task, old_environment, tmp_path)
    assert {key: one["outcome"] for key, one in written.items()} == {
        **{f"planted-{fault}": ENDS[fault] for fault in faults},
        "quiet-none": "passed",
    }
    assert "did not say what became of the check" in written["planted-close-and-pass"]["message"]
    assert written["planted-close-and-sleep"]["message"] == "no end within 10 s"
    assert not marked(mark)


@pytest.mark.parametrize("victim", ["worker", "cell child", "harness"])
def test_a_killed_process_takes_everything_below_it_along(
    old_environment: Environment, tmp_path: Path, victim: str
) -> None:
    """SIGKILL of the worker, of its child or of whoever started it: no descendant goes on, in whatever session."""
    mark = f"below-{os.getpid()}-{victim.replace(' ', '-')}"
    body = f"""
def check(trial):
    import os, subprocess, sys, time
    program = "import sys, time; time.sleep(900)"
    subprocess.Popen([sys.executable, "-c", program, "{mark}"], start_new_session=True)
    open("{tmp_path}/started", "w").write(f"{{os.getppid()}}")
    time.sleep(900)
"""
    task = one_case(tmp_path, old_environment, ["x"], body, limit_s=600)
    started = tmp_path / "started"
    if victim == "harness":
        harness = os.fork()
        if harness == 0:
            with start(task, old_environment, tmp_path) as worker:
                worker.wait()
            os._exit(0)
    else:
        harness = 0
        worker = start(task, old_environment, tmp_path)
    deadline = time.monotonic() + 120
    while not (started.is_file() and started.read_text() and marked(mark)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert marked(mark), "the case did not start"
    cell_child = int(started.read_text())
    if victim == "harness":
        os.kill(harness, signal.SIGKILL)
        os.waitpid(harness, 0)
    elif victim == "worker":
        worker.kill()
        worker.communicate()
    else:
        os.kill(cell_child, signal.SIGKILL)
        # The worker goes on, with the variants that are left.
        worker.communicate(timeout=120)
        assert [(one["key"], one["outcome"]) for one in records(task)] == [
            ("planted-x", "crashed"),
            ("quiet-none", "passed"),
        ]
    assert not wait_until_gone(mark)


RAISES = """
class Silent(Exception):
    def __str__(self):
        raise RuntimeError("no words")
    __repr__ = __str__

def check(trial):
    import pytest, sys, unittest
    match trial.fault:
        case "system-exit": raise SystemExit(0)
        case "sys-exit": sys.exit("words of its own")
        case "skip": pytest.skip("not today")
        case "exit": pytest.exit("enough")
        case "fail": pytest.fail("it says")
        case "interrupt": raise KeyboardInterrupt
        case "unittest-skip": raise unittest.SkipTest("not today")
        case "generator-exit": raise GeneratorExit
        case "silent": raise Silent
        case "group": raise BaseExceptionGroup("several", [KeyboardInterrupt()])
"""
SIGNATURES = {
    "system-exit": "SystemExit: <n>", "sys-exit": "SystemExit: words of its own", "skip": "Skipped: not today",
    "exit": "Exit: enough", "fail": "Failed: it says", "interrupt": "KeyboardInterrupt: ",
    "unittest-skip": "SkipTest: not today", "generator-exit": "GeneratorExit: ",
    "silent": "Silent: its __str__ raised RuntimeError", "group": "BaseExceptionGroup: several (<n> sub-exception)",
}  # fmt: skip


def test_whatever_is_raised_is_an_error_with_its_own_words(old_environment: Environment, tmp_path: Path) -> None:
    """No exception of the code under test ends the session, reads as a skip, or loses its name."""
    faults = [*SIGNATURES, "last"]
    written = measure(one_case(tmp_path, old_environment, faults, RAISES), old_environment, tmp_path)
    got = {key: one["signature"] for key, one in written.items() if one["outcome"] == "error"}
    assert got == {f"planted-{fault}": signature for fault, signature in SIGNATURES.items()}
    assert written["planted-last"]["outcome"] == written["quiet-none"]["outcome"] == "passed"


PIPE = """
import json, os
def pipes():
    for name in os.listdir("/proc/self/fd"):
        try:
            if os.readlink(f"/proc/self/fd/{name}").startswith("pipe:"):
                yield int(name)
        except OSError:
            pass

def write(data):
    for number in pipes():
        try:
            os.set_blocking(number, True)
            os.write(number, data)
        except OSError:
            pass

def check(trial):
    import subprocess, sys, time
    match trial.fault:
        case "garbage": write(b"garbage without an end")
        case "binary": write(bytes(range(256)) * 200)
        case "numbers": write(b"\\n7\\nnull\\n[]\\n" + b"[" * 5000 + b"\\n")
        case "events":
            write(b'\\n{"finished": 999, "result": {"outcome": "passed"}}\\n{"started": 999}\\n{"finished": 0}\\n')
            write(b'{"finished": 0, "result": {"outcome": "splendid"}}\\n{"collect": 5}\\n{"refused": 1}\\n')
        case "garbage-for-ever":
            while True:
                write(b"not an event\\n")
                time.sleep(0.01)
        case "inherited":
            done = subprocess.run(
                ["ls", "-l", "/proc/self/fd"], stdin=subprocess.DEVNULL, capture_output=True, text=True, close_fds=False
            )
            lines = [line.split()[-3:] for line in done.stdout.splitlines() if "->" in line]
            trial.evidence["open"] = [line for line in lines if int(line[0]) > 2 and "pipe:" in line[2]]
"""


def test_garbage_in_the_event_pipe_changes_no_outcome(old_environment: Environment, tmp_path: Path) -> None:
    """What a case writes into every pipe that it finds is no event, wins it no time and kills nobody."""
    faults = ["binary", "events", "garbage", "garbage-for-ever", "inherited", "last", "numbers"]
    task = one_case(tmp_path, old_environment, faults, PIPE, limit_s=10)
    written = measure(task, old_environment, tmp_path)
    assert {key: one["outcome"] for key, one in written.items()} == {
        **{f"planted-{fault}": "timeout" if fault == "garbage-for-ever" else "passed" for fault in faults},
        "quiet-none": "passed",
    }
    assert written["planted-inherited"]["evidence"]["open"] == []
    assert "were no events" in (tmp_path / "log").read_text(encoding="utf-8", errors="replace")


VALUES = """
def check(trial):
    class Odd:
        def __str__(self): raise ValueError
        __repr__ = __str__
    import numpy, torch
    loop = {}
    loop["loop"] = loop
    match trial.fault:
        case "surrogate": raise ValueError("broken \\udcff name")
        case "control": raise ValueError("clear \\x1b[2J bell \\x07 next \\x85 line \\u2028 end \\x00")
        case "huge": raise ValueError("x" * 10_000_000)
        case "evidence":
            inf = float("inf")
            trial.evidence.update({b"bytes": b"\\xff", 3: float("nan"), "inf": [inf, -inf]}, odd=Odd(), loop=loop)
            trial.evidence.update(large=10**6000, tensor=torch.zeros(2), number=numpy.float32(0.5))
            trial.evidence.update(text="\\udcff\\u2028")
        case "much": trial.evidence.update({str(n): "y" * 1000 for n in range(20_000)})
        case "counters": trial.counters["odd"] = float("nan")
"""


def test_a_record_is_one_line_of_valid_json_whatever_a_case_leaves_in_it(
    old_environment: Environment, tmp_path: Path
) -> None:
    """Surrogates, controls, 10 MB of message, nan, objects: each record is read back, strictly, and is small."""
    faults = ["control", "counters", "evidence", "huge", "much", "surrogate"]
    task = one_case(tmp_path, old_environment, faults, VALUES)
    written = measure(task, old_environment, tmp_path)
    lines = Path(task.job.output).read_bytes().split(b"\n")
    assert len(lines) == len(faults) + 2
    assert max(map(len, lines)) < 1 << 20
    assert written["planted-surrogate"]["message"] == "ValueError: broken \\udcff name"
    assert "clear \x1b[2J bell" in written["planted-control"]["message"]
    assert written["planted-huge"]["outcome"] == "error"
    evidence = written["planted-evidence"]["evidence"]
    assert evidence["3"] == "nan"
    assert evidence["inf"] == ["inf", "-inf"]
    assert evidence["odd"] == "<Odd, whose __str__ raised ValueError>"
    assert evidence["number"] == "0.5"
    assert "left_out" in written["planted-much"]["evidence"]
    assert written["planted-counters"]["counters"] == {"odd": "nan"}


COLLECTED = """
import time
time.sleep(900)
"""


def test_a_case_file_that_never_ends_importing_costs_its_own_variants(
    old_environment: Environment, tmp_path: Path
) -> None:
    """A hang, a segfault and an exit while a case file is imported: the other files are measured."""
    cases = {
        "hang": "import time\ntime.sleep(900)\n",
        "crash": "import ctypes\nctypes.string_at(0)\n",
        "leave": "raise SystemExit(0)\n",
        "quiet": case_source(["none"], "def check(trial): pass"),
    }
    faults = {name: ["none"] for name in cases}
    task = make_planted_task(tmp_path, old_environment, cases, faults, import_limit_s=45)
    written = measure(task, old_environment, tmp_path)
    assert {key.partition("-")[0]: one["outcome"] for key, one in written.items()} == {
        "hang": "timeout",
        "crash": "crashed",
        "leave": "not-run",
        "quiet": "passed",
    }


WITNESS = """
def check(trial):
    import os, random, peft, torch
    from peft import PromptTuningConfig
    from peft.tuners.prompt_tuning import PromptEmbedding
    trial.evidence.update(
        sum=torch.add(torch.ones(2), 1).tolist(), drawn=torch.rand(2).tolist(), random=random.random(),
        environ=os.environ.get("CONTAMINATED"), folder=os.getcwd(), dtype=str(torch.get_default_dtype()),
        grad=torch.is_grad_enabled(), threads=torch.get_num_threads(),
        deterministic=torch.are_deterministic_algorithms_enabled(),
        forward=PromptEmbedding.forward.__qualname__, added=hasattr(peft, "contaminated"),
        kind=PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3).peft_type.value,
    )
    trial.expect(trial.evidence["sum"] == [2.0, 2.0], "torch adds wrongly")
"""
CONTAMINATE = """
    import os, random, sys, warnings, peft, torch
    from peft.tuners.prompt_tuning import PromptEmbedding
    os.environ["CONTAMINATED"] = "1"
    os.environ.pop("HF_HUB_OFFLINE", None)
    os.chdir("/")
    random.seed(7)
    torch.manual_seed(7)
    torch.set_default_dtype(torch.float64)
    torch.set_grad_enabled(False)
    torch.set_num_threads(2)
    torch.use_deterministic_algorithms(True)
    if trial.fault == PATCHES:
        torch.add = lambda *_, **__: torch.zeros(3)
        PromptEmbedding.forward = lambda *_: None
        peft.contaminated = True
        sys.modules["json"] = None
"""
NAMES = ("alpha", "bravo", "charlie", "delta")


def test_a_contaminating_variant_changes_no_record_of_another_case_file(
    old_environment: Environment, tmp_path: Path
) -> None:
    """It patches torch and peft, moves, seeds and switches, at a random place; the others' records are as before."""
    draw = random.Random(SEED)  # noqa: S311 - no secret
    print(f"seed {SEED}")
    faults = ("v1", "v2", "v3")
    cases = {name: case_source(faults, WITNESS) for name in NAMES}
    (tmp_path / "before").mkdir()
    before = _compared(
        make_planted_task(tmp_path / "before", old_environment, cases, dict.fromkeys(NAMES, faults)), old_environment
    )
    assert {one["outcome"] for one in before.values()} == {"passed"}
    for number in range(3):
        name, patches = draw.choice(NAMES), draw.choice(faults)
        print(f"round {number}: {name}, patches in {patches}")
        planted = case_source(faults, WITNESS + CONTAMINATE.replace("PATCHES", repr(patches)))
        folder = tmp_path / str(number)
        folder.mkdir()
        task = make_planted_task(folder, old_environment, {**cases, name: planted}, dict.fromkeys(NAMES, faults))
        after = _compared(task, old_environment)
        others = {key for key in before if not key.startswith(name)}
        assert {key: after[key] for key in others} == {key: before[key] for key in others}
        # In its own file everything is put back but what it patched.
        unpatched = {f"{name}-{fault}" for fault in faults[: faults.index(patches) + 1]}
        assert {key: after[key] for key in unpatched} == {key: before[key] for key in unpatched}


def _compared(task: Task, environment: Environment) -> Mapping[str, Any]:
    folder = Path(task.job.output).parent
    written = measure(task, environment, folder)
    return {
        key: {name: value for name, value in one.items() if name not in {"time", "duration_s", "latency"}}
        for key, one in written.items()
    }


def test_the_benchmarks_of_all_case_files_are_in_one_file(old_environment: Environment, tmp_path: Path) -> None:
    """The timings of each case file are added to those of the ones before, in pytest-benchmark's format."""
    source = case_source(["x", "y"], "def check(trial, benchmark): benchmark.pedantic(sum, args=([1],), rounds=3)")
    names = ("first", "second")
    task = make_planted_task(tmp_path, old_environment, dict.fromkeys(names, source), dict.fromkeys(names, ("x", "y")))
    written = measure(task, old_environment, tmp_path)
    assert {one["outcome"] for one in written.values()} == {"passed"}
    whole = json.loads((tmp_path / "b.json").read_text(encoding="utf-8"))
    modules = [one["fullname"].partition(".py")[0] for one in whole["benchmarks"]]
    assert modules == ["first", "first", "second", "second"]
