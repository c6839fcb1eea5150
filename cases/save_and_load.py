"""What was saved is what is loaded: the answer of an adapter on a fresh base is the one in memory.

huggingface/peft#2043 met p-tuning that answers otherwise after save and load: its network is folded into what is
saved. ``safetensors`` is the default format, ``pickle`` the one before it; ``again`` saves what was loaded.
"""

from __future__ import annotations

from typing import Any

import peft
import torch

from harness.kit import Trial, Variants, expect_near, far, logits, make_base, question, wrap

DOCUMENT = None
UPSTREAM = ("https://github.com/huggingface/peft/issues/2043", "https://github.com/huggingface/peft/pull/2047")
ORACLE = "reload"
METHODS = ("prompt_tuning", "prefix_tuning", "prefix_tuning_projection", "p_tuning", "lora")
VARIANTS = (
    Variants(
        axes={
            "model": ("gpt2", "bloom", "opt", "bert"),
            "method": METHODS,
            "aspect": ("safetensors", "pickle", "again"),
        },
    ),
)


def check(trial: Trial) -> None:
    """Compare states at the text's positions; the base's own must be far away."""
    base = make_base(trial)
    bare = _states(trial, base)
    options: dict[str, Any] = {"task": "FEATURE_EXTRACTION"} if trial.model == "bert" else {}
    model = wrap(trial, base, **options)
    wanted = _states(trial, model)
    trial.expect(far(wanted, bare) > 0.1, "the adapter changes nothing")
    model.save_pretrained(trial.scratch / "one", safe_serialization=trial.aspect != "pickle")
    loaded = peft.PeftModel.from_pretrained(make_base(trial), str(trial.scratch / "one")).eval()
    expect_near(trial, "loaded against in memory", _states(trial, loaded), wanted)
    if trial.aspect == "again":
        loaded.save_pretrained(trial.scratch / "two")
        loaded = peft.PeftModel.from_pretrained(make_base(trial), str(trial.scratch / "two")).eval()
        expect_near(trial, "saved and loaded twice against in memory", _states(trial, loaded), wanted)


def _states(trial: Trial, model: Any) -> torch.Tensor:
    """Give logits, or the encoder's hidden states, at the text's positions."""
    ids, mask = question(trial)
    if trial.model != "bert":
        return logits(model, length=ids.shape[1], input_ids=ids, attention_mask=mask)
    with torch.no_grad():
        return model(input_ids=ids, attention_mask=mask).last_hidden_state[:, -ids.shape[1] :]
