"""The front door: ``nox -s matrix`` measures, ``nox -s tests`` tests, ``nox -l`` tells the rest.

Each session is a few lines that call the harness. Environments of cells belong to the harness,
not to nox: bisect and ``python -m harness run`` use the same ones.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import nox

ROOT = Path(__file__).parent
sys.path.insert(0, str(ROOT))

from harness.environments.index import pip_settings, translate  # noqa: E402
from harness.errors import HarnessError  # noqa: E402
from harness.matrix.cases import load_cases  # noqa: E402 - the noxfile reads the matrix from here
from harness.matrix.read import load_matrix  # noqa: E402
from harness.paths import reports_folder  # noqa: E402
from harness.run.pipeline import unmeasured_bases  # noqa: E402

nox.needs_version = ">=2026.8.10"
nox.options.sessions = ["matrix"]
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.reuse_venv = "yes"
nox.options.error_on_missing_interpreters = True
nox.options.parallel = os.cpu_count() or 1

MATRIX_NAME = os.environ.setdefault("PROMPT_BENCH_MATRIX", "documented")
try:
    MATRIX = load_matrix(MATRIX_NAME)
    # Bases whose every variant is known need no session, unless options ask for something else.
    WANTED_BASES = MATRIX.bases if "--" in sys.argv else unmeasured_bases(MATRIX, load_cases())
except HarnessError as refusal:
    print(refusal, file=sys.stderr)
    sys.exit(int(refusal.exit_status))

# Sessions that run side by side are processes of their own; the name of the run is theirs in common.
os.environ.setdefault("PROMPT_BENCH_RUN_NAMED", "yes" if "PROMPT_BENCH_RUN" in os.environ else "")
RUN = os.environ.setdefault("PROMPT_BENCH_RUN", f"{MATRIX.name}-{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}")

if os.environ.setdefault("PROMPT_BENCH_INDEX", "") != "carried":
    for name, value in translate(pip_settings()).items():
        os.environ.setdefault(name, value)
    os.environ["PROMPT_BENCH_INDEX"] = "carried"

PROJECT = nox.project.load_toml("pyproject.toml")
HARNESS_PYTHON = ROOT / ".nox" / "harness" / ("Scripts" if os.name == "nt" else "bin") / "python"


def harness(session: nox.Session, *arguments: str) -> None:
    """Run a command of the harness with the interpreter that the session ``harness`` made."""
    session.run(str(HARNESS_PYTHON), "-m", "harness", *arguments, external=True)


@nox.session(name="harness", allow_parallel=True)
def harness_environment(session: nox.Session) -> None:
    """Install what the harness itself needs (the others require this)."""
    session.install(*PROJECT["project"]["dependencies"])


@nox.session(venv_backend="none", requires=["harness"], allow_parallel=True)
@nox.parametrize("base", [nox.param(base, id=base) for base in MATRIX.bases])
def base(session: nox.Session, base: str) -> None:
    """Measure the cells of the matrix that stand on one base."""
    harness(session, "run", MATRIX_NAME, "--base", base, "--run-id", RUN, "--jobs", "1", "--quiet", *session.posargs)


@nox.session(venv_backend="none", requires=["harness", *(f"base({base})" for base in WANTED_BASES)])
def matrix(session: nox.Session) -> None:
    """Measure the whole matrix, draw the report, and judge it: the main job."""
    harness(session, "run", MATRIX_NAME, "--run-id", RUN, "--quiet", *session.posargs)
    harness(session, "report", RUN)
    harness(session, "gate", RUN)


@nox.session(venv_backend="none", requires=["harness"], default=False)
def merge(session: nox.Session) -> None:
    """Join the runs named shard-* into one and draw the report (the nightly's last steps)."""
    shards = sorted(path.name for path in (reports_folder() / "runs").glob("shard-*"))
    if not shards:
        session.error("no reports/runs/shard-*; measure with PROMPT_BENCH_RUN=shard-1 nox -s 'base(...)'")
    harness(session, "merge", *shards, "--run-id", RUN, "--matrix", MATRIX_NAME)
    harness(session, "report", RUN)


@nox.session(venv_backend="none", requires=["harness"], default=False)
def gate(session: nox.Session) -> None:
    """Judge a run (the newest one without PROMPT_BENCH_RUN): fails when a verdict needs a person."""
    harness(session, "gate", *(session.posargs or ([RUN] if os.environ["PROMPT_BENCH_RUN_NAMED"] else [])))


@nox.session(venv_backend="none", requires=["harness"], default=False)
def claims(session: nox.Session) -> None:
    """Print what the documents claim: confirmed, refuted or untested, with the cells that decide it."""
    harness(session, "claims", *session.posargs)


@nox.session(venv_backend="none", requires=["harness"], default=False)
def proof(session: nox.Session) -> None:
    """Prove on 20 cells of the grid that layered and plain environments give the same records."""
    harness(session, "prove", "grid", "--cells", "20", *session.posargs)


@nox.session(venv_backend="none", requires=["harness"], default=False)
def steady(session: nox.Session) -> None:
    """Measure the oldest and the newest cells three times: every variant must come out alike (ten minutes)."""
    harness(session, "steady", *(session.posargs or ["documented", "library", "families"]))


@nox.session(venv_backend="none", requires=["harness"], default=False)
def baseline(session: nox.Session) -> None:
    """Measure the grid afresh, and 20 of its cells with one nox session each: the ratio (half an hour)."""
    harness(session, "baseline", "grid", *session.posargs)


@nox.session(default=False)
def kills(session: nox.Session) -> None:
    """Kill 40 runs at random moments: no finished record is lost, none is measured twice."""
    session.install(*PROJECT["project"]["dependencies"], *nox.project.dependency_groups(PROJECT, "tests"))
    session.run("python", "-m", "pytest", "tests/test_kill.py", "-s", env={"PROMPT_BENCH_KILLS": "40"})


@nox.session(name="repro-check", venv_backend="none", requires=["harness"], default=False)
def repro_check(session: nox.Session) -> None:
    """Run the scripts of fifteen known defects with uv, and hold each against its record."""
    harness(session, "repro-check", MATRIX_NAME, *session.posargs)


@nox.session(allow_parallel=True)
def tests(session: nox.Session) -> None:
    """Test the harness itself, end to end with a real old release."""
    session.install(*PROJECT["project"]["dependencies"], *nox.project.dependency_groups(PROJECT, "tests"))
    session.run("python", "-m", "pytest", *(session.posargs or ["tests"]))


@nox.session(allow_parallel=True)
def lint(session: nox.Session) -> None:
    """Check style, types, layers and the wall, windows against the references, and that each case is whole."""
    session.install(*PROJECT["project"]["dependencies"], *nox.project.dependency_groups(PROJECT, "tests", "lint"))
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("mypy")
    session.run("lint-imports")
    session.run("python", "-m", "harness", "check")
    session.run("python", "-m", "harness", "catalogue")


@nox.session(venv_backend="none", requires=["harness"])
def plan(session: nox.Session) -> None:
    """List the cells of the matrix, cached or not, and what a run would cost."""
    harness(session, "plan", MATRIX_NAME, *session.posargs)


@nox.session(venv_backend="none", requires=["harness"], default=False)
def bisect(session: nox.Session) -> None:
    """Find the release, the package and the commit: nox -s bisect -- --case CASE --axis PACKAGE."""
    harness(session, "bisect", *session.posargs)


@nox.session(venv_backend="none", requires=["harness"], default=False)
def compare(session: nox.Session) -> None:
    """Hold two cells side by side: nox -s compare -- CELL CELL."""
    harness(session, "compare", *session.posargs)


@nox.session(venv_backend="none", requires=["harness"], default=False)
def calibrate(session: nox.Session) -> None:
    """State the false alarms of compare on this machine, and the smallest slowdown it finds (half an hour)."""
    harness(session, "calibrate", *session.posargs)


@nox.session(venv_backend="none", requires=["harness"], default=False)
def watch(session: nox.Session) -> None:
    """Hold the run against earlier ones; what looks slower is measured again before it is told."""
    named = ["--run", RUN] if os.environ["PROMPT_BENCH_RUN_NAMED"] else []
    harness(session, "watch", MATRIX_NAME, *named, *session.posargs)
