"""What was found out about a cause beyond the night itself (pure): where it begins, the commit, a short script."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What is known of a cause.

    ``begins`` are sentences on the first bad release, ``commits`` on the first bad commit, ``script`` is a short script
    that shows it, ``unknown`` says what was not asked or has no answer, and why.
    """

    begins: tuple[str, ...] = ()
    commits: tuple[str, ...] = ()
    script: str = ""
    unknown: tuple[str, ...] = ()
