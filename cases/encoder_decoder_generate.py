"""With an encoder-decoder ``generate`` decodes what plain forward calls decode, and the prompt counts.

huggingface/peft#565, #1188 (prefix tuning), #439, #809 (prompt tuning); #3109 (BART's number of layers).
``cached`` asks for ``generate`` as users call it, ``workaround`` for ``use_cache=False``.
"""

from __future__ import annotations

from typing import Any

import torch

from harness.kit import (
    LORA,
    LORA_TARGETS,
    Trial,
    Variants,
    attach,
    encode_for,
    expect_prompt_used,
    expect_same_generation,
    greedy_by_decoder,
    make_model,
)

DOCUMENT = None
UPSTREAM = (
    "https://github.com/huggingface/peft/issues/565",
    "https://github.com/huggingface/peft/issues/1188",
    "https://github.com/huggingface/peft/issues/439",
)
ORACLE = "cache"
RING = "families"
VIRTUAL_TOKENS = 20
NEW_TOKENS = 8
QUESTION = "3+4=7</s>2+2=4</s>5+1=6</s>8+8=16</s>9+0=9</s> 1+1="

VARIANTS = (
    Variants(
        axes={
            "model": ("t5", "bart"),
            "method": ("prompt_tuning", "prefix_tuning", "prefix_tuning_projection", "p_tuning", "lora"),
            "aspect": ("cached", "workaround"),
        },
    ),
)


def check(trial: Trial) -> None:
    """Compare generated with forward-loop tokens, and those with the base model's (the cache oracle)."""
    device = trial.torch_device()
    base = make_model(trial.model, device=device, trained=False)
    ids = encode_for(trial.model, QUESTION, device=device)
    mask = torch.ones_like(ids)
    start = base.generation_config.decoder_start_token_id
    base_tokens, _ = greedy_by_decoder(base, ids, mask, new_tokens=NEW_TOKENS, start=start)
    options: dict[str, Any] = {"target_modules": LORA_TARGETS[trial.model]} if trial.method == LORA else {}
    model = attach(base, trial.method, virtual_tokens=VIRTUAL_TOKENS, task="SEQ_2_SEQ_LM", **options)
    reference, margin = greedy_by_decoder(model, ids, mask, new_tokens=NEW_TOKENS, start=start)
    expect_prompt_used(trial, reference, base_tokens, margin=margin)
    use_cache = trial.aspect == "cached"
    expect_same_generation(
        trial, model, reference, base_tokens, use_cache=use_cache, input_ids=ids, attention_mask=mask
    )
