"""Prompt lookup and assisted decoding give the greedy answer: they guess faster, not otherwise.

Candidates are checked against the cache and the cache is cut back where they fail; a virtual
prompt makes the cache longer than the text (huggingface/peft#1391 is of that kind).
"""

from __future__ import annotations

from typing import Any

import torch

from harness.kit import NEW_TOKENS, VOCAB_SIZE, Expectation, Trial, Variants, greedy_by_generate, hold, make_base

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
EXPECTATIONS = (
    Expectation(
        where={"peft": "==0.9.0", "transformers": "==4.38.2"},
        only={"model": ("llama", "qwen2"), "method": ("prefix_tuning",)},
        outcome="error",
        signature="Expected size 4 but got size 2",
        link="https://github.com/huggingface/peft/pull/1901",
    ),
    Expectation(
        where={"peft": "==0.12.0", "transformers": "==4.48.3"},
        only={"model": ("gpt2",), "method": ("p_tuning", "prompt_tuning")},
        outcome="error",
        signature="KeyError: 'past_key_values'",
        link="https://github.com/huggingface/peft/pull/1832",
    ),
    Expectation(
        where={"peft": "==0.12.0", "transformers": "==4.48.3"},
        only={"method": ("prefix_tuning",)},
        outcome="error",
        signature="KeyError: 'past_key_values'|'tuple' object has no attribute",
        link="https://github.com/huggingface/peft/pull/1832",
    ),
    Expectation(
        where={"peft": "==0.12.0", "transformers": "==4.43.3"},
        only={
            "model": ("llama", "qwen2"),
            "method": ("p_tuning", "prefix_tuning", "prompt_tuning"),
            "aspect": ("assistant",),
        },
        outcome="wrong",
        signature="drops the prompt",
        link="https://github.com/huggingface/peft/issues/2123",
    ),
    Expectation(
        where={"peft": "==0.12.0", "transformers": "==4.43.3"},
        only={"model": ("llama", "qwen2"), "method": ("prefix_tuning",), "aspect": ("prompt_lookup",)},
        outcome="wrong",
        signature="drops the prompt",
        link="https://github.com/huggingface/peft/issues/2123",
    ),
    Expectation(
        where={"peft": "==0.12.0", "transformers": ">=4.43.3,<=4.48.3"},
        only={"model": ("llama", "qwen2"), "method": ("p_tuning", "prompt_tuning"), "aspect": ("prompt_lookup",)},
        outcome="wrong",
        signature="drops the prompt",
        link="https://github.com/huggingface/peft/issues/2123",
    ),
    Expectation(
        where={"peft": ">=0.9.0,<=0.14.0", "transformers": ">=4.38.2,<=4.47.0"},
        only={"model": ("gpt2",), "method": ("p_tuning", "prefix_tuning", "prompt_tuning")},
        outcome="error",
        signature="size of tensor b",
        link="docs/findings.md#prompt-lookup-and-assisted-decoding",
    ),
    Expectation(
        where={"peft": ">=0.13.2", "transformers": ">=4.45.2"},
        only={"model": ("gpt2",), "method": ("p_tuning", "prompt_tuning"), "aspect": ("assistant",)},
        outcome="error",
        signature="size of tensor b",
        link="docs/findings.md#prompt-lookup-and-assisted-decoding",
    ),
    Expectation(
        where={"peft": ">=0.13.2", "transformers": ">=4.45.2"},
        only={"method": ("prefix_tuning",)},
        outcome="error",
        signature="size of tensor b|Expected size 1 but got|existing size|cannot be multiplied",
        link="docs/findings.md#prompt-lookup-and-assisted-decoding",
    ),
    Expectation(
        where={"peft": ">=0.13.2", "transformers": ">=4.45.2"},
        only={"model": ("gpt2", "llama"), "method": ("p_tuning", "prompt_tuning"), "aspect": ("prompt_lookup",)},
        outcome="error",
        signature="size of tensor b",
        link="docs/findings.md#prompt-lookup-and-assisted-decoding",
    ),
    Expectation(
        where={"peft": "==0.9.0", "transformers": "==4.38.2"},
        only={"model": ("llama", "qwen2"), "method": ("p_tuning", "prompt_tuning"), "aspect": ("assistant",)},
        outcome="error",
        signature="size of tensor b",
        link="docs/findings.md#prompt-lookup-and-assisted-decoding",
    ),
    Expectation(
        where={"peft": "==0.9.0", "transformers": "==4.38.2"},
        only={"model": ("llama", "qwen2"), "method": ("p_tuning",), "aspect": ("prompt_lookup",)},
        outcome="error",
        signature="size of tensor b",
        link="docs/findings.md#prompt-lookup-and-assisted-decoding",
    ),
    Expectation(
        where={"peft": "==0.19.1", "transformers": ">=5.21.1"},
        only={"model": ("qwen2",), "method": ("p_tuning",), "aspect": ("prompt_lookup",)},
        outcome="error",
        signature="size of tensor b",
        link="docs/findings.md#prompt-lookup-and-assisted-decoding",
    ),
    Expectation(
        where={"peft": "==0.9.0", "transformers": "==4.38.2"},
        only={"model": ("qwen2",), "method": ("prompt_tuning",), "aspect": ("prompt_lookup",)},
        outcome="error",
        signature="size of tensor b",
        link="docs/findings.md#prompt-lookup-and-assisted-decoding",
    ),
    Expectation(
        where={"peft": ">=0.12.0", "transformers": ">=4.45.2"},
        only={"model": ("llama", "qwen2"), "method": ("p_tuning", "prompt_tuning"), "aspect": ("assistant",)},
        outcome="error",
        signature="size of tensor b",
        link="docs/findings.md#prompt-lookup-and-assisted-decoding",
    ),
    Expectation(
        where={"peft": ">=0.13.2", "transformers": ">=4.45.2,<=4.57.3"},
        only={"model": ("qwen2",), "method": ("prompt_tuning",), "aspect": ("prompt_lookup",)},
        outcome="error",
        signature="size of tensor b",
        link="docs/findings.md#prompt-lookup-and-assisted-decoding",
    ),
    Expectation(
        where={"peft": ">=0.20.0", "transformers": ">=5.14.1"},
        only={"model": ("qwen2",), "method": ("p_tuning",), "aspect": ("prompt_lookup",)},
        outcome="error",
        signature="size of tensor b",
        link="docs/findings.md#prompt-lookup-and-assisted-decoding",
    ),
    Expectation(
        where={"peft": ">=0.13.2", "transformers": ">=4.45.2,<=4.57.3"},
        only={"model": ("qwen2",), "method": ("p_tuning",), "aspect": ("prompt_lookup",)},
        outcome="wrong",
        signature="leaves the forward loop",
        link="docs/findings.md#prompt-lookup-and-assisted-decoding",
    ),
    Expectation(
        where={"peft": ">=0.19.1", "transformers": ">=5.14.1"},
        only={"model": ("qwen2",), "method": ("prompt_tuning",), "aspect": ("prompt_lookup",)},
        outcome="wrong",
        signature="leaves the forward loop",
        link="docs/findings.md#prompt-lookup-and-assisted-decoding",
    ),
    Expectation(
        where={"peft": "==0.9.0", "transformers": "==4.38.2"},
        only={"model": ("llama",), "method": ("prompt_tuning",), "aspect": ("prompt_lookup",)},
        outcome="wrong",
        signature="leaves the forward loop",
        link="docs/findings.md#prompt-lookup-and-assisted-decoding",
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
