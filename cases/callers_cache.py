"""A cache that the caller hands to ``generate`` serves a conversation: the second turn remembers the first.

As a chat does it: one ``DynamicCache`` for all turns, each with the ids of the whole conversation.
PEFT must put its prompt before the first turn and not again before the second; peft#1391 and peft #2096 are about
the caches that PEFT makes itself.
"""

from __future__ import annotations

from typing import Any

import torch

from harness.kit import NEW_TOKENS, Trial, Unsupported, Variants, encode, greedy, greedy_by_generate, hold

DOCUMENT = None
UPSTREAM = ("https://github.com/huggingface/peft/issues/1391", "https://github.com/huggingface/peft/pull/2096")
ORACLE = "cache"
NEXT = " 2+2="
VARIANTS = (
    Variants(
        axes={
            "model": ("llama", "gpt2"),
            "method": ("prompt_tuning", "prefix_tuning", "prefix_tuning_projection", "p_tuning", "lora"),
            "aspect": ("first_turn", "second_turn"),
        },
    ),
)


def check(trial: Trial) -> None:
    """The forward loop over the whole conversation is what each turn has to say."""
    try:
        from transformers import DynamicCache
    except ImportError:
        message = "this transformers has no DynamicCache"
        raise Unsupported(message) from None
    more = encode(NEXT, device=trial.torch_device())[:, 1:]

    def talk(model: Any, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        cache = DynamicCache()
        said = greedy_by_generate(model, ids, mask, new_tokens=NEW_TOKENS, past_key_values=cache)
        if trial.aspect == "first_turn":
            return said
        ids = torch.cat([ids, said, more], dim=1)
        return greedy_by_generate(model, ids, torch.ones_like(ids), new_tokens=NEW_TOKENS, past_key_values=cache)

    def by_forward(model: Any, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        said = greedy(model, ids, mask)
        if trial.aspect == "first_turn":
            return said
        ids = torch.cat([ids, said, more], dim=1)
        return greedy(model, ids, torch.ones_like(ids))

    hold(trial, talk, by_forward)
