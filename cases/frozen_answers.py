"""An adapter that another release of PEFT wrote gives the logits that it gave there, which are kept as data.

huggingface/peft#1969: from one release to the next the same numbers of a Bloom prefix became another prefix, and no
case that compares within one cell can see that. ``cases/adapters/make.py`` wrote the adapters and, from the very
models that were saved, the logits; ``python -m harness.selfcheck frozen`` holds them against the releases they are of.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import peft
from safetensors.torch import load_file

from harness.kit import (
    LORA,
    ByHand,
    Trial,
    Unsupported,
    Variants,
    apart,
    attach,
    batch_of,
    by_forward,
    far,
    in_file,
    lora_options,
    make_model,
    task_of,
    wanted_by_forward,
)

if TYPE_CHECKING:
    import torch

DOCUMENT = None
UPSTREAM = ("https://github.com/huggingface/peft/pull/1969", "https://github.com/huggingface/peft/pull/2038")
ORACLE = "frozen"
BASE = "base"
"""The name of the base model's own logits among those of the methods."""

VARIANTS = (
    Variants(
        axes={
            "model": ("gpt2", "bloom", "gpt_bigcode", "llama", "t5"),
            "method": ("prompt_tuning", "prefix_tuning", "prefix_tuning_projection", "p_tuning", "lora"),
            "writer": ("0.9.0", "0.13.2", "0.21.2"),
        },
        # peft 0.9.0 has no prefix for Llama's grouped heads.
        without=(
            {"model": "llama", "method": "prefix_tuning", "writer": "0.9.0"},
            {"model": "llama", "method": "prefix_tuning_projection", "writer": "0.9.0"},
        ),
    ),
    Variants(
        axes={
            "model": ("bart", "bert"),
            "method": ("prompt_tuning", "prefix_tuning"),
            "writer": ("0.9.0", "0.13.2", "0.21.2"),
        },
    ),
    # Between the two its prompts and its prefixes have changed their meaning.
    Variants(
        axes={
            "model": ("gemma2",),
            "method": ("prompt_tuning", "prefix_tuning", "prefix_tuning_projection", "p_tuning", "lora"),
            "writer": ("0.18.1", "0.21.2"),
        },
    ),
)


EAGER = frozenset({"gemma2"})
"""Families whose other attention leaves out the soft cap of their scores, in some releases of transformers."""
VIRTUAL_TOKENS = 4


def check(trial: Trial) -> None:
    """Load the committed adapter with the call that users make, and hold its logits against the committed ones.

    The base model's own are held first: what transformers alone answers otherwise is not the adapter's doing. Where the
    adapter's differ, the same numbers by hand say whether it is this pair of releases that left its own base model.
    """
    folder = Path(__file__).parent / "adapters" / trial.writer / trial.model
    device = trial.torch_device()
    there = {name: tensor.to(device) for name, tensor in load_file(folder / "answers.safetensors").items()}
    batch = batch_of([there["ids"]])
    base = base_of(trial.model, device)
    alone = trial.evidence["the base model alone"] = apart(trial, by_forward(base, trial.model, batch), [there[BASE]])
    if alone > 1.0:
        text = "transformers alone answers otherwise than where the adapter was written"
        raise Unsupported(text)
    wanted = [there[trial.method]]
    trial.expect(far(wanted[0], there[BASE]) > 0.1, "the adapter changed nothing where it was written")
    model = peft.PeftModel.from_pretrained(base_of(trial.model, device), str(folder / trial.method)).eval()
    found = by_forward(model, trial.model, batch)
    trial.evidence["against the answer there"] = apart(trial, found, wanted)
    if trial.evidence["against the answer there"] <= 1.0:
        return
    stored = in_file(folder / trial.method, trial.method)
    by_hand = wanted_by_forward(ByHand(base, trial.model, stored), trial.model, batch)
    here = trial.evidence["by hand, against the answer here"] = apart(trial, found, by_hand)
    then = trial.evidence["by hand, against the answer there"] = apart(trial, wanted, by_hand)
    trial.expect(here > 1.0, "as by hand here, but not as where it was written")
    trial.expect(then > 1.0, "not as where it was written, which is as by hand here")
    trial.expect(False, "not as where it was written, and neither is as by hand here")  # noqa: FBT003


def base_of(family: str, device: torch.device | str = "cpu") -> Any:
    """Make the base model that adapters of a family are written and read on."""
    options = {"attn_implementation": "eager"} if family in EAGER else {}
    return make_model(family, device=device, trained=False, **options)


def adapter(family: str, method: str) -> Any:
    """Make the adapter that is written: its numbers depend on the names of its parameters alone."""
    options = lora_options(family) if method == LORA else {"virtual_tokens": VIRTUAL_TOKENS}
    return attach(base_of(family), method, task=task_of(family), **options)
