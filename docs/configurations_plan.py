# /// script
# requires-python = ">=3.11"
# dependencies = ["covertable==3.2.0"]
# ///
"""Write the pairwise plan of ``cases/configurations.py``: ``uv run --no-project docs/configurations_plan.py``.

Every pair of settings that may stand together is in some row. covertable makes the rows, and the same ones each time.
"""

from __future__ import annotations

import json
from pathlib import Path

from covertable import make, sorters

AXES = {
    "texts": ("one", "equal", "unequal"),
    "padding": ("none", "left", "right"),
    "mask": ("given", "none"),
    "positions": ("given", "none"),
    "types": ("given", "none"),
    "dropout": ("0", "0.3"),
    "dtype": ("float32", "bfloat16"),
    "source": ("memory", "from_pretrained", "load_adapter", "in_place"),
    "adapters": ("one", "two"),
    "asked": ("forward", "generate", "generate_twice"),
    "before": ("eval", "train"),
}


EXCLUDED = (
    # Texts of unequal lengths have to be padded, and what is padded has to be masked.
    {"texts": "unequal", "padding": "none"},
    {"texts": "unequal", "mask": "none"},
    {"padding": "left", "mask": "none"},
    {"padding": "right", "mask": "none"},
    # generate goes on from the last place of a row, and counts positions itself.
    {"asked": "generate", "padding": "right"},
    {"asked": "generate_twice", "padding": "right"},
    {"asked": "generate", "positions": "given"},
    {"asked": "generate_twice", "positions": "given"},
)
"""Pairs of settings that cannot stand together."""


def plan() -> list[dict[str, str]]:
    """Make the rows."""
    apart = [
        {
            "operator": "or",
            "conditions": [{"left": axis, "operator": "ne", "value": value} for axis, value in pair.items()],
        }
        for pair in EXCLUDED
    ]
    rows = make({name: list(values) for name, values in AXES.items()}, sorter=sorters.hash, constraints=apart)
    return [{name: row[name] for name in AXES} for row in rows]


def main() -> None:
    """Write the plan beside the case."""
    target = Path(__file__).parents[1] / "cases" / "plans" / "configurations.json"
    lines = ",\n".join("    " + json.dumps(row) for row in plan())
    head = f'  "axes": {json.dumps(AXES)},\n  "excluded": {json.dumps(EXCLUDED)},\n'
    target.write_text(f'{{\n{head}  "rows": [\n{lines}\n  ]\n}}\n', encoding="utf-8")


if __name__ == "__main__":
    main()
