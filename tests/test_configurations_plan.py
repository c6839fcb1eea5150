"""The pairwise plan of configurations: committed data, held against what a covering array is."""

from __future__ import annotations

import itertools
import json

import pytest

from harness.matrix.cases import load_cases
from harness.paths import ROOT

PLAN = json.loads((ROOT / "cases" / "plans" / "configurations.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("pair", itertools.combinations(PLAN["axes"], 2), ids="-".join)
def test_every_pair_of_settings_is_in_a_row(pair: tuple[str, str]) -> None:
    """Each pair that may stand together stands in some row, and one that may not in none."""
    found = {(row[pair[0]], row[pair[1]]) for row in PLAN["rows"]}
    apart = {(one[pair[0]], one[pair[1]]) for one in PLAN["excluded"] if one.keys() == set(pair)}
    assert found == set(itertools.product(PLAN["axes"][pair[0]], PLAN["axes"][pair[1]])) - apart


def test_the_case_runs_each_row() -> None:
    """The case's axis has the numbers of all rows: what is planned is measured."""
    (case,) = (one for one in load_cases() if one.name == "configurations")
    assert {variant["row"] for variant in case.variants} == {f"{index:02}" for index in range(len(PLAN["rows"]))}
