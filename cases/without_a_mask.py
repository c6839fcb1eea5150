"""No attention mask means that every token counts: the answer is that of a mask of ones.

PEFT lengthens the mask by its virtual tokens where there is one; where there is none, nothing may be missing.
huggingface/peft#1393 met ``generate`` called with nothing but ids, by position: ``positional`` does that.
"""

from __future__ import annotations

from typing import Any

import torch

from harness.kit import NEW_TOKENS, Expectation, Trial, Variants, greedy, greedy_by_forward, hold

DOCUMENT = None
UPSTREAM = ("https://github.com/huggingface/peft/issues/1393",)
ORACLE = "cache"
VARIANTS = (
    Variants(
        axes={
            "model": ("llama", "gpt2", "bloom", "opt"),
            "method": ("prompt_tuning", "prefix_tuning", "p_tuning", "lora"),
            "aspect": ("forward", "generate", "positional"),
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
        where={"peft": "==0.12.0", "transformers": "==4.48.3"},
        only={"model": ("bloom", "llama"), "method": ("prefix_tuning",), "aspect": ("forward",)},
        outcome="error",
        signature="'tuple' object has no attribute|got 3 and 4",
        link="https://github.com/huggingface/peft/pull/1832",
    ),
    Expectation(
        where={"peft": "==0.12.0", "transformers": "==4.48.3"},
        only={
            "model": ("bloom", "gpt2", "opt"),
            "method": ("p_tuning", "prompt_tuning"),
            "aspect": ("generate", "positional"),
        },
        outcome="error",
        signature=r"KeyError: 'past_key_values'|existing size",
        link="https://github.com/huggingface/peft/pull/1832",
    ),
    Expectation(
        where={"peft": "==0.12.0", "transformers": "==4.48.3"},
        only={"method": ("prefix_tuning",), "aspect": ("generate", "positional")},
        outcome="error",
        signature="KeyError: 'past_key_values'|'tuple' object has no attribute|got 3 and 4",
        link="https://github.com/huggingface/peft/pull/1832",
    ),
    Expectation(
        where={"peft": "==0.12.0", "transformers": ">=4.43.3,<=4.48.3"},
        only={"model": ("llama",), "method": ("p_tuning", "prompt_tuning"), "aspect": ("generate",)},
        outcome="wrong",
        signature="drops the prompt",
        link="https://github.com/huggingface/peft/issues/2123",
    ),
    Expectation(
        where={"peft": "==0.12.0", "transformers": "==4.43.3"},
        only={"model": ("llama",), "method": ("prefix_tuning",), "aspect": ("generate",)},
        outcome="wrong",
        signature="drops the prompt",
        link="https://github.com/huggingface/peft/issues/2123",
    ),
    Expectation(
        where={"peft": ">=0.12.0,<=0.14.0", "transformers": ">=4.43.3,<=4.47.0"},
        only={"model": ("bloom", "gpt2", "opt"), "method": ("p_tuning", "prompt_tuning"), "aspect": ("positional",)},
        outcome="wrong",
        signature="leaves the forward loop",
        link="https://github.com/huggingface/peft/pull/2953",
    ),
    Expectation(
        where={"peft": ">=0.12.0,<=0.14.0", "transformers": ">=4.43.3,<=4.47.0"},
        only={"method": ("prefix_tuning",), "aspect": ("positional",)},
        outcome="wrong",
        signature="leaves the forward loop",
        link="https://github.com/huggingface/peft/pull/2953",
    ),
    Expectation(
        where={"peft": ">=0.13.2,<=0.18.1", "transformers": ">=4.45.2,<=4.57.3"},
        only={"model": ("bloom", "gpt2", "opt"), "method": ("p_tuning", "prompt_tuning"), "aspect": ("positional",)},
        outcome="wrong",
        signature="leaves the forward loop",
        link="https://github.com/huggingface/peft/pull/2953",
    ),
    Expectation(
        where={"peft": ">=0.13.2,<=0.18.1", "transformers": ">=4.45.2,<=4.57.3"},
        only={"method": ("prefix_tuning",), "aspect": ("positional",)},
        outcome="wrong",
        signature="leaves the forward loop",
        link="https://github.com/huggingface/peft/pull/2953",
    ),
    Expectation(
        where={"peft": ">=0.12.0,<=0.18.1", "transformers": ">=4.43.3,<=4.57.3"},
        only={"model": ("llama",), "method": ("p_tuning", "prompt_tuning"), "aspect": ("positional",)},
        outcome="wrong",
        signature="leaves the forward loop",
        link="https://github.com/huggingface/peft/pull/2953",
    ),
)


def check(trial: Trial) -> None:
    """The oracle is a forward loop with a mask of ones."""

    def without(model: Any, ids: torch.Tensor, _mask: torch.Tensor) -> torch.Tensor:
        def forward(*, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> Any:  # noqa: ARG001
            return model(input_ids=input_ids)

        options = {"max_new_tokens": NEW_TOKENS, "do_sample": False, "pad_token_id": 0}
        with torch.no_grad():
            match trial.aspect:
                case "forward":
                    return greedy_by_forward(forward, ids, ids, new_tokens=NEW_TOKENS)[0]
                case "generate":
                    return model.generate(input_ids=ids, **options)[:, -NEW_TOKENS:]
                case _:
                    return model.generate(ids, **options)[:, -NEW_TOKENS:]

    hold(trial, without, greedy)
