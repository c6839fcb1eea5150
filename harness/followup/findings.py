"""What was found out about a cause beyond the night itself (pure): where it begins, the commit, a short script."""

from __future__ import annotations

import re
from dataclasses import dataclass

_STEP = re.compile(r"since (?P<package>\S+) (?P<bad>\S+) \((?P<good>\S+) does not\)")


@dataclass(frozen=True, kw_only=True)
class Ends:
    """A bad release of a package, and the nearest measured one before it that is not."""

    package: str
    bad: str
    good: str


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


def ends_of(step: str) -> Ends | None:
    """Read the step at which a cause begins; None where it is no first bad release of one package."""
    found = _STEP.fullmatch(step)
    return Ends(**found.groupdict()) if found else None
