"""A second adapter of the same name is refused, or leaves the first as it was: a trained prompt is not lost in silence.

peft #3559: ``add_adapter`` with a name that is taken made a fresh, untrained prompt in its place.
"""

from __future__ import annotations

import torch

from harness.kit import Trial, Variants, adapter_config, expect_near, logits, question, with_one_adapter

DOCUMENT = None
UPSTREAM = ("https://github.com/huggingface/peft/pull/3559",)
ORACLE = "refusal"
VIRTUAL_TOKENS = 20
VARIANTS = (
    Variants(axes={"model": ("llama", "gpt2"), "method": ("prompt_tuning", "prefix_tuning", "p_tuning", "lora")}),
)


def check(trial: Trial) -> None:
    """Add the same name again, then ask the model what it said before."""
    ids, mask = question(trial)
    model = with_one_adapter(trial, "default", VIRTUAL_TOKENS)
    before = logits(model, input_ids=ids, attention_mask=mask)
    # A fresh prompt is drawn at random: the same one in every run.
    torch.manual_seed(0)
    try:
        model.add_adapter("default", adapter_config(trial, VIRTUAL_TOKENS))
    except ValueError as error:
        trial.evidence["refused"] = str(error)
        trial.expect("default" in str(error), "the refusal does not name the adapter")
    expect_near(trial, "after the second of the name", logits(model.eval(), input_ids=ids, attention_mask=mask), before)
