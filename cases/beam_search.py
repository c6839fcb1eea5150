"""Beam search finds the beams that plain forward calls find, with the cache and without.

huggingface/peft#2123 speaks of greedy search; a beam search reorders the cache between steps, and
PEFT repeats the prompt for each beam. The oracle is a beam search written out over ``forward``.
"""

from __future__ import annotations

from typing import Any

import torch

from harness.kit import NEW_TOKENS, Expectation, Trial, Variants, beams_by_forward, greedy_by_generate, hold

DOCUMENT = None
UPSTREAM = ("https://github.com/huggingface/peft/issues/2123",)
ORACLE = "cache"
BEAMS = 3
VARIANTS = (
    Variants(
        axes={
            "model": ("llama", "gpt2", "bloom"),
            "method": ("prompt_tuning", "prefix_tuning", "p_tuning", "lora"),
            "aspect": ("cached", "uncached"),
        },
    ),
)
EXPECTATIONS = (
    Expectation(
        where={"peft": "==0.9.0", "transformers": "==4.38.2"},
        only={"model": ("llama",), "method": ("prefix_tuning",)},
        outcome="error",
        signature="Expected size 4 but got size 2",
        link="https://github.com/huggingface/peft/pull/1901",
    ),
    Expectation(
        where={"peft": ">=0.12.0,<=0.13.2", "transformers": ">=4.43.3,<=4.48.3"},
        only={"model": ("llama",), "method": ("prefix_tuning",), "aspect": ("uncached",)},
        outcome="error",
        signature="'tuple' object has no attribute",
        link="https://github.com/huggingface/peft/pull/1832",
    ),
    Expectation(
        where={"peft": "==0.12.0", "transformers": "==4.48.3"},
        only={
            "model": ("bloom", "gpt2"),
            "method": ("p_tuning", "prefix_tuning", "prompt_tuning"),
            "aspect": ("cached",),
        },
        outcome="error",
        signature=r"KeyError: 'past_key_values'|got 3 and 4|existing size",
        link="https://github.com/huggingface/peft/pull/1832",
    ),
    Expectation(
        where={"peft": "==0.12.0", "transformers": "==4.48.3"},
        only={"model": ("gpt2", "llama"), "method": ("p_tuning", "prompt_tuning"), "aspect": ("uncached",)},
        outcome="error",
        signature="KeyError: 'past_key_values'",
        link="https://github.com/huggingface/peft/pull/1832",
    ),
    Expectation(
        where={"peft": "==0.12.0", "transformers": "==4.48.3"},
        only={"model": ("gpt2",), "method": ("prefix_tuning",), "aspect": ("uncached",)},
        outcome="error",
        signature="KeyError: 'past_key_values'",
        link="https://github.com/huggingface/peft/pull/1832",
    ),
    Expectation(
        where={"peft": ">=0.12.0,<=0.13.2", "transformers": ">=4.45.2,<=4.48.3"},
        only={"model": ("llama",), "method": ("prefix_tuning",), "aspect": ("cached",)},
        outcome="error",
        signature="'tuple' object has no attribute|_reorder_cache",
        link="https://github.com/huggingface/peft/pull/1832",
    ),
    Expectation(
        where={"peft": ">=0.12.0,<=0.13.2", "transformers": ">=4.45.2,<=4.48.3"},
        only={"model": ("bloom",), "method": ("prefix_tuning",), "aspect": ("uncached",)},
        outcome="error",
        signature="'tuple' object has no attribute|got 3 and 4",
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
        only={"model": ("llama",), "method": ("prefix_tuning",), "aspect": ("cached",)},
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
        where={"peft": ">=0.18.1", "transformers": "==4.57.3"},
        only={"model": ("bloom",), "method": ("prefix_tuning",), "aspect": ("uncached",)},
        outcome="error",
        signature="broadcast shape",
        link="docs/findings.md#generate-without-the-cache-and-prefix-tuning",
    ),
    Expectation(
        where={"peft": ">=0.18.1", "transformers": ">=4.57.3"},
        only={"model": ("llama",), "method": ("prefix_tuning",), "aspect": ("uncached",)},
        outcome="error",
        signature=r"existing size \(95\)|cannot be multiplied",
        link="docs/findings.md#generate-without-the-cache-and-prefix-tuning",
    ),
)


def check(trial: Trial) -> None:
    """All beams are compared, best first: a wrong prompt in one of them shows."""

    def by_generate(model: Any, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        options = {"num_beams": BEAMS, "num_return_sequences": BEAMS, "use_cache": trial.aspect == "cached"}
        return greedy_by_generate(model, ids, mask, new_tokens=NEW_TOKENS, **options)

    def by_forward(model: Any, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        return beams_by_forward(model, ids, mask, new_tokens=NEW_TOKENS, beams=BEAMS)

    hold(trial, by_generate, by_forward)
