"""Strategies of our own: versions, cells, records."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from harness.interface import Outcome

versions = st.builds(lambda a, b, c: f"{a}.{b}.{c}", st.integers(0, 9), st.integers(0, 60), st.integers(0, 9))
outcomes = st.sampled_from([str(outcome) for outcome in Outcome])
variants = st.fixed_dictionaries(
    {
        "model": st.sampled_from(["llama", "bloom"]),
        "method": st.sampled_from(["prefix_tuning", "p_tuning"]),
        "device": st.just("cpu"),
        "dtype": st.just("float32"),
    }
)


@st.composite
def records(draw: st.DrawFn, case: str = "planted") -> dict[str, Any]:
    """Draw a record of a planted case, whole enough for the judge."""
    packages = {name: draw(versions) for name in ("peft", "transformers", "torch")}
    return {
        "schema": 1,
        "key": draw(st.uuids()).hex,
        "run": "r",
        "time": "2026-11-21T00:00:00Z",
        "machine": {},
        "cell": {"id": f"peft{packages['peft']}", "python": "3.11", "packages": packages},
        "case": case,
        "document": None,
        "variant": draw(variants),
        "outcome": draw(outcomes),
        "signature": draw(st.none() | st.text(max_size=20)),
        "message": draw(st.none() | st.text(max_size=20)),
        "evidence": {},
        "counters": {},
        "latency": {},
        "duration_s": 0.1,
    }
