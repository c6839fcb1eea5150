"""Adaption prompts (Llama-Adapter) answer alike with the cache and without, and not at all before training.

huggingface/peft#1252, #1465, #1493, #1551, #2276, #2314: its attention computes the queries again and broke
with transformers 4.36, 4.38 and 4.48; #1433: grouped keys. ``closed`` asks for the gate's start at zero, at
which the model must answer as the base does.
"""

from __future__ import annotations

import torch

from harness.kit import (
    Trial,
    Unsupported,
    Variants,
    attach,
    encode,
    expect_prompt_used,
    expect_same_generation,
    greedy_by_forward,
    make_model,
    same_tokens,
)

DOCUMENT = None
UPSTREAM = (
    "https://github.com/huggingface/peft/issues/1252",
    "https://github.com/huggingface/peft/issues/2276",
    "https://github.com/huggingface/peft/pull/2314",
    "https://github.com/huggingface/peft/issues/1433",
)
ORACLE = "cache"
RING = "families"
ADAPTER_TOKENS = 20
NEW_TOKENS = 8
QUESTION = "3+4=7</s>2+2=4</s>5+1=6</s>8+8=16</s>9+0=9</s> 1+1="

VARIANTS = (Variants(axes={"model": ("llama", "mistral", "gpt2"), "aspect": ("cached", "workaround", "closed")}),)


def check(trial: Trial) -> None:
    """Compare generated with forward-loop tokens, and those with the base model's (the cache oracle)."""
    # Where a release has moved this list, that is an error of the variant, not of the file.
    from peft.tuners.adaption_prompt.config import TRANSFORMERS_MODEL_CONFIG

    if trial.model not in TRANSFORMERS_MODEL_CONFIG:
        message = f"this peft has no adaption prompt for {trial.model}"
        raise Unsupported(message)
    device = trial.torch_device()
    base = make_model(trial.model, device=device, trained=False)
    ids = encode(QUESTION, device=device)
    mask = torch.ones_like(ids)
    base_tokens, _ = greedy_by_forward(base, ids, mask, new_tokens=NEW_TOKENS)
    model = attach(base, "adaption_prompt", virtual_tokens=ADAPTER_TOKENS, strong=trial.aspect != "closed")
    reference, margin = greedy_by_forward(model, ids, mask, new_tokens=NEW_TOKENS)
    if trial.aspect == "closed":
        trial.expect(same_tokens(reference, base_tokens), "with its gate closed the prompt changes the answer")
        return
    expect_prompt_used(trial, reference, base_tokens, margin=margin)
    use_cache = trial.aspect == "cached"
    expect_same_generation(
        trial, model, reference, base_tokens, use_cache=use_cache, input_ids=ids, attention_mask=mask
    )
