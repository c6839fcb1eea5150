"""Short scripts: a page at most, nothing undefined, accepted only where they show what the case shows."""

from __future__ import annotations

import ast
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from harness.environments.resolve import Lock
from harness.interface import variant_id
from harness.matrix.cases import find_case, load_cases
from harness.repro.execute import Seen, run_scripts, seen_of_short
from harness.repro.pytest_form import patch
from harness.repro.short import MOST_LINES, families, short_script, template_of
from harness.repro.verify import same, verified

if TYPE_CHECKING:
    from pathlib import Path

    from harness.environments.build import Environment

CASES = {case.name: case for case in load_cases()}
LOCK = Lock(
    pins=("accelerate==1.0.0", "numpy==1.26.4", "peft==0.13.0", "sentence-transformers==3.1.1", "torch==2.13.0",
          "transformers==4.45.1")
)  # fmt: skip
TEMPLATED = [(name, variant) for name, case in CASES.items() for variant in case.variants if template_of(name, variant)]


def written(name: str, **variant: str) -> str:
    """Write the short script of a variant that has one."""
    text = short_script(CASES[name], variant, LOCK, "3.11")
    assert text is not None
    return text


def test_every_short_script_is_a_page_of_sound_python(tmp_path: Path) -> None:
    """At most forty lines, nothing of the project, no name undefined, no place left unfilled."""
    count = 0
    for name, variant in TEMPLATED:
        text = short_script(CASES[name], variant, LOCK, "3.11")
        if text is None:
            continue
        count += 1
        assert len(text.splitlines()) <= MOST_LINES
        imported = {
            one.name for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Import) for one in node.names
        }
        assert imported <= {"pathlib", "tempfile", "peft", "sentence_transformers", "torch", "transformers"}
        (tmp_path / f"{name}_{variant_id(variant)}.py".replace("/", "_")).write_text(text, encoding="utf-8")
    command = [sys.executable, "-m", "ruff", "check", "--isolated", "--select", "F82,F811,E9", "-q", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout == ""
    assert count > 300


def test_families_are_those_of_the_kit() -> None:
    """Read without torch, each with its config and what LoRA is put on."""
    assert families()["llama"]["config"] == "LlamaConfig"
    assert families()["llama"]["options"]["vocab_size"] == 64
    assert families()["t5"]["targets"] == ["q", "v"]


def test_the_same_is_outcome_and_signature() -> None:
    """Another signature, another outcome, and what the whole script could not tell are not the same."""
    error = Seen(outcome="error", signature="KeyError: 'x' @ peft.m:f", words="w", status=1)
    assert same(error, error)
    assert not same(error, Seen(outcome="error", signature="KeyError: 'y' @ peft.m:f", words="w", status=1))
    assert not same(error, Seen(outcome="wrong", signature=None, words="w", status=1))
    unsupported = Seen(outcome="unsupported", signature=None, words="w", status=2)
    assert not same(unsupported, unsupported)


def test_the_patch_adds_a_test_that_fails_as_the_script_does(tmp_path: Path) -> None:
    """`git apply` takes it in an empty checkout; it is one method of a class, with the script's assertion in it."""
    text = written("generate_with_cache", model="llama", method="prefix_tuning", aspect="cached")
    diff = patch(text, "generate_with_cache:llama-prefix_tuning-cached")
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    subprocess.run(["git", "apply", "-"], cwd=tmp_path, input=diff, text=True, check=True)
    (path,) = (tmp_path / "tests").glob("test_*.py")
    assert path.name == "test_generate_with_cache_llama_prefix_tuning_cached.py"
    (made,) = [node for node in ast.parse(path.read_text()).body if isinstance(node, ast.ClassDef)]
    (method,) = made.body
    assert isinstance(method, ast.FunctionDef)
    assert method.name.startswith("test_")
    assert any(isinstance(node, ast.Assert) for node in ast.walk(method))


@pytest.mark.parametrize(
    ("model", "method", "outcome"),
    [
        ("bloom", "prompt_tuning", "error"),
        ("llama", "prefix_tuning", "wrong"),
        ("gpt2", "prompt_tuning", "passed"),
        ("llama", "lora", "passed"),
    ],
)
def test_short_scripts_say_what_the_cases_say(
    old_environment: Environment, tmp_path: Path, model: str, method: str, outcome: str
) -> None:
    """On a real release: the error of Bloom, the lost prefix of Llama, and two that are right."""
    path = tmp_path / "short.py"
    path.write_text(written("generate_with_cache", model=model, method=method, aspect="cached"), encoding="utf-8")
    (status,) = run_scripts([path], old_environment)
    seen = seen_of_short(path, status)
    assert seen.outcome == outcome, seen
    if outcome == "error":
        assert "BloomAttention.forward" in str(seen.signature)


def test_a_short_script_that_shows_something_else_is_refused(old_environment: Environment, tmp_path: Path) -> None:
    """Held against a whole script that ends in another error, none of the seeds is taken, and it is said why."""
    whole = (
        'print("seen: error: KeyError: planted")\nprint("signature: KeyError: planted @ peft:f")\nraise SystemExit(1)\n'
    )
    case = find_case(load_cases(), "generate_with_cache")
    variant = {"model": "bloom", "method": "prompt_tuning", "aspect": "cached"}
    found = verified(case, variant, LOCK, "3.11", environment=old_environment, whole=whole, folder=tmp_path / "scripts")
    assert found.text is None
    assert "where the case shows error: KeyError: planted" in found.why
