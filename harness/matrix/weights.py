"""Read what a person says of real checkpoints: ``--weights bloom=PATH_OR_NAME``, a dtype, a device map."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

DTYPES = ("float32", "float16", "bfloat16")
WITHOUT_AXIS = ("bert",)
"""Families that cases use without an axis for it."""


@dataclass(frozen=True, kw_only=True)
class RealWeights:
    """Checkpoints by family, and how they are loaded. A path is absolute."""

    sources: tuple[tuple[str, str], ...]
    dtype: str = "float32"
    device_map: str | None = None

    def of(self, variant: Mapping[str, str]) -> dict[str, str] | None:
        """Return the axes that a variant has on real weights; None when its model is another one."""
        model = variant.get("model")
        sources = [source for family, source in self.sources if family == (model or family)]
        if not sources:
            return None
        where = f" on {self.device_map}" if self.device_map else ""
        return {"dtype": self.dtype, "weights": ",".join(sources) + where}

    def job(self) -> dict[str, dict[str, Any]]:
        """Return what a worker is told, by family."""
        how = {"dtype": self.dtype, "device_map": self.device_map}
        return {family: {"source": source, **how} for family, source in self.sources}


def read_weights(words: Iterable[str], *, dtype: str | None, device_map: str | None) -> RealWeights | None:
    """Read ``FAMILY=PATH_OR_NAME`` words; None when there are none. Raises :class:`UsageError`."""
    sources = []
    for word in words:
        family, equals, source = word.partition("=")
        if not (family and equals and source):
            message = f"--weights {word!r} is not FAMILY=PATH_OR_NAME, such as bloom=bigscience/bloomz-560m"
            raise UsageError(message)
        path = Path(source).expanduser()
        sources.append((family, str(path.resolve()) if path.exists() else source))
    if not sources:
        if dtype or device_map:
            message = "--dtype and --device-map are for real weights; name them with --weights FAMILY=PATH_OR_NAME"
            raise UsageError(message)
        return None
    return RealWeights(sources=tuple(sources), dtype=dtype or "float32", device_map=device_map)


def refuse_unknown(weights: RealWeights, models: Iterable[str]) -> None:
    """Raise :class:`UsageError` for a family that no case has, with the closest one."""
    known = {*models, *WITHOUT_AXIS}
    for family, _ in weights.sources:
        if family not in known:
            close = difflib.get_close_matches(family, sorted(known), n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"families: {', '.join(sorted(known))}"
            message = f"no case has the family {family!r}; {hint}"
            raise UsageError(message)
