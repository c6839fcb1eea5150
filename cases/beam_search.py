"""Beam search finds the beams that plain forward calls find, with the cache and without.

huggingface/peft#2123 speaks of greedy search; a beam search reorders the cache between steps, and
PEFT repeats the prompt for each beam. The oracle is a beam search written out over ``forward``.
"""

from __future__ import annotations

from typing import Any

import torch

from harness.kit import NEW_TOKENS, Trial, Variants, beams_by_forward, greedy_by_generate, hold

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


def check(trial: Trial) -> None:
    """All beams are compared, best first: a wrong prompt in one of them shows."""

    def by_generate(model: Any, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        options = {"num_beams": BEAMS, "num_return_sequences": BEAMS, "use_cache": trial.aspect == "cached"}
        return greedy_by_generate(model, ids, mask, new_tokens=NEW_TOKENS, **options)

    def by_forward(model: Any, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        return beams_by_forward(model, ids, mask, new_tokens=NEW_TOKENS, beams=BEAMS)

    hold(trial, by_generate, by_forward)
