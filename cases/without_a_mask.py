"""No attention mask means that every token counts: the answer is that of a mask of ones.

PEFT lengthens the mask by its virtual tokens where there is one; where there is none, nothing may be missing.
huggingface/peft#1393 met ``generate`` called with nothing but ids, by position: ``positional`` does that.
"""

from __future__ import annotations

from typing import Any

import torch

from harness.kit import NEW_TOKENS, Trial, Variants, greedy, greedy_by_forward, hold

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
