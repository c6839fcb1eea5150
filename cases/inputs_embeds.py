"""Embeddings in the place of ids say the same thing, and the prompt stands before them all the same.

huggingface/peft#3558: prefix tuning dropped ``inputs_embeds`` outside of CAUSAL_LM. ``forward`` and ``generate`` ask a
language model, ``features`` asks a bare encoder.
"""

from __future__ import annotations

from typing import Any

import torch

from harness.kit import (
    NEW_TOKENS,
    Trial,
    Variants,
    base_alone_can,
    expect_near,
    expect_same_tokens,
    far,
    greedy,
    logits,
    make_base,
    question,
    wrap,
)

DOCUMENT = None
UPSTREAM = ("https://github.com/huggingface/peft/pull/3558",)
ORACLE = "same call"
METHODS = ("prompt_tuning", "prefix_tuning", "p_tuning", "lora")
VARIANTS = (
    Variants(axes={"model": ("llama", "gpt2", "opt"), "method": METHODS, "aspect": ("forward", "generate")}),
    Variants(axes={"model": ("bert",), "method": METHODS, "aspect": ("features",)}),
)


def check(trial: Trial) -> None:
    """Ask with ids and with the embedding of the same ids, taken from the base model."""
    ids, mask = question(trial)
    base = make_base(trial)
    embedded = base.get_input_embeddings()(ids).detach()
    if trial.aspect == "generate":
        bare = greedy(base, ids, mask)
        base_alone_can(lambda: _generated(base, embedded, mask), bare)
        model = wrap(trial, base)
        expect_same_tokens(trial, _generated(model, embedded, mask), greedy(model, ids, mask), bare)
        return

    def asked(model: Any, **how: torch.Tensor) -> torch.Tensor:
        if trial.aspect == "forward":
            return logits(model, length=ids.shape[1], attention_mask=mask, **how)
        return model(attention_mask=mask, **how).last_hidden_state.detach()[:, -ids.shape[1] :]

    bare_states = asked(base, inputs_embeds=embedded)
    expect_near(trial, "the base alone", bare_states, asked(base, input_ids=ids))
    options: dict[str, Any] = {} if trial.aspect == "forward" else {"task": "FEATURE_EXTRACTION"}
    model = wrap(trial, base, **options)
    wanted = asked(model, input_ids=ids)
    trial.expect(far(wanted, bare_states) > 0.01, "the prompt does not change what ids are answered")
    expect_near(trial, "embeddings against ids", asked(model, inputs_embeds=embedded), wanted)


def _generated(model: Any, embedded: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Return the new tokens: ``generate`` returns nothing else when it is given no ids."""
    options: dict[str, Any] = {"max_new_tokens": NEW_TOKENS, "do_sample": False, "pad_token_id": 0}
    with torch.no_grad():
        return model.generate(inputs_embeds=embedded, attention_mask=mask, **options)
