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
    Expectation,
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
EXPECTATIONS = (
    Expectation(
        where={"peft": ">=0.13.2,<=0.15.2", "transformers": ">=4.45.2,<=4.57.3"},
        only={
            "model": ("mistral", "gemma2", "gpt_neox", "falcon", "gpt_bigcode", "qwen2_moe"),
            "method": ("cartridge",),
        },
        outcome="unsupported",
        signature="has no CartridgeConfig",
        link="https://github.com/huggingface/peft/pull/2953",
    ),
    Expectation(
        where={"peft": ">=0.14.0,<=0.15.2", "transformers": ">=4.51.3,<=4.57.3"},
        only={"model": ("qwen3", "gemma3"), "method": ("cartridge",)},
        outcome="unsupported",
        signature="has no CartridgeConfig",
        link="https://github.com/huggingface/peft/pull/2953",
    ),
    Expectation(
        where={"peft": "==0.13.2", "transformers": "==4.45.2"},
        only={"model": ("qwen3", "gemma3"), "aspect": ("cached",)},
        outcome="unsupported",
        signature="transformers .* has no (Qwen3|Gemma3Text)Config",
        link="https://github.com/huggingface/transformers/releases",
    ),
    Expectation(
        where={"peft": "==0.13.2", "transformers": "==4.45.2"},
        only={"model": ("qwen3", "gemma3"), "aspect": ("workaround",)},
        outcome="unsupported",
        signature="transformers .* has no (Qwen3|Gemma3Text)Config",
        link="https://github.com/huggingface/transformers/releases",
    ),
    Expectation(
        where={"peft": ">=0.13.2,<=0.15.2", "transformers": ">=4.45.2,<=4.51.3"},
        only={"model": ("gemma2",), "method": ("prompt_tuning", "p_tuning", "p_tuning_lstm"), "aspect": ("cached",)},
        outcome="error",
        signature="RuntimeError: Tensors must have same number of dimensions:",
        link="https://github.com/huggingface/peft/pull/2458",
    ),
    Expectation(
        where={"peft": "==0.15.2", "transformers": "==4.51.3"},
        only={"model": ("gemma3",), "method": ("prompt_tuning", "p_tuning", "p_tuning_lstm"), "aspect": ("cached",)},
        outcome="error",
        signature="RuntimeError: Tensors must have same number of dimensions:",
        link="https://github.com/huggingface/peft/pull/2458",
    ),
    Expectation(
        where={"peft": "==0.13.2", "transformers": "==4.45.2"},
        only={"model": ("gemma2",), "method": ("prefix_tuning", "prefix_tuning_projection"), "aspect": ("cached",)},
        outcome="error",
        signature="AttributeError: 'tuple' object has no attribute",
        link="https://github.com/huggingface/peft/pull/1832",
    ),
    Expectation(
        where={"peft": "==0.13.2", "transformers": "==4.45.2"},
        only={
            "model": ("mistral", "gemma2", "gpt_neox", "qwen2_moe"),
            "method": ("prefix_tuning",),
            "aspect": ("workaround",),
        },
        outcome="error",
        signature="AttributeError: 'tuple' object has no attribute",
        link="https://github.com/huggingface/peft/pull/1832",
    ),
    Expectation(
        where={"peft": ">=0.13.2", "transformers": ">=4.45.2"},
        only={"model": ("falcon",), "method": ("prefix_tuning", "prefix_tuning_projection"), "aspect": ("cached",)},
        outcome="error",
        signature="RuntimeError: Sizes of tensors must match except in",
        link="https://github.com/huggingface/peft/issues/713",
    ),
    Expectation(
        where={"peft": ">=0.13.2", "transformers": ">=4.45.2"},
        only={"model": ("falcon",), "method": ("prefix_tuning",), "aspect": ("workaround",)},
        outcome="error",
        signature="RuntimeError: Sizes of tensors must match except in",
        link="https://github.com/huggingface/peft/issues/713",
    ),
    Expectation(
        where={"peft": ">=0.14.0,<=0.15.2", "transformers": ">=4.51.3,<=4.57.3"},
        only={
            "model": ("qwen3", "gemma2", "gemma3"),
            "method": ("prefix_tuning", "prefix_tuning_projection"),
            "aspect": ("cached",),
        },
        outcome="error",
        signature="RuntimeError: Sizes of tensors must match except in",
        link="https://github.com/huggingface/peft/pull/2883",
    ),
    Expectation(
        where={"peft": ">=0.14.0,<=0.15.2", "transformers": ">=4.51.3,<=4.57.3"},
        only={"model": ("qwen3", "gemma2", "gemma3"), "method": ("prefix_tuning",), "aspect": ("workaround",)},
        outcome="error",
        signature="RuntimeError: Sizes of tensors must match except in",
        link="https://github.com/huggingface/peft/pull/2883",
    ),
    Expectation(
        where={"peft": ">=0.19.1", "transformers": ">=5.5.4"},
        only={"model": ("falcon",), "method": ("cartridge",)},
        outcome="error",
        signature="RuntimeError: Sizes of tensors must match except in",
        link="https://github.com/huggingface/peft/issues/713",
    ),
    Expectation(
        where={"peft": ">=0.19.1", "transformers": ">=5.5.4"},
        only={"model": ("gpt_neox",), "method": ("prefix_tuning",), "aspect": ("workaround",)},
        outcome="error",
        signature="RuntimeError: Sizes of tensors must match except in",
        link="docs/findings.md#generate-without-the-cache-and-prefix-tuning",
    ),
    Expectation(
        where={"peft": "==0.14.0", "transformers": "==4.57.3"},
        only={
            "model": ("gpt_bigcode",),
            "method": ("prefix_tuning", "prefix_tuning_projection"),
            "aspect": ("cached",),
        },
        outcome="error",
        signature=r"ValueError: not enough values to unpack \(expected",
        link="docs/families.md#what-older-releases-do",
    ),
    Expectation(
        where={"peft": "==0.14.0", "transformers": "==4.57.3"},
        only={"model": ("gpt_bigcode",), "method": ("prefix_tuning",), "aspect": ("workaround",)},
        outcome="error",
        signature=r"ValueError: not enough values to unpack \(expected",
        link="docs/families.md#what-older-releases-do",
    ),
    Expectation(
        where={"peft": ">=0.19.1", "transformers": ">=5.5.4"},
        only={"model": ("gemma2", "gemma3"), "method": ("prefix_tuning",), "aspect": ("workaround",)},
        outcome="error",
        signature=r"RuntimeError: The size of tensor a \(",
        link="docs/findings.md#generate-without-the-cache-and-prefix-tuning",
    ),
    Expectation(
        where={"peft": ">=0.19.1", "transformers": ">=5.5.4"},
        only={"model": ("gpt_bigcode",), "method": ("prefix_tuning",), "aspect": ("workaround",)},
        outcome="error",
        signature=r"RuntimeError: shape '\[",
        link="docs/findings.md#generate-without-the-cache-and-prefix-tuning",
    ),
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
