"""Prompt lookup and assisted decoding give the greedy answer: they guess faster, not otherwise.

Candidates are checked against the cache and the cache is cut back where they fail; a virtual
prompt makes the cache longer than the text (huggingface/peft#1391 is of that kind).
"""

from __future__ import annotations

from typing import Any

import torch

from harness.kit import NEW_TOKENS, VOCAB_SIZE, Trial, Variants, greedy_by_generate, hold, make_base

DOCUMENT = None
UPSTREAM = ("https://github.com/huggingface/peft/issues/1391",)
ORACLE = "cache"
VARIANTS = (
    Variants(
        axes={
            "model": ("llama", "gpt2", "qwen2"),
            "method": ("prompt_tuning", "prefix_tuning", "p_tuning", "lora"),
            "aspect": ("prompt_lookup", "assistant"),
        },
    ),
)


def check(trial: Trial) -> None:
    """The assistant is the base model without the adapter, so that it guesses wrong and right."""
    if trial.aspect == "assistant":
        options: dict[str, Any] = {"assistant_model": make_base(trial)}
    else:
        options = {"prompt_lookup_num_tokens": 3}

    def by_generate(model: Any, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        # transformers from 4.45 to 4.57 asks candidates for an end: here is one that nobody says.
        return greedy_by_generate(model, ids, mask, new_tokens=NEW_TOKENS, eos_token_id=VOCAB_SIZE, **options)

    hold(trial, by_generate)
