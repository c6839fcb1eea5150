"""Merging is refused where there is nothing to merge, in words that say so; where it is possible the answer stays.

A prompt is no part of any weight: ``merge_and_unload`` cannot keep what it says. Who merges by habit needs to read
why it fails. The calls go the way of ``delete_adapter`` (huggingface/peft#3638). LoRA is the control.
"""

from __future__ import annotations

import re

from harness.kit import LORA, Trial, Variants, expect_near, logits, make_base, question, wrap

DOCUMENT = None
UPSTREAM = ("https://github.com/huggingface/peft/issues/3638",)
ORACLE = "refusal"
REASONS = re.compile(r"prompt|prefix|p-?_?tuning|not support|cannot be merged|can't be merged", re.IGNORECASE)
VARIANTS = (
    Variants(
        axes={
            "model": ("llama",),
            "method": ("prompt_tuning", "prefix_tuning", "p_tuning", "lora"),
            "aspect": ("merge_and_unload", "merge_adapter", "unload"),
        },
    ),
)


def check(trial: Trial) -> None:
    """Call by name; LoRA's answer has to stay with a merge, and to be the base's after ``unload``."""
    ids, mask = question(trial)
    base = make_base(trial)
    bare = logits(base, input_ids=ids, attention_mask=mask)
    model = wrap(trial, base)
    before = logits(model, length=ids.shape[1], input_ids=ids, attention_mask=mask)
    if trial.method == LORA:
        after = getattr(model, trial.aspect)() or model
        wanted = bare if trial.aspect == "unload" else before
        expect_near(trial, f"after {trial.aspect}", logits(after, input_ids=ids, attention_mask=mask), wanted)
        return
    try:
        getattr(model, trial.aspect)()
    except (AttributeError, TypeError, ValueError, NotImplementedError) as error:
        trial.evidence["refused"] = f"{type(error).__name__}: {error}"
        trial.expect(bool(REASONS.search(str(error))), "the refusal does not say why")
        return
    trial.expect(False, f"{trial.aspect} is not refused")  # noqa: FBT003
