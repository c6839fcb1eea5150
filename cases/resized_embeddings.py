"""New tokens that were added to the vocabulary are saved with the adapter and are back after loading.

huggingface/peft#1383 and peft #1367: a base whose embeddings were resized. ``auto`` saves as by default, which has to
see that the vocabulary is another one than the base's on disk; ``asked`` says ``save_embedding_layers=True``.
"""

from __future__ import annotations

from typing import Any

import peft
import torch
import transformers

from harness.kit import (
    Trial,
    Variants,
    expect_near,
    far,
    hashed_uniform,
    logits,
    make_base,
    question,
    wrap,
)

DOCUMENT = None
UPSTREAM = ("https://github.com/huggingface/peft/issues/1383", "https://github.com/huggingface/peft/pull/1367")
ORACLE = "reload"
NEW = 8
VARIANTS = (
    Variants(
        axes={
            "model": ("llama", "opt"),
            "method": ("prompt_tuning", "prefix_tuning", "p_tuning", "lora"),
            "aspect": ("auto", "asked"),
        },
    ),
)


def check(trial: Trial) -> None:
    """Ask with a text that has new tokens in it; another base's new tokens must not answer in their place."""
    make_base(trial).save_pretrained(trial.scratch / "base")
    first = _resized(trial, seed=1)
    ids, mask = question(trial)
    ids[0, 3:6] = first.config.vocab_size - NEW
    model = wrap(trial, first)
    wanted = logits(model, length=ids.shape[1], input_ids=ids, attention_mask=mask)
    stranger = wrap(trial, _resized(trial, seed=2))
    apart = far(logits(stranger, length=ids.shape[1], input_ids=ids, attention_mask=mask), wanted)
    trial.expect(apart > 0.1, "the new tokens do not change the answer")
    asked = {"save_embedding_layers": True} if trial.aspect == "asked" else {}
    model.save_pretrained(trial.scratch / "adapter", **asked)
    loaded = peft.PeftModel.from_pretrained(_resized(trial, seed=2), str(trial.scratch / "adapter")).eval()
    again = logits(loaded, length=ids.shape[1], input_ids=ids, attention_mask=mask)
    expect_near(trial, "loaded against in memory", again, wanted)


def _resized(trial: Trial, *, seed: int) -> Any:
    """Load the base from its folder and give it new tokens, with weights of their own."""
    model = transformers.AutoModelForCausalLM.from_pretrained(trial.scratch / "base").to(trial.torch_device())
    model.resize_token_embeddings(model.config.vocab_size + NEW)
    with torch.no_grad():
        for layer in (model.get_input_embeddings(), model.get_output_embeddings()):
            layer.weight[-NEW:] = hashed_uniform(layer.weight[-NEW:].shape, seed=seed).to(layer.weight.device)
    return model.eval()
