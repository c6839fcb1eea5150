"""``generate`` with a static cache gives the greedy answer: the cache has room for the virtual tokens.

A static cache is made for the length of the text and the answer before PEFT adds its prompt
(huggingface/peft#2735 is of that kind, on Gemma).
"""

from __future__ import annotations

from typing import Any

import torch

from harness.kit import NEW_TOKENS, Expectation, Trial, Variants, greedy_by_generate, hold

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
EXPECTATIONS = (
    Expectation(
        where={"peft": "==0.12.0", "transformers": "==4.48.3"},
        only={"model": ("gpt2",), "method": ("p_tuning", "prompt_tuning")},
        outcome="error",
        signature="KeyError: 'past_key_values'",
        link="https://github.com/huggingface/peft/pull/1832",
    ),
    Expectation(
        where={"peft": "==0.12.0", "transformers": "==4.48.3"},
        only={"method": ("prefix_tuning", "prefix_tuning_projection")},
        outcome="error",
        signature="KeyError: 'past_key_values'|'tuple' object has no attribute",
        link="https://github.com/huggingface/peft/pull/1832",
    ),
    Expectation(
        where={"peft": ">=0.9.0", "transformers": ">=4.38.2"},
        only={"model": ("llama",), "method": ("p_tuning", "prompt_tuning")},
        outcome="error",
        signature="out of bounds|size of tensor b|got 2 and 4|create_masks_for_generate",
        link="docs/findings.md#a-static-cache",
    ),
    Expectation(
        where={"peft": ">=0.9.0,<=0.14.0", "transformers": ">=4.38.2,<=4.47.0"},
        only={"model": ("llama",), "method": ("prefix_tuning", "prefix_tuning_projection")},
        outcome="error",
        signature="out of bounds|size of tensor b|got 2 and 4",
        link="docs/findings.md#a-static-cache",
    ),
    Expectation(
        where={"peft": ">=0.13.2,<=0.18.1", "transformers": ">=4.45.2,<=4.57.3"},
        only={"model": ("llama",), "method": ("prefix_tuning", "prefix_tuning_projection")},
        outcome="error",
        signature="size of tensor b|got 2 and 4|create_masks_for_generate",
        link="docs/findings.md#a-static-cache",
    ),
    Expectation(
        where={"peft": ">=0.19.1", "transformers": ">=5.21.1"},
        only={"model": ("gpt2", "llama"), "method": ("prefix_tuning", "prefix_tuning_projection")},
        outcome="error",
        signature="size of tensor b|max_cache_len",
        link="docs/findings.md#a-static-cache",
    ),
    Expectation(
        where={"peft": ">=0.21.2", "transformers": ">=4.57.3"},
        only={"model": ("gpt2", "llama"), "method": ("prefix_tuning", "prefix_tuning_projection")},
        outcome="error",
        signature="size of tensor b|max_cache_len",
        link="docs/findings.md#a-static-cache",
    ),
    Expectation(
        where={"peft": ">=0.12.0", "transformers": ">=4.45.2"},
        only={"model": ("qwen2",), "method": ("p_tuning", "prompt_tuning")},
        outcome="error",
        signature="out of bounds|got 2 and 4|but got dict|create_masks_for_generate|attribute 'dim'",
        link="docs/findings.md#a-static-cache",
    ),
    Expectation(
        where={"peft": ">=0.13.2", "transformers": ">=4.45.2"},
        only={"model": ("qwen2",), "method": ("prefix_tuning", "prefix_tuning_projection")},
        outcome="error",
        signature="size of tensor b|got 2 and 4|but got dict|create_masks_for_generate|attribute 'dim'",
        link="docs/findings.md#a-static-cache",
    ),
    Expectation(
        where={"peft": ">=0.14.0", "transformers": ">=4.53.1"},
        only={"model": ("gpt2",), "method": ("p_tuning", "prompt_tuning")},
        outcome="error",
        signature="out of bounds|size of tensor b|got 2 and 4",
        link="docs/findings.md#a-static-cache",
    ),
    Expectation(
        where={"peft": ">=0.14.0,<=0.18.1", "transformers": ">=4.53.1,<=4.57.3"},
        only={"model": ("gpt2",), "method": ("prefix_tuning", "prefix_tuning_projection")},
        outcome="error",
        signature="size of tensor b|got 2 and 4",
        link="docs/findings.md#a-static-cache",
    ),
    Expectation(
        where={"peft": "==0.12.0", "transformers": "==4.43.3"},
        only={"model": ("gpt2", "qwen2")},
        outcome="unsupported",
        signature="transformers alone cannot do this: ValueError: This model",
        link="docs/cases.md",
    ),
    Expectation(
        where={"peft": "==0.9.0", "transformers": "==4.38.2"},
        only={"model": ("gpt2", "qwen2")},
        outcome="unsupported",
        signature="transformers alone cannot do this: ValueError: The",
        link="docs/cases.md",
    ),
)


def check(trial: Trial) -> None:
    """Where transformers compiles a static cache's decoding by itself it is asked not to."""

    def by_generate(model: Any, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        return greedy_by_generate(model, ids, mask, new_tokens=NEW_TOKENS, cache_implementation="static")

    hold(trial, by_generate)
