"""The versions of an environment, a requirements file and lock files, and the answer for that pair."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from harness.cli import cli
from harness.environments.installed import read_installed
from harness.errors import HarnessError, UsageError
from harness.paths import ROOT

if TYPE_CHECKING:
    from pathlib import Path

BAD = {"peft": "==0.21.2", "transformers": "==5.24.0"}
FILES = {
    "requirements.txt": (
        "# ours\n-r other.txt\n--extra-index-url https://x\npeft==0.21.2 \\\n    --hash=sha256:ab # why\n"
        "Transformers[torch] == 5.24.0 ; python_version > '3.8'\nsomething @ https://example.org/x.whl\n"
    ),
    "pylock.toml": (
        'lock-version = "1.0"\n[[packages]]\nname = "peft"\nversion = "0.21.2"\n'
        '[[packages]]\nname = "transformers"\nversion = "5.24.0"\n[[packages]]\nname = "local"\n'
    ),
    "uv.lock": (
        'version = 1\n[[package]]\nname = "peft"\nversion = "0.21.2"\n'
        '[[package]]\nname = "transformers"\nversion = "5.24.0"\nsource = { registry = "x" }\n'
    ),
    "pyproject.toml": '[project]\nname = "x"\ndependencies = ["peft==0.21.2", "transformers==5.24.0"]\n',
    "Pipfile.lock": json.dumps({"default": {"peft": {"version": "==0.21.2"}, "transformers": {"version": "==5.24.0"}}}),
}


@pytest.fixture(autouse=True)
def without_a_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What this machine measured by itself does not answer here."""
    monkeypatch.setenv("PROMPT_BENCH_REPORTS", str(tmp_path / "reports"))


def environment(folder: Path, versions: dict[str, str]) -> Path:
    """Write what an installer leaves of packages, and nothing that could be imported."""
    for name, version in versions.items():
        info = folder / "lib" / "python3.12" / "site-packages" / f"{name}-{version}.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n", encoding="utf-8")
    return folder


@pytest.mark.parametrize("name", FILES)
def test_pins_are_read_from_each_kind_of_file(tmp_path: Path, name: str) -> None:
    """The same two pins, whatever else stands there."""
    path = tmp_path / name
    path.write_text(FILES[name], encoding="utf-8")
    assert read_installed(str(path)).specifiers == BAD


def test_the_active_environment_is_read_without_importing_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The one that is activated, not the one that runs this; the build of a release does not count."""
    folder = environment(tmp_path / "venv", {"peft": "0.21.2", "transformers": "5.24.0", "torch": "2.13.0+cpu"})
    monkeypatch.setenv("VIRTUAL_ENV", str(folder))
    found = read_installed("")
    assert found.specifiers == {**BAD, "torch": "==2.13.0"}
    assert found.where == str(folder)


@pytest.mark.parametrize(
    ("text", "words"),
    [("torch==2.13.0\n", "no peft and no transformers in"), ("peft==0.13.2\n", "no transformers in")],
)
def test_a_file_without_the_packages_is_refused(tmp_path: Path, text: str, words: str) -> None:
    """One line that says what to name instead."""
    path = tmp_path / "requirements.txt"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UsageError, match=words):
        read_installed(str(path))
    with pytest.raises(UsageError, match="cannot be read"):
        read_installed(str(tmp_path / "nothing.txt"))


@pytest.mark.parametrize("text", ["{", "[]]", '{"default": 1}', 'package = 3\npeft = "1"'])
@pytest.mark.parametrize("name", ["pylock.toml", "Pipfile.lock", "uv.lock", "requirements.txt"])
def test_what_is_no_such_file_is_refused_in_a_line(tmp_path: Path, name: str, text: str) -> None:
    """Whatever stands in it: no traceback."""
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    with pytest.raises(HarnessError):
        read_installed(str(path))


@pytest.mark.parametrize(
    ("pins", "status", "first"),
    [
        ("peft==0.21.2\ntransformers==5.24.0", 1, "Not safe: prompt learning is silently wrong with peft 0.21.2 and"),
        (
            "peft==0.21.2\ntransformers==5.23.0",
            0,
            "Safe: prompt learning works with peft 0.21.2 and transformers 5.23.0",
        ),
        (
            "peft==0.14.0\ntransformers==5.2.0",
            1,
            "Not safe: prefix tuning raises with peft 0.14.0 and transformers 5.2.0",
        ),
        (
            "peft==0.17.1\ntransformers==4.56.1",
            0,
            "Probably safe: peft 0.17.1 and transformers 4.56.1 were not measured",
        ),
        ("peft==0.13.2\ntransformers==4.56.1", 1, "Probably not safe: prompt learning"),
        ("peft==0.99.0\ntransformers==9.0.0", 3, "Not known: peft 0.99.0 and transformers 9.0.0"),
        ("peft==0.17.1\ntransformers>=4.56,<5", 0, "Use transformers 4.56.2 to 4.57.6 with peft 0.17.1"),
    ],
)
def test_is_this_pair_safe(tmp_path: Path, pins: str, status: int, first: str) -> None:
    """The ninth question: the first line says it, the pin that mends it follows, and the exit status tells a script."""
    path = tmp_path / "r.txt"
    path.write_text(pins, encoding="utf-8")
    done = CliRunner().invoke(cli, ["advise", "--installed", str(path)])
    lines = done.output.splitlines()
    assert " ".join(map(str.strip, lines)).startswith(first)
    assert len(lines) <= 12
    assert done.exit_code == status
    if "5.24.0" in pins:
        assert "Pin transformers==5.23.0: the nearest that was measured and works." in lines


def test_the_active_environment_is_asked_without_torch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing heavy is imported to answer."""
    monkeypatch.setenv("VIRTUAL_ENV", str(environment(tmp_path / "venv", {"peft": "0.21.2", "transformers": "5.24.0"})))
    code = (
        "import sys; from click.testing import CliRunner; from harness.cli import cli;"
        "done = CliRunner().invoke(cli, ['advise', '--installed']); print(done.output);"
        "print('torch' in sys.modules, 'transformers' in sys.modules, done.exit_code)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.startswith("Not safe: ")
    assert done.stdout.splitlines()[-1] == "False False 1"
