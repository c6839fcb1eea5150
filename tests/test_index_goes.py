"""The index goes away in the middle of a run: what it cannot give is said, and measured when it is back."""

from __future__ import annotations

import http.server
import os
import threading
import zipfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from harness.contracts.records import read_run, variants_in
from harness.environments.build import build_overlay
from harness.environments.resolve import Lock, resolve
from harness.interface import CellState
from harness.judge.summary import summarise
from harness.matrix.cases import load_cases
from harness.matrix.plan import Selection, plan_run
from harness.matrix.read import parse_matrix
from harness.paths import cache_folder
from harness.run.pipeline import How, run_matrix
from harness.run.runs import Run
from tests.conftest import OLD_CELL

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.slow

MATRIX = """
[matrix]
title = "Two releases on one base"
torch = "2.13.0"
latency = false
cases = ["generate_with_cache:llama"]

[[cell]]
why = "the first to be installed"
peft = "0.13.0"
transformers = "4.45.1"

[[cell]]
why = "the second"
peft = "0.14.0"
transformers = "4.45.1"
"""
RELEASES = ("0.13.0", "0.14.0")


@contextmanager
def wheel_index(folder: Path, *, gone_at: str = "") -> Iterator[str]:
    """Serve the wheels of a folder; stop, without an answer, when a file with ``gone_at`` in its name is asked for."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if gone_at and gone_at in self.path:
                # From now on nobody listens on the port.
                server.socket.close()
                self.close_connection = True
                return
            path = folder / Path(self.path).name
            if path.suffix == ".whl":
                answer, kind = path.read_bytes(), "application/zip"
            else:
                links = (f'<a href="/{path.name}">{path.name}</a>' for path in sorted(folder.glob("*.whl")))
                answer, kind = "\n".join(links).encode(), "text/html"
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    url = f"http://127.0.0.1:{server.server_port}/simple"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield url
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(scope="module")
def lock() -> Lock:
    """Resolve the first cell with the real index."""
    answer = resolve(OLD_CELL)
    assert isinstance(answer, Lock)
    return answer


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make wheels again of real releases of peft, of what was installed from them."""
    folder = tmp_path_factory.mktemp("wheels")
    for release in RELEASES:
        overlay = build_overlay(f"peft=={release}", "3.11")
        with zipfile.ZipFile(folder / f"peft-{release}-py3-none-any.whl", "w") as wheel:
            for part in ("peft", f"peft-{release}.dist-info"):
                for path in sorted(one for one in (overlay / part).rglob("*") if one.is_file()):
                    if path.suffix != ".pyc" and path.name not in {"INSTALLER", "REQUESTED", "direct_url.json"}:
                        wheel.write(path, path.relative_to(overlay))
    return folder


@pytest.fixture
def _no_peft_yet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Set up a cache in which everything is built but peft, and no index but the test's."""
    real, cache = cache_folder(), tmp_path / "cache"
    cache.mkdir()
    for kind in ("bases", "layers", "tools"):
        (cache / kind).symlink_to(real / kind)
    for name in [name for name in os.environ if name.startswith(("UV_", "PIP_"))]:
        if name != "UV_TORCH_BACKEND":
            monkeypatch.delenv(name)
    monkeypatch.setattr("harness.environments.index.pip_settings", dict)
    for name, value in {
        "UV_NO_CONFIG": "1",
        "UV_HTTP_RETRIES": "0",
        "UV_CACHE_DIR": str(tmp_path / "uv"),
        "PROMPT_BENCH_CACHE": str(cache),
        # The bases are those of everybody.
        "PROMPT_BENCH_CACHE_GB": "1000000",
        "PROMPT_BENCH_REPORTS": str(tmp_path / "reports"),
    }.items():
        monkeypatch.setenv(name, value)


@pytest.mark.usefixtures("_no_peft_yet")
def test_an_index_that_goes_between_two_installs_costs_what_it_did_not_give(
    wheels: Path, lock: Lock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first cell is measured, the second unreachable; when the index is back, the run measures the second alone."""
    matrix, cases, run = parse_matrix(MATRIX, tmp_path / "two.toml"), load_cases(), Run(id="r")
    planned = plan_run(matrix, cases, Selection())
    locks = {
        one.cell: Lock(pins=tuple(pin.replace("peft==0.13.0", f"peft=={release}") for pin in lock.pins))
        for one, release in zip(planned, RELEASES, strict=True)
    }
    first, second = (one.cell.id for one in planned)
    with wheel_index(wheels, gone_at="peft-0.14.0") as url:
        monkeypatch.setenv("UV_DEFAULT_INDEX", url)
        run_matrix(matrix, cases, Selection(), run, How(locks=locks, jobs=1))
    before = list(variants_in(read_run(run.folder)))
    assert {one.cell.id for one in before} == {first}
    assert len(before) == len(planned[0].variants)
    cells = {cell.id: cell for cell in summarise(run, cases).cells}
    assert cells[first].state == CellState.READY
    assert cells[second].state == CellState.UNREACHABLE
    assert url.removesuffix("/simple") in cells[second].words
    with wheel_index(wheels) as url:
        monkeypatch.setenv("UV_DEFAULT_INDEX", url)
        run_matrix(matrix, cases, Selection(), run, How(locks=locks, jobs=1))
    records = read_run(run.folder)
    after = list(variants_in(records))
    assert after == records, "the state of the second cell is over"
    assert [one for one in after if one.cell.id == first] == before
    assert [one.cell.id for one in after].count(second) == len(planned[1].variants)
    lines = [line for path in (run.folder / "records").glob("*.jsonl") for line in path.read_bytes().splitlines()]
    assert len(lines) == len(after) + 1, "each variant once, and the state of the second cell"
    assert {cell.state for cell in summarise(run, cases).cells} == {CellState.READY}
