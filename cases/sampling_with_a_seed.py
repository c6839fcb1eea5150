"""Sampling from a seed draws the same sequences with the cache, without it, and by plain forward calls.

huggingface/peft#2123: a prompt that is dropped changes the distribution, which no single greedy
answer needs to show. Three sequences of one row are drawn: PEFT repeats the prompt for each.
"""

from __future__ import annotations

from typing import Any

import torch

from harness.kit import NEW_TOKENS, Expectation, Trial, Variants, hold, samples_by_forward

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
EXPECTATIONS = (
    Expectation(
        where={"peft": "==0.9.0", "transformers": "==4.38.2"},
        only={"model": ("llama",), "method": ("prefix_tuning", "prefix_tuning_projection")},
        outcome="error",
        signature="Expected size 4 but got size 2",
        link="https://github.com/huggingface/peft/pull/1901",
    ),
    Expectation(
        where={"peft": ">=0.12.0,<=0.13.2", "transformers": ">=4.43.3,<=4.48.3"},
        only={"model": ("llama",), "method": ("prefix_tuning", "prefix_tuning_projection"), "aspect": ("uncached",)},
        outcome="error",
        signature="'tuple' object has no attribute",
        link="https://github.com/huggingface/peft/pull/1832",
    ),
    Expectation(
        where={"peft": "==0.12.0", "transformers": "==4.48.3"},
        only={"model": ("gpt2",), "method": ("p_tuning", "prompt_tuning"), "aspect": ("cached",)},
        outcome="error",
        signature="KeyError: 'past_key_values'",
        link="https://github.com/huggingface/peft/pull/1832",
    ),
    Expectation(
        where={"peft": "==0.12.0", "transformers": "==4.48.3"},
        only={"method": ("prefix_tuning", "prefix_tuning_projection"), "aspect": ("cached",)},
        outcome="error",
        signature="KeyError: 'past_key_values'|'tuple' object has no attribute",
        link="https://github.com/huggingface/peft/pull/1832",
    ),
    Expectation(
        where={"peft": "==0.12.0", "transformers": "==4.48.3"},
        only={"method": ("p_tuning", "prompt_tuning"), "aspect": ("uncached",)},
        outcome="error",
        signature="KeyError: 'past_key_values'",
        link="https://github.com/huggingface/peft/pull/1832",
    ),
    Expectation(
        where={"peft": "==0.12.0", "transformers": "==4.48.3"},
        only={"model": ("gpt2",), "method": ("prefix_tuning", "prefix_tuning_projection"), "aspect": ("uncached",)},
        outcome="error",
        signature="KeyError: 'past_key_values'",
        link="https://github.com/huggingface/peft/pull/1832",
    ),
    Expectation(
        where={"peft": "==0.12.0", "transformers": ">=4.43.3,<=4.48.3"},
        only={"model": ("llama",), "method": ("p_tuning", "prompt_tuning"), "aspect": ("cached",)},
        outcome="wrong",
        signature="drops the prompt",
        link="https://github.com/huggingface/peft/issues/2123",
    ),
    Expectation(
        where={"peft": "==0.12.0", "transformers": "==4.43.3"},
        only={"model": ("llama",), "method": ("prefix_tuning", "prefix_tuning_projection"), "aspect": ("cached",)},
        outcome="wrong",
        signature="drops the prompt",
        link="https://github.com/huggingface/peft/issues/2123",
    ),
    Expectation(
        where={"peft": "==0.12.0", "transformers": "==4.43.3"},
        only={"model": ("llama",), "method": ("p_tuning", "prompt_tuning"), "aspect": ("uncached",)},
        outcome="wrong",
        signature="leaves the forward loop",
        link="https://github.com/huggingface/peft/pull/1969",
    ),
    Expectation(
        where={"peft": ">=0.18.1", "transformers": ">=4.57.3"},
        only={"model": ("llama",), "method": ("prefix_tuning", "prefix_tuning_projection"), "aspect": ("uncached",)},
        outcome="error",
        signature=r"existing size \(95\)|cannot be multiplied",
        link="docs/findings.md#generate-without-the-cache-and-prefix-tuning",
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
