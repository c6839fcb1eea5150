"""Sampling from a seed draws the same sequences with the cache, without it, and by plain forward calls.

huggingface/peft#2123: a prompt that is dropped changes the distribution, which no single greedy
answer needs to show. Three sequences of one row are drawn: PEFT repeats the prompt for each.
"""

from __future__ import annotations

from typing import Any

import torch

from harness.kit import NEW_TOKENS, Trial, Variants, hold, samples_by_forward

DOCUMENT = None
UPSTREAM = ("https://github.com/huggingface/peft/issues/2123",)
ORACLE = "cache"
SAMPLES = 3
SEED = 20
VARIANTS = (
    Variants(
        axes={
            "model": ("llama", "gpt2"),
            "method": ("prompt_tuning", "prefix_tuning", "prefix_tuning_projection", "p_tuning", "lora"),
            "aspect": ("cached", "uncached"),
        },
    ),
)


def check(trial: Trial) -> None:
    """The oracle draws from the softmax of plain forward calls, from the same seed."""

    def by_generate(model: Any, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:

        torch.manual_seed(SEED)
        with torch.no_grad():
            output = model.generate(
                input_ids=ids,
                attention_mask=mask,
                do_sample=True,
                top_k=0,
                top_p=1.0,
                temperature=1.0,
                num_return_sequences=SAMPLES,
                max_new_tokens=NEW_TOKENS,
                pad_token_id=0,
                use_cache=trial.aspect == "cached",
            )
        return output[:, -NEW_TOKENS:]

    def by_forward(model: Any, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        return samples_by_forward(model, ids, mask, new_tokens=NEW_TOKENS, samples=SAMPLES, seed=SEED)

    hold(trial, by_generate, by_forward)
