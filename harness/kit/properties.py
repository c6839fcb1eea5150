"""Check a property on examples that hypothesis draws, and replay what failed in other cells of the run.

The budget is deterministic: the same seed and number of examples in every cell, so that a difference between two
cells is one of versions. What failed is kept in two places. Hypothesis's own database, one folder for each cell
and variant, makes the next run begin with it. A file in the run's folder tells the other cells of this run the
shrunk example, and they try it before any of their own. A cell that was measured before has not heard of it.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from hypothesis.strategies import SearchStrategy

    from harness.kit.trial import Trial


def for_all_examples(trial: Trial, prove: Callable[..., None], **strategies: SearchStrategy[Any]) -> None:
    """Call ``prove`` with examples drawn from ``strategies``; what it raises on the smallest of them is raised.

    Examples must be made of what JSON has. ``evidence`` tells how many were tried, how many were replayed, and
    the ``example`` that failed.
    """
    # Slow to import, and nothing that a cell without properties has to have.
    import hypothesis
    from hypothesis import strategies as st

    evidence = trial.evidence
    evidence.update(tried=0, replayed=0)

    def once(example: dict[str, Any]) -> None:
        evidence["example"] = example
        evidence["tried"] += 1
        prove(**example)

    for example in _told(trial):
        evidence["replayed"] += 1
        once(example)
    run = hypothesis.given(st.fixed_dictionaries(strategies))(once)
    # In this order: a seed takes the database away from settings that were there before it.
    run = hypothesis.settings(**_settings(trial))(hypothesis.seed(0)(run))
    try:
        run()
    except Exception:
        # The last example that hypothesis ran is the one it shrank to.
        _tell(trial, evidence["example"])
        raise
    del evidence["example"]


def _settings(trial: Trial) -> dict[str, Any]:
    import hypothesis
    from hypothesis.database import DirectoryBasedExampleDatabase

    folder = trial.memory and trial.memory / trial.name.replace("/", "_")
    return {
        "max_examples": trial.examples,
        "database": DirectoryBasedExampleDatabase(folder) if folder else None,
        "phases": (hypothesis.Phase.reuse, hypothesis.Phase.generate, hypothesis.Phase.shrink),
        "deadline": None,
        "report_multiple_bugs": False,
        "suppress_health_check": list(hypothesis.HealthCheck),
        "verbosity": hypothesis.Verbosity.quiet,
    }


def _told(trial: Trial) -> Iterator[dict[str, Any]]:
    """Yield what other cells of this run have found for the same variant, each example once."""
    if trial.told is None or not trial.told.is_file():
        return
    seen = []
    for line in trial.told.read_text(encoding="utf-8").splitlines():
        told = json.loads(line)
        if told["variant"] == trial.name and told["example"] not in seen:
            seen.append(told["example"])
            yield told["example"]


def _tell(trial: Trial, example: dict[str, Any]) -> None:
    if trial.told is not None:
        # One short write at the end of the file: other workers may be writing, too.
        with trial.told.open("a", encoding="utf-8") as told:
            told.write(json.dumps({"variant": trial.name, "example": example}) + "\n")
