"""Write tiny adapters with the PEFT of the cell that runs this, and the logits that they give in it.

``python -m harness.selfcheck frozen --write`` runs it in the cells of :data:`CELLS`. It writes
``cases/adapters/VERSION/FAMILY/METHOD/``, the config and the weights as ``save_pretrained`` writes them, without the
model card, for each family and method that ``cases/frozen_answers.py`` names with this writer; and
``VERSION/FAMILY/answers.safetensors``: float32 logits ``(length, vocabulary)`` under the name of each method and of
:data:`~cases.frozen_answers.BASE`, the text as ``ids`` ``(1, length)``, and the versions that gave them as metadata.
"""

from __future__ import annotations

import filecmp
import json
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import torch

CELLS = ("peft0.9.0-tf4.38.2-*", "peft0.13.2-tf4.45.2-*", "peft0.18.1-tf4.57.3-*", "peft0.21.2-tf5.23.0-*")
"""The cells of the matrix ``library`` that write: each peft beside a transformers of its day."""

HERE = Path(__file__).parent
ANSWERS = "answers.safetensors"
TEXT = "3+4=7</s>2+2=4</s> 1+1="
LEAST = 0.1
"""How far an adapter has to move the logits, that no answer is the base model's."""


def wanted(version: str) -> dict[str, list[str]]:
    """Name the methods of each family that a release writes adapters for."""
    from cases.frozen_answers import VARIANTS

    found: dict[str, list[str]] = {}
    for variant in (one for product in VARIANTS for one in product if one["writer"] == version):
        found.setdefault(variant["model"], []).append(variant["method"])
    return found


def make(family: str, methods: Iterable[str], folder: Path) -> None:
    """Write a family's adapters, whose numbers depend on nothing but the method, and their logits.

    The logits are those of the models that are saved: before anything is loaded. Raises ``RuntimeError`` where an
    adapter changes nothing, or where this release itself reads it otherwise.
    """
    import peft
    from safetensors.torch import save_file

    from cases.frozen_answers import BASE, adapter, base_of
    from harness.kit import apart, batch_of, by_forward, encode, far
    from harness.kit.trial import Trial

    def answer(model: Any) -> torch.Tensor:
        (found,) = by_forward(model, family, batch)
        return found.contiguous()

    batch = batch_of([encode(TEXT)])
    there = {"ids": batch.ids, BASE: answer(base_of(family))}
    for method in methods:
        model = adapter(family, method)
        there[method] = answer(model)
        if not far(there[method], there[BASE]) > LEAST:
            text = f"{family} {method}: the adapter changes nothing"
            raise RuntimeError(text)
        model.save_pretrained(folder / family / method)
        for path in (folder / family / method).iterdir():
            if path.suffix not in {".json", ".safetensors"}:
                path.unlink()
        loaded = peft.PeftModel.from_pretrained(base_of(family), str(folder / family / method))
        trial = Trial(variant={"model": family, "method": method}, scratch=folder)
        if apart(trial, [answer(loaded.eval())], [there[method]]) > 1.0:
            text = f"{family} {method}: this release itself reads the file otherwise than the model that it saved"
            raise RuntimeError(text)
    save_file(there, folder / family / ANSWERS, metadata={"made": json.dumps(versions())})


def versions() -> dict[str, str]:
    """Name the versions that give the answers."""
    import peft
    import torch
    import transformers

    return {
        "peft": peft.__version__,
        "transformers": transformers.__version__,
        "torch": torch.__version__.partition("+")[0],
    }


def differences(made: Path, kept: Path) -> Iterator[str]:
    """Say where files of this release differ from the committed ones.

    Weights are held by their bytes, configs by what they say, and answers as ``frozen_answers`` holds them: another
    machine sums in another order.
    """
    from safetensors import safe_open
    from safetensors.torch import load_file

    from harness.kit import apart
    from harness.kit.trial import Trial

    names = {path.relative_to(folder) for folder in (made, kept) for path in folder.rglob("*") if path.is_file()}
    for name in sorted(names):
        new, old = made / name, kept / name
        if not (new.is_file() and old.is_file()):
            yield f"{name}: {'not committed' if new.is_file() else 'not made any more'}"
        elif name.suffix == ".json":
            if config(new) != config(old):
                yield f"{name}: says something else"
        elif name.name != ANSWERS:
            if not filecmp.cmp(new, old, shallow=False):
                yield f"{name}: other bytes"
        else:
            with safe_open(new, "pt") as one, safe_open(old, "pt") as other:
                if one.metadata() != other.metadata():
                    yield f"{name}: made with {one.metadata()}, committed with {other.metadata()}"
            first, second = load_file(new), load_file(old)
            for method in sorted(first.keys() | second.keys()):
                trial = Trial(variant={"model": name.parts[0], "method": method}, scratch=made)
                if method not in first or method not in second:
                    yield f"{name}: {method} is in one of the two alone"
                elif method == "ids" and first[method].tolist() != second[method].tolist():
                    yield f"{name}: another text"
                elif method != "ids" and apart(trial, [first[method]], [second[method]]) > 1.0:
                    yield f"{name}: another answer of {method}"


def config(path: Path) -> dict[str, Any]:
    """Read an adapter's config; PEFT writes a set, as target_modules is one, in another order each time."""
    facts = json.loads(path.read_text(encoding="utf-8"))
    return {name: sorted(value) if isinstance(value, list) else value for name, value in facts.items()}


def main(*, write: bool) -> int:
    """Make all for this release and write it, or compare it with what is committed; return an exit status."""
    import peft

    kept = HERE / peft.__version__
    with tempfile.TemporaryDirectory() as scratch:
        made = kept if write else Path(scratch)
        for family, methods in wanted(peft.__version__).items():
            make(family, methods, made)
            print(peft.__version__, family, *methods)
        if write:
            return 0
        found = list(differences(made, kept))
    print(*found, sep="\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(write="--write" in sys.argv[1:]))
