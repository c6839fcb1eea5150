"""Virtual tokens, text and answer may fill all of the model's positions; ``max_length`` counts no virtual token.

Virtual tokens take positions of their own: one too many, and a table of learned positions is read past its end.
``all_positions`` fills them all; ``max_length`` asks that a limit on the output means text and answer, as it does
without an adapter. huggingface/peft#1391 is of that kind: a length that was counted without the prompt.
"""

from __future__ import annotations

from typing import Any

import torch

from harness.kit import NEW_TOKENS, VIRTUAL_TOKENS, Trial, Variants, greedy_by_generate, hold, question

DOCUMENT = None
UPSTREAM = ("https://github.com/huggingface/peft/issues/1391",)
ORACLE = "cache"
VARIANTS = (
    Variants(
        axes={
            "model": ("llama", "gpt2", "opt"),
            "method": ("prompt_tuning", "prefix_tuning", "p_tuning", "lora"),
            "aspect": ("all_positions", "max_length"),
        },
    ),
)


def check(trial: Trial) -> None:
    """The oracle is the forward loop over the same text."""

    def by_generate(model: Any, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        if trial.aspect == "all_positions":
            return greedy_by_generate(model, ids, mask, new_tokens=NEW_TOKENS)
        options = {"max_length": ids.shape[1] + NEW_TOKENS, "do_sample": False, "pad_token_id": 0}
        with torch.no_grad():
            return model.generate(input_ids=ids, attention_mask=mask, **options)[:, ids.shape[1] :]

    # The last token of an answer is said and never read: it takes no position.
    full = VIRTUAL_TOKENS + question(trial)[0].shape[1] + NEW_TOKENS - 1
    name = "n_positions" if trial.model == "gpt2" else "max_position_embeddings"
    hold(trial, by_generate, **({name: full} if trial.aspect == "all_positions" else {}))
