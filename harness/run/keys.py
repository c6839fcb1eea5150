"""The key of a measurement: a digest of everything that can change its outcome, and of nothing else.

Of the code that is what the case's check reaches (:mod:`harness.run.reach`), the committed weights and adapters that
it may load, and the part of the harness that runs beside every case and completes its record.
"""

from __future__ import annotations

import hashlib
import json
import os
from functools import cache, cached_property
from typing import TYPE_CHECKING

from harness.paths import ROOT
from harness.run.reach import BODY, WHOLE, Code, Name

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from harness.contracts.record import Machine
    from harness.matrix.cases import Case
    from harness.run.reach import Reached

_RUNTIME: tuple[Name, ...] = (
    ("harness.cell.worker", "main"),
    # Its body starts a fresh child, where forking is not to be had.
    ("harness.cell.worker", BODY),
    ("harness.cell.session", "run_variants"),
    ("cases.conftest", WHOLE),
)
"""Where the code begins that runs beside every case in a cell; ``here``, whose records have no key, is not among it."""

_WEIGHTS = "checkpoints"
"""The folder of ``cases`` with a file for each family; every other folder of data counts whole."""


def key_of(
    *,
    lock: str,
    python: str,
    case: Case,
    variant: Mapping[str, str],
    machine: Machine,
    timed: bool,
    examples: int | None,
) -> str:
    """Name a measurement by all that can change it: versions, code, data, variant, machine, and how it is asked.

    ``timed`` and ``examples`` (of a property; None: the kit's own number) count for a case that asks for them, so
    that whoever measures the same has the same key.
    """
    code = project_code()
    words = code.reached(case).words
    about = {
        "lock": lock,
        "python": python,
        "case": code.of_case(case),
        "runtime": code.of_runtime(),
        "data": code.of_data(case, variant),
        "variant": dict(variant),
        "timed": timed if "timed" in words else None,
        "examples": examples if "examples" in words else None,
        "machine": [machine.cpu, machine.platform, machine.gpu, os.environ.get("UV_TORCH_BACKEND", "")],
    }
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:24]


class CodeDigests:
    """Digests of what cases reach under one folder, each worked out once."""

    def __init__(self, root: Path) -> None:
        """``root`` is a folder with ``harness`` and ``cases``."""
        self._cases = root / "cases"
        self._code = Code(root)
        self._reached: dict[str, Reached] = {}
        self._files: dict[Path, str] = {}
        self._runtime = ""
        self._data: dict[tuple[Path, ...], str] = {}

    def reached(self, case: Case) -> Reached:
        """Return what a case's check reaches, the kit's definitions among it."""
        if case.name not in self._reached:
            self._reached[case.name] = self._code.reach((f"cases.{case.name}", "check"))
        return self._reached[case.name]

    def of_case(self, case: Case) -> str:
        """Return a digest of the code that a case's check reaches."""
        return self.reached(case).digest

    def of_runtime(self) -> str:
        """Return a digest of the code that runs beside every case, and of what tells pytest how."""
        if not self._runtime:
            # It imports by computed names what the packages under test have, and of ours what a case reaches itself.
            code = self._code.reach(*_RUNTIME, dynamic=False).digest
            self._runtime = f"{code}-{self._file(self._cases / 'pytest.ini')}"
        return self._runtime

    def of_data(self, case: Case, variant: Mapping[str, str]) -> str:
        """Return a digest of the committed files that a variant may load."""
        files = tuple(self.data_files(case, variant))
        if files not in self._data:
            lines = (f"{path.relative_to(self._cases)}:{self._file(path)}\n" for path in files)
            self._data[files] = hashlib.sha256("".join(lines).encode()).hexdigest()[:16]
        return self._data[files]

    def data_files(self, case: Case, variant: Mapping[str, str]) -> list[Path]:
        """List the committed files that a variant may load.

        Of the families' weights, those of the families that the variant or a string in the code names; all of them
        where a case has no axis for the model.
        """
        words = self.reached(case).words
        files = []
        for folder in self._folders_of(case):
            paths = self._data_folders[folder]
            if folder == _WEIGHTS and "model" in variant:
                paths = [path for path in paths if path.stem in variant.values() or path.stem in words]
            files += paths
        return files

    def _folders_of(self, case: Case) -> list[str]:
        """List the folders of data that a case's code names where it asks for its own place; all when it names none."""
        folders: set[str] = set()
        for one in self.reached(case).definitions.values():
            if one.finds_files:
                folders |= self._data_folders.keys() & one.words or self._data_folders.keys()
        return sorted(folders)

    @cached_property
    def _data_folders(self) -> dict[str, list[Path]]:
        """Every folder of ``cases`` that holds weights, and the files in it that are no code."""
        found: dict[str, list[Path]] = {}
        for path in sorted(one for one in self._cases.rglob("*") if one.is_file()):
            if path.suffix not in {".py", ".pyc"} and len(parts := path.relative_to(self._cases).parts) > 1:
                found.setdefault(parts[0], []).append(path)
        return {name: paths for name, paths in found.items() if any(one.suffix == ".safetensors" for one in paths)}

    def _file(self, path: Path) -> str:
        if path not in self._files:
            self._files[path] = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
        return self._files[path]


@cache
def project_code() -> CodeDigests:
    """Return the digests of this project's own code."""
    return CodeDigests(ROOT)
