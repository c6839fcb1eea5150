"""The page of known defects as Markdown (pure)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.paths import ROOT

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.judge.defects import Defect, Seen

PAGE = ROOT / "docs" / "defects.md"

_HEAD = """# The defects

Generated from `cases/defects/` and the published records by `prompt-bench cases defects --write`;
`prompt-bench cases check` tells when it is stale. {count} defects explain {records} records: every failing one, and
the cells that cannot be imported.
First and last seen: the oldest and the newest release of peft and of transformers with a failing record;
`prompt-bench explain` tells how they go together. Live: it is there in the newest releases in which its variants were
measured; hidden: what it met fails of something else there.
"""
_COLUMNS = "| defect | seen as | who is hit | way round | records | first seen | last seen | status |"


def defects_page(defects: Mapping[str, Defect], seen: Mapping[str, Seen]) -> str:
    """Write the page: a row for each defect, those that explain most first."""
    order = sorted(defects.values(), key=lambda one: (-seen[one.id].records, one.id))
    records = sum(one.records for one in seen.values())
    lines = [_HEAD.format(count=len(defects), records=records), _COLUMNS, "| --- " * 8 + "|"]
    for one in order:
        found = seen[one.id]
        cells = (
            f"[{one.id}](../cases/defects/{one.path.name})",
            one.sees,
            one.who,
            one.way_round,
            found.records,
            _ends(found.first),
            _ends(found.last),
            found.words,
        )
        lines.append("| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def _ends(versions: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in versions.items())
