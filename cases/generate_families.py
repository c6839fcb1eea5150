"""Greedy ``generate`` is what plain forward calls say, on every kind of attention and of cache.

huggingface/peft#1901 (grouped keys), #2881 (a head size that is not hidden / heads), #2458 and #2735
(sliding layers), #713 and #913 (one key head for all), #2953 (cartridges). ``cached`` asks for ``generate`` as
users call it, ``workaround`` for ``use_cache=False``. LoRA is the control: what fails there is not the prompt's fault.
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
    greedy_by_forward,
    make_model,
)

DOCUMENT = None
UPSTREAM = (
    "https://github.com/huggingface/peft/pull/1901",
    "https://github.com/huggingface/peft/pull/2883",
    "https://github.com/huggingface/peft/pull/2458",
    "https://github.com/huggingface/peft/issues/713",
    "https://github.com/huggingface/peft/pull/2953",
)
ORACLE = "cache"
RING = "families"
VIRTUAL_TOKENS = 20
NEW_TOKENS = 8
QUESTION = "3+4=7</s>2+2=4</s>5+1=6</s>8+8=16</s>9+0=9</s> 1+1="

FAMILIES = ("mistral", "qwen3", "gemma2", "gemma3", "gpt_neox", "falcon", "gpt_bigcode", "qwen2_moe")

VARIANTS = (
    Variants(
        axes={
            "model": FAMILIES,
            "method": (
                "prompt_tuning",
                "prefix_tuning",
                "prefix_tuning_projection",
                "p_tuning",
                "p_tuning_lstm",
                "cartridge",
                "lora",
            ),
            "aspect": ("cached",),
        },
    ),
    Variants(axes={"model": FAMILIES, "method": ("prompt_tuning", "prefix_tuning", "lora"), "aspect": ("workaround",)}),
)


def check(trial: Trial) -> None:
    """Compare generated with forward-loop tokens, and those with the base model's (the cache oracle)."""
    device = trial.torch_device()
    base = make_model(trial.model, device=device, trained=False)
    ids = encode_for(trial.model, QUESTION, device=device)
    mask = torch.ones_like(ids)
    base_tokens, _ = greedy_by_forward(base, ids, mask, new_tokens=NEW_TOKENS)
    options: dict[str, Any] = {"target_modules": LORA_TARGETS[trial.model]} if trial.method == LORA else {}
    model = attach(base, trial.method, virtual_tokens=VIRTUAL_TOKENS, **options)
    reference, margin = greedy_by_forward(model, ids, mask, new_tokens=NEW_TOKENS)
    expect_prompt_used(trial, reference, base_tokens, margin=margin)
    use_cache = trial.aspect == "cached"
    expect_same_generation(
        trial, model, reference, base_tokens, use_cache=use_cache, input_ids=ids, attention_mask=mask
    )
