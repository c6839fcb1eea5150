"""A bare encoder may be given positions, types or embeddings, and its prompt stands before the text all the same.

huggingface/peft#3558 (embeddings). For bare encoders PEFT says that it ignores types, and positions where the prompt is
fed as embeddings; a prefix moves the positions. The reference is by hand, from the numbers in memory.
"""

from __future__ import annotations

from typing import Any

import torch

from harness.kit import (
    ByHand,
    Trial,
    Variants,
    adapted,
    bare_model,
    expect_logits,
    in_memory,
    make_batch,
    wanted_by_forward,
)

DOCUMENT = None
UPSTREAM = ("https://github.com/huggingface/peft/pull/3558",)
ORACLE = "by hand"
RING = "references"
VARIANTS = (
    Variants(
        axes={
            "model": ("bert",),
            "method": ("prompt_tuning", "prefix_tuning", "p_tuning", "lora"),
            "aspect": ("embedded", "positions", "typed", "without_a_mask"),
        },
        # To LoRA types are nothing to ignore.
        without=({"method": "lora", "aspect": "typed"},),
    ),
)


def check(trial: Trial) -> None:
    """Compare the last hidden states of each text with those that the stored numbers give by hand (by hand)."""
    # Without a mask the padding would be looked at: one text alone has none.
    batch = make_batch("alone" if trial.aspect == "without_a_mask" else "right", device=trial.torch_device())
    model = adapted(trial)
    base = bare_model(trial.model, trial.torch_device())
    inputs: dict[str, Any] = {"input_ids": batch.ids, "attention_mask": batch.mask}
    match trial.aspect:
        case "embedded":
            del inputs["input_ids"]
            inputs["inputs_embeds"] = base.get_input_embeddings()(batch.ids).detach()
        case "positions":
            inputs["position_ids"] = torch.arange(batch.ids.shape[1], device=batch.ids.device).expand_as(batch.ids)
        case "typed":
            inputs["token_type_ids"] = torch.ones_like(batch.ids)
        case _:
            del inputs["attention_mask"]
    with torch.no_grad():
        found = model(**inputs).last_hidden_state.float()[:, -batch.ids.shape[1] :]
    rows = [one[place] for one, place in zip(found, batch.places, strict=True)]
    by_hand = ByHand(base, trial.model, in_memory(model, trial.method))
    expect_logits(trial, "states", rows, wanted_by_forward(by_hand, trial.model, batch))
