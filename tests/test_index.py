"""pip's settings reach uv; what leaks from the caller does not reach a cell."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from harness.environments.index import clean_environment, parse_pip_config, pip_settings, translate, uv_environment

if TYPE_CHECKING:
    import pytest


def test_pip_configuration_layers() -> None:
    """Files come before variables, and the command's own section before the global one."""
    text = """global.index-url='https://a.example/simple'
install.index-url='https://b.example/simple'
:env:.find-links='/wheels'
global.find-links='/old'
freeze.timeout='10'
"""
    assert parse_pip_config(text) == {"index-url": "https://b.example/simple", "find-links": "/wheels"}


def test_several_indexes_are_looked_at_as_one() -> None:
    """With extra indexes uv is told to behave as pip does."""
    settings = {"extra-index-url": "https://a.example/simple\nhttps://b.example/simple", "find-links": "/a /b"}
    assert translate(settings) == {
        "UV_INDEX": "https://a.example/simple https://b.example/simple",
        "UV_FIND_LINKS": "/a,/b",
        "UV_INDEX_STRATEGY": "unsafe-best-match",
    }


def test_a_variable_of_pip_reaches_uv(monkeypatch: pytest.MonkeyPatch) -> None:
    """PIP_FIND_LINKS, as a machine with its own wheels sets it, becomes UV_FIND_LINKS."""
    pip_settings.cache_clear()
    monkeypatch.setenv("PIP_FIND_LINKS", "/some/wheels")
    monkeypatch.delenv("UV_FIND_LINKS", raising=False)
    try:
        assert uv_environment()["UV_FIND_LINKS"] == "/some/wheels"
        assert uv_environment({"UV_FIND_LINKS": "/mine"})["UV_FIND_LINKS"] == "/mine"
    finally:
        pip_settings.cache_clear()


LEAKS = {"PYTHONPATH", "PYTHONDONTWRITEBYTECODE", "PYTEST_ADDOPTS", "PYTEST_XDIST_WORKER"}


@given(st.dictionaries(st.sampled_from(["PATH", "HOME", *sorted(LEAKS)]), st.text(max_size=5)))
def test_nothing_of_the_callers_python_leaks(environ: dict[str, str]) -> None:
    """Whatever is set, a cell gets no path, no switch and no pytest option of the caller's, and all the rest."""
    assert clean_environment(environ).keys() == environ.keys() - LEAKS
