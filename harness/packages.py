"""The packages of a cell and their roles, once for both sides of the wall; needs the standard library alone."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Place(StrEnum):
    """Where in an environment a package is installed."""

    # With everything else that cells share.
    BASE = "base"
    # Beside a base and before it on the path: pure Python, and nothing in a base imports it.
    OVERLAY = "overlay"
    # Behind the base: large, and the same under many bases. A layer brings its own dependencies (CUDA libraries), which
    # the base's come before.
    LAYER = "layer"


@dataclass(frozen=True, kw_only=True)
class Package:
    """One package that a cell may pin; whatever is pinned is recorded as well.

    ``short`` is its name in a cell's id, ``heading`` that of a narrow column. A ``required`` one is pinned in every
    cell, an exception is located by frames of those ``under_test``. ``told`` counts from 1 in the order in which
    windows and reports name those whose versions account for an outcome; 0: its version does not. Windows bound the
    ``axes`` first, and bisect takes their newest releases unless they are held.
    """

    name: str
    short: str = ""
    heading: str = ""
    place: Place = Place.BASE
    required: bool = False
    under_test: bool = False
    told: int = 0
    axis: bool = False

    @property
    def module(self) -> str:
        """The name that Python imports."""
        return self.name.replace("-", "_")


TABLE = (
    Package(name="torch", place=Place.LAYER, required=True, under_test=True, told=4),
    Package(name="transformers", short="tf", heading="transf.", required=True, under_test=True, told=2, axis=True),
    Package(name="peft", place=Place.OVERLAY, required=True, under_test=True, told=1, axis=True),
    Package(name="sentence-transformers", short="st", heading="s-t", place=Place.OVERLAY, under_test=True, told=3),
    Package(name="accelerate"),
    Package(name="tokenizers"),
    Package(name="safetensors"),
    Package(name="numpy"),
)
"""In the order in which pins are listed."""

PACKAGES = tuple(one.name for one in TABLE)
OVERLAY_PACKAGES = tuple(one.name for one in TABLE if one.place is Place.OVERLAY)
LAYER_PACKAGES = tuple(one.name for one in TABLE if one.place is Place.LAYER)
BASE_PACKAGES = tuple(one.name for one in TABLE if one.required and one.place is not Place.OVERLAY)
"""What names a base."""

TOLD_PACKAGES = tuple(one.name for one in sorted(TABLE, key=lambda one: one.told) if one.told)
REQUIRED_PACKAGES = tuple(name for name in TOLD_PACKAGES if any(one.name == name and one.required for one in TABLE))
WINDOW_AXES = tuple(name for name in TOLD_PACKAGES if any(one.name == name and one.axis for one in TABLE))
EXPLAINED = (*TOLD_PACKAGES, "python")
"""Whose versions may account for an outcome, in the order in which a window names them."""

SHORT_NAMES = {one.name: one.short for one in TABLE if one.short}
HEADINGS = {one.name: one.heading for one in TABLE if one.heading}
MODULES_UNDER_TEST = tuple(one.module for one in TABLE if one.under_test)
OVERLAY_MODULES = tuple(one.module for one in TABLE if one.place is Place.OVERLAY)
