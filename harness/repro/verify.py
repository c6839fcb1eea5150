"""Hold the short script of a variant against the whole one, in the cell that both are about."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from harness.environments.build import build
from harness.repro.execute import Seen, run_scripts, seen_of_short, seen_of_whole
from harness.repro.short import SEEDS, short_script

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.environments.build import Environment
    from harness.environments.resolve import Lock
    from harness.matrix.cases import Case

_ANSWERED = frozenset({"passed", "wrong", "error"})


@dataclass(frozen=True, kw_only=True)
class Verified:
    """What came of holding short scripts against the whole one.

    ``text`` is the first that shows the same, None where none does; ``why`` then says why. ``whole`` is what the whole
    script showed and ``short`` what the last short one did; ``seed`` is the accepted one's.
    """

    text: str | None
    why: str
    whole: Seen | None = None
    short: Seen | None = None
    seed: int = 0


def same(short: Seen, whole: Seen) -> bool:
    """Return whether a short script shows what the whole one does: the outcome, and for an error its signature.

    A wrong answer has no signature. Both compare the same call with the same oracle, and the words that a short script
    has for it are its own.
    """
    return whole.outcome in _ANSWERED and (short.outcome, short.signature) == (whole.outcome, whole.signature)


def verified(
    case: Case,
    variant: Mapping[str, str],
    lock: Lock,
    python: str,
    *,
    environment: Environment,
    whole: str,
    folder: Path,
) -> Verified:
    """Run the whole script and short ones with a few seeds in ``environment``; return the first that shows the same."""
    texts = [short_script(case, variant, lock, python, seed=seed) for seed in SEEDS]
    if texts[0] is None:
        return Verified(text=None, why="none is written for it")
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / "whole.py", *(folder / f"short{seed}.py" for seed in SEEDS)]
    for path, text in zip(paths, [whole, *texts], strict=True):
        path.write_text(text or "", encoding="utf-8")
        path.with_suffix(".py.raised").unlink(missing_ok=True)
    first, *others = run_scripts(paths, environment)
    told = seen_of_whole(paths[0], first)
    seen = [seen_of_short(path, status) for path, status in zip(paths[1:], others, strict=True)]
    for seed, text, one in zip(SEEDS, texts, seen, strict=True):
        if same(one, told):
            return Verified(text=text, why="", whole=told, short=one, seed=seed)
    why = f"the short form shows {_words(seen[0])} where the case shows {_words(told)}"
    return Verified(text=None, why=why, whole=told, short=seen[0])


def verified_here(case: Case, variant: Mapping[str, str], lock: Lock, python: str, *, whole: str) -> Verified:
    """Build the cell's environment where it is not there, and hold the short form against the whole one in it.

    Raises :class:`harness.environments.build.InstallFailed`.
    """
    if short_script(case, variant, lock, python) is None:
        return Verified(text=None, why="none is written for it")
    with TemporaryDirectory(prefix="prompt-bench-repro-") as folder:
        return verified(case, variant, lock, python, environment=build(lock, python), whole=whole, folder=Path(folder))


def _words(seen: Seen) -> str:
    return f"{seen.outcome}: {(seen.signature or seen.words)[:120]}" if seen.words else seen.outcome
