"""``generate`` with a static cache gives the greedy answer: the cache has room for the virtual tokens.

A static cache is made for the length of the text and the answer before PEFT adds its prompt
(huggingface/peft#2735 is of that kind, on Gemma).
"""

from __future__ import annotations

from typing import Any

import torch

from harness.kit import NEW_TOKENS, Trial, Variants, greedy_by_generate, hold

DOCUMENT = None
UPSTREAM = ("https://github.com/huggingface/peft/pull/2735",)
ORACLE = "cache"
VARIANTS = (
    Variants(
        axes={
            "model": ("llama", "qwen2", "gpt2"),
            "method": ("prompt_tuning", "prefix_tuning", "prefix_tuning_projection", "p_tuning", "lora"),
        },
    ),
)


def check(trial: Trial) -> None:
    """Where transformers compiles a static cache's decoding by itself it is asked not to."""

    def by_generate(model: Any, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        return greedy_by_generate(model, ids, mask, new_tokens=NEW_TOKENS, cache_implementation="static")

    hold(trial, by_generate)
