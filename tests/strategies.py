"""Strategies of our own: versions, cells, records."""

from __future__ import annotations

from hypothesis import strategies as st

from harness.contracts.record import CellFacts, VariantRecord
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
def records(draw: st.DrawFn, case: str = "planted") -> VariantRecord:
    """Draw a record of a planted case, whole enough for the judge."""
    packages = {name: draw(versions) for name in ("peft", "transformers", "torch")}
    return VariantRecord(
        run="r",
        time="2026-11-21T00:00:00Z",
        cell=CellFacts(id=f"peft{packages['peft']}", python="3.11", packages=packages),
        key=draw(st.uuids()).hex,
        case=case,
        variant=draw(variants),
        outcome=Outcome(draw(outcomes)),
        signature=draw(st.none() | st.text(max_size=20)),
        message=draw(st.none() | st.text(max_size=20)),
        duration_s=0.1,
    )
