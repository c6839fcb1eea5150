"""``python -m harness.selfcheck``: the suite held against itself."""

from __future__ import annotations

from harness.program import start

if __name__ == "__main__":
    start("python -m harness.selfcheck", "harness.selfcheck.cli", "selfcheck")
