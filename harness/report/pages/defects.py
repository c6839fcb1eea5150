"""The page of known defects as Markdown (pure)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.paths import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from harness.judge.defects import Defect, Seen

PAGE = ROOT / "docs" / "defects.md"

_HEAD = """# The defects

Generated from `cases/defects/` and the published records by `prompt-bench cases defects --write`;
`prompt-bench cases check` tells when it is stale. {count} defects explain {records} records: every failing one, and
the cells that cannot be imported.
Windows: the fewest boxes of releases with every failing cell, and none in which the same variants pass; what lies
between two releases was not measured. First bad and first fixed: the release on each axis at which a measured neighbour
with all else equal turns, and the commit where it is known. Live: it is there in the newest releases in which its
variants were measured; hidden: what it met fails of something else there.
"""
_COLUMNS = "| defect | seen as | who is hit | way round | records | windows | first bad | first fixed | status |"


def defects_page(defects: Mapping[str, Defect], seen: Mapping[str, Seen]) -> str:
    """Write the page: a row for each defect, those that explain most first."""
    order = sorted(defects.values(), key=lambda one: (-seen[one.id].records, one.id))
    records = sum(one.records for one in seen.values())
    lines = [_HEAD.format(count=len(defects), records=records), _COLUMNS, "| --- " * 9 + "|"]
    for one in order:
        found = seen[one.id]
        cells = (
            f"[{one.id}](../cases/defects/{one.path.name})",
            one.sees,
            one.who,
            one.way_round,
            found.records,
            "; or ".join(map(_window, found.windows)),
            _turn(found.introduced, one.first_bad_commit),
            _turn(found.fixed, one.first_fixed_commit),
            found.words,
        )
        lines.append("| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def _window(where: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {specifier}" for name, specifier in where.items())


def _turn(versions: Mapping[str, str], commits: Iterable[str]) -> str:
    """Write the releases at which a defect begins or ends, and links to the commits."""
    releases = [f"{name} {version}" for name, version in versions.items()]
    return ", ".join([*releases, *(f"[`{link[-40:][:9]}`]({link})" for link in commits)])
