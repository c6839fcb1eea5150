"""The front door: ``nox -s matrix`` measures, ``nox -s tests`` tests, ``nox -l`` tells the rest.

Each session is a few lines that call the harness. Environments of cells belong to the harness,
not to nox: bisect and ``prompt-bench run`` use the same ones.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import nox

ROOT = Path(__file__).parent
HARNESS_PYTHON = ROOT / ".nox" / "harness" / ("Scripts" if os.name == "nt" else "bin") / "python"
sys.path.insert(0, str(ROOT))

from harness.errors import ExitStatus, HarnessError  # noqa: E402 - the noxfile reads the matrix from here
from harness.matrix.read import load_matrix  # noqa: E402

nox.needs_version = ">=2026.8.10"
nox.options.sessions = ["matrix"]
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.reuse_venv = "yes"
nox.options.error_on_missing_interpreters = True
nox.options.parallel = os.cpu_count() or 1


def may_run_the_matrix() -> bool:
    """Return whether this nox may run the session ``matrix``: it is named or nothing is, and nox does more than list.

    A listing, and a process that nox starts for another session, need not know what is measured already. A wrong
    answer costs time alone: a look into the store, or sessions of bases that have nothing to measure.
    """
    words = sys.argv[1 : sys.argv.index("--")] if "--" in sys.argv else sys.argv[1:]
    if {"-l", "--list", "--list-sessions", "--json"} & set(words):
        return False
    named = [word for word in (*words, os.environ.get("NOXSESSION", "")) if "matrix" in word]
    chosen = "NOXSESSION" in os.environ or any(word.startswith(("-s", "-e", "--session")) for word in words)
    return bool(named) or not chosen


UNMEASURED = """
import sys
from harness.matrix.cases import load_cases
from harness.matrix.read import load_matrix
from harness.run.pipeline import unmeasured_bases
print(*unmeasured_bases(load_matrix(sys.argv[1]), load_cases()), sep="\\n")
"""
"""Reads records, and so needs what the session ``harness`` installs: nox itself has only its own packages."""


def wanted_bases() -> tuple[str, ...]:
    """Return the bases that the session ``matrix`` requires: bases whose every variant is known need no session.

    All of them where the environment of the harness is not there yet, or is one that this version cannot use.
    """
    if "--" in sys.argv or not may_run_the_matrix() or not HARNESS_PYTHON.is_file():
        return MATRIX.bases
    command = [str(HARNESS_PYTHON), "-c", UNMEASURED, MATRIX_NAME]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)  # noqa: S603 - this very project
    return tuple(done.stdout.split()) if done.returncode == 0 else MATRIX.bases


MATRIX_NAME = os.environ.setdefault("PROMPT_BENCH_MATRIX", "documented")
try:
    MATRIX = load_matrix(MATRIX_NAME)
    WANTED_BASES = wanted_bases()
except HarnessError as refusal:
    print(refusal, file=sys.stderr)
    sys.exit(int(refusal.exit_status))

# Sessions that run side by side are processes of their own; the name of the run is theirs in common.
RUN = os.environ.get("PROMPT_BENCH_RUN") or f"{MATRIX.name}-{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}"
os.environ["PROMPT_BENCH_RUN"] = RUN

PROJECT = nox.project.load_toml("pyproject.toml")


def carry_pip_settings() -> None:
    """Let uv ask where pip does; what uv was told itself wins."""
    from harness.environments.index import CARRIED, pip_settings, translate

    if os.environ.get(CARRIED) != "carried":
        for name, value in translate(pip_settings()).items():
            os.environ.setdefault(name, value)
        os.environ[CARRIED] = "carried"


def install(session: nox.Session, *groups: str) -> None:
    """Install what the harness needs, and groups of dependencies, into the environment of a session."""
    carry_pip_settings()
    session.install(*PROJECT["project"]["dependencies"], *nox.project.dependency_groups(PROJECT, *groups))


def harness(session: nox.Session, *arguments: str, module: str = "harness", also_good: tuple[int, ...] = ()) -> None:
    """Run a command of the harness with the interpreter that the session ``harness`` made.

    Exit statuses in ``also_good`` do not fail the session.
    """
    carry_pip_settings()
    session.run(
        str(HARNESS_PYTHON),
        "-m",
        module,
        *arguments,
        external=True,
        success_codes=[int(ExitStatus.AS_EXPECTED), *also_good],
    )


def selfcheck(session: nox.Session, *arguments: str) -> None:
    """Run a self-check in the same way."""
    harness(session, *arguments, module="harness.selfcheck")


@nox.session(name="harness", allow_parallel=True)
def harness_environment(session: nox.Session) -> None:
    """Install what the harness itself needs (the others require this)."""
    install(session)


@nox.session(venv_backend="none", requires=["harness"])
def pythons(session: nox.Session) -> None:
    """Find or fetch the Pythons of the matrix: where one is missing that is said once, and no base begins."""
    words = session.posargs
    chosen = words[words.index("--python") :][:2] if "--python" in words else []
    harness(session, "admin", "pythons", MATRIX_NAME, *chosen)


@nox.session(venv_backend="none", requires=["pythons"], allow_parallel=True)
@nox.parametrize("base", [nox.param(base, id=base) for base in MATRIX.bases])
def base(session: nox.Session, base: str) -> None:
    """Measure the cells of the matrix that stand on one base."""
    arguments = ["run", MATRIX_NAME, "--base", base, "--run-id", RUN, "--jobs", "1", "--quiet", *session.posargs]
    # Whether other bases have measured something is for the session `matrix` to say.
    harness(session, *arguments, also_good=(int(ExitStatus.NOTHING_MEASURED),))


@nox.session(venv_backend="none", requires=["harness", *(f"base({base})" for base in WANTED_BASES)])
def matrix(session: nox.Session) -> None:
    """Measure the whole matrix, draw the report, and judge it: the main job."""
    harness(session, "run", MATRIX_NAME, "--run-id", RUN, "--report", *session.posargs)


@nox.session(venv_backend="none", requires=["harness"], default=False)
def proof(session: nox.Session) -> None:
    """Prove on 20 cells of the grid that layered and plain environments give the same records."""
    selfcheck(session, "proof", "grid", "--cells", "20", *session.posargs)


@nox.session(venv_backend="none", requires=["harness"], default=False)
def steady(session: nox.Session) -> None:
    """Measure the oldest and the newest cells three times: every variant must come out alike (ten minutes)."""
    selfcheck(session, "steady", *(session.posargs or ["documented", "library", "families"]))


@nox.session(venv_backend="none", requires=["harness"], default=False)
def baseline(session: nox.Session) -> None:
    """Measure the grid afresh, and 20 of its cells with one nox session each: the ratio (half an hour)."""
    selfcheck(session, "baseline", "grid", *session.posargs)


@nox.session(venv_backend="none", requires=["harness"], default=False)
def calibrate(session: nox.Session) -> None:
    """State the false alarms of compare on this machine, and the smallest slowdown it finds (half an hour)."""
    selfcheck(session, "calibrate", *session.posargs)


@nox.session(default=False)
def kills(session: nox.Session) -> None:
    """Kill 100 runs at random moments: no finished record is lost, none measured twice, nothing left (an hour)."""
    install(session, "tests")
    session.run("python", "-m", "pytest", "tests/test_kill.py", "-s", env={"PROMPT_BENCH_KILLS": "100"})


@nox.session(venv_backend="none", requires=["harness"], default=False)
def fuzz(session: nox.Session) -> None:
    """Feed 10,000 broken matrix files and 10,000 broken shards to their readers: no traceback (15 minutes)."""
    selfcheck(session, "fuzz", *session.posargs)


@nox.session(venv_backend="none", requires=["harness"], default=False)
def history(session: nox.Session) -> None:
    """Hold forty real commits of PEFT against their parents, and write docs/history.md (an hour)."""
    selfcheck(session, "history", "--write", *session.posargs)


@nox.session(venv_backend="none", requires=["harness"], default=False)
def mutants(session: nox.Session) -> None:
    """Plant faults in copies of three releases of PEFT: each must be seen by an oracle (an hour)."""
    selfcheck(session, "mutants", *session.posargs)


@nox.session(venv_backend="none", requires=["harness"], default=False)
def frozen(session: nox.Session) -> None:
    """Make the adapters and answers that are kept again, in the releases that they are of, and compare (a minute)."""
    selfcheck(session, "frozen", *session.posargs)


@nox.session(venv_backend="none", requires=["harness"], default=False)
def rehearsal(session: nox.Session) -> None:
    """Rehearse nights as the workflows run them, job by job: a release breaks, a shard dies, issues open and close."""
    selfcheck(session, "rehearsal", *session.posargs)


@nox.session(default=False)
def page(session: nox.Session) -> None:
    """Use the page of a run and the site in headless Chromium (CHROMIUM names it), and hold them against axe-core."""
    install(session, "page")
    session.run("python", "-m", "harness.selfcheck", "page", *session.posargs)


@nox.session(venv_backend="none", requires=["harness"], default=False)
def load(session: nox.Session) -> None:
    """Take 100,000 made-up records into the store and draw their report: time, memory and sizes within bounds."""
    selfcheck(session, "load", *session.posargs)


@nox.session(name="repro-check", venv_backend="none", requires=["harness"], default=False)
def repro_check(session: nox.Session) -> None:
    """Run the scripts of fifteen known defects with uv, and hold each against its record."""
    selfcheck(session, "repro-check", MATRIX_NAME, *session.posargs)


@nox.session(allow_parallel=True)
def tests(session: nox.Session) -> None:
    """Test the harness itself, end to end with a real old release."""
    install(session, "tests")
    # What a file's tests share is made once, and files go to processes.
    everything = ["tests", "-m", "not slow", "--numprocesses", str(os.cpu_count() or 1), "--dist", "loadfile"]
    session.run("python", "-m", "pytest", *(session.posargs or everything))


@nox.session(name="slow-tests", default=False)
def slow_tests(session: nox.Session) -> None:
    """Test what takes long: kills, hostile cases, full disks, all scripts, all examples of the help (half an hour)."""
    install(session, "tests")
    session.run("python", "-m", "pytest", *(session.posargs or ["tests", "-m", "slow"]))


@nox.session(allow_parallel=True)
def lint(session: nox.Session) -> None:
    """Check style, types, layers and the wall, windows against the references, and that each case is whole."""
    install(session, "tests", "lint")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("mypy")
    session.run("lint-imports")
    session.run("zizmor", "--offline", "--quiet", ".github")
    session.run("python", "-m", "harness", "cases", "check")
    session.run("python", "-m", "harness", "cases", "catalogue")
