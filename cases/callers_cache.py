"""A cache that the caller hands to ``generate`` serves a conversation: the second turn remembers the first.

As a chat does it: one ``DynamicCache`` for all turns, each with the ids of the whole conversation.
PEFT must put its prompt before the first turn and not again before the second; peft#1391 and peft #2096 are about
the caches that PEFT makes itself.
"""

from __future__ import annotations

from typing import Any

import torch

from harness.kit import NEW_TOKENS, Expectation, Trial, Unsupported, Variants, encode, greedy, greedy_by_generate, hold

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
EXPECTATIONS = (
    Expectation(
        where={"peft": "==0.9.0", "transformers": "==4.38.2"},
        only={"model": ("llama",), "method": ("prefix_tuning", "prefix_tuning_projection")},
        outcome="error",
        signature="Expected size 4 but got size 2",
        link="https://github.com/huggingface/peft/pull/1901",
    ),
    Expectation(
        where={"peft": "==0.12.0", "transformers": "==4.48.3"},
        only={"model": ("llama",), "method": ("prefix_tuning", "prefix_tuning_projection")},
        outcome="error",
        signature="'tuple' object has no attribute",
        link="https://github.com/huggingface/peft/pull/1832",
    ),
    Expectation(
        where={"peft": "==0.9.0", "transformers": "==4.38.2"},
        only={"model": ("llama",), "method": ("p_tuning", "prompt_tuning")},
        outcome="error",
        signature="KeyError: 'Cache only has",
        link="https://github.com/huggingface/peft/pull/1832",
    ),
    Expectation(
        where={"peft": "==0.13.2", "transformers": "==4.45.2"},
        only={"model": ("llama",), "method": ("p_tuning", "prompt_tuning"), "aspect": ("second_turn",)},
        outcome="error",
        signature="reshape tensor of 0 elements",
        link="https://github.com/huggingface/peft/pull/1832",
    ),
    Expectation(
        where={"peft": "==0.12.0", "transformers": ">=4.43.3,<=4.48.3"},
        only={"model": ("llama",), "method": ("p_tuning", "prompt_tuning"), "aspect": ("first_turn",)},
        outcome="wrong",
        signature="drops the prompt",
        link="https://github.com/huggingface/peft/issues/2123",
    ),
    Expectation(
        where={"peft": "==0.12.0", "transformers": "==4.43.3"},
        only={"model": ("llama",), "method": ("prefix_tuning", "prefix_tuning_projection"), "aspect": ("first_turn",)},
        outcome="wrong",
        signature="drops the prompt",
        link="https://github.com/huggingface/peft/issues/2123",
    ),
    Expectation(
        where={"peft": ">=0.14.0", "transformers": ">=4.47.0,<=4.57.3"},
        only={"model": ("llama",), "method": ("p_tuning", "prompt_tuning"), "aspect": ("second_turn",)},
        outcome="error",
        signature="index -1 is out of bounds",
        link="docs/findings.md#a-conversation-with-a-cache-of-the-caller",
    ),
    Expectation(
        where={"peft": ">=0.14.0", "transformers": ">=4.53.1,<=4.57.3"},
        only={"model": ("gpt2",), "method": ("p_tuning", "prompt_tuning"), "aspect": ("second_turn",)},
        outcome="error",
        signature="index -1 is out of bounds",
        link="docs/findings.md#a-conversation-with-a-cache-of-the-caller",
    ),
    Expectation(
        where={"peft": ">=0.19.1", "transformers": ">=5.14.1"},
        only={"method": ("p_tuning", "prompt_tuning"), "aspect": ("second_turn",)},
        outcome="wrong",
        signature="leaves the forward loop",
        link="docs/findings.md#a-conversation-with-a-cache-of-the-caller",
    ),
    Expectation(
        where={"peft": "==0.12.0", "transformers": ">=4.43.3,<=4.48.3"},
        only={"model": ("llama",), "method": ("p_tuning", "prompt_tuning"), "aspect": ("second_turn",)},
        outcome="wrong",
        signature="leaves the forward loop",
        link="docs/findings.md#a-conversation-with-a-cache-of-the-caller",
    ),
    Expectation(
        where={"peft": "==0.12.0", "transformers": "==4.43.3"},
        only={"model": ("llama",), "method": ("prefix_tuning", "prefix_tuning_projection"), "aspect": ("second_turn",)},
        outcome="wrong",
        signature="leaves the forward loop",
        link="docs/findings.md#a-conversation-with-a-cache-of-the-caller",
    ),
    Expectation(
        where={"peft": ">=0.9.0,<=0.14.0", "transformers": ">=4.38.2,<=4.48.3"},
        only={"model": ("gpt2",)},
        outcome="unsupported",
        signature="transformers alone cannot do this: ValueError:",
        link="docs/cases.md",
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
