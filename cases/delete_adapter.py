"""A deleted adapter is gone, and the one that stays answers as before.

peft #3638 and #3639: ``delete_adapter`` knew nothing of prompt learning. ``inactive`` deletes the adapter that is not
in use, ``active`` the one that is; ``name_again`` makes a new adapter under the old name.
"""

from __future__ import annotations

from typing import Any

from harness.kit import Trial, Variants, add_adapter, expect_near, far, logits, question, with_one_adapter

DOCUMENT = None
UPSTREAM = ("https://github.com/huggingface/peft/issues/3638", "https://github.com/huggingface/peft/pull/3639")
ORACLE = "alone"
LENGTHS = {"default": 20, "other": 6}
VARIANTS = (
    Variants(
        axes={
            "model": ("llama", "gpt2"),
            "method": ("prompt_tuning", "prefix_tuning", "p_tuning", "lora"),
            "aspect": ("inactive", "active", "name_again"),
        },
    ),
)


def check(trial: Trial) -> None:
    """Compare with each adapter alone on a fresh base."""
    ids, mask = question(trial)

    def said(model: Any) -> Any:
        return logits(model, length=ids.shape[1], input_ids=ids, attention_mask=mask)

    wanted = {name: said(with_one_adapter(trial, name, length)) for name, length in LENGTHS.items()}
    trial.expect(far(*wanted.values()) > 0.1, "the two adapters say the same")
    model = with_one_adapter(trial, "default", LENGTHS["default"])
    add_adapter(trial, model, "other", LENGTHS["other"])
    gone, stays = ("default", "other") if trial.aspect == "active" else ("other", "default")
    model.delete_adapter(gone)
    trial.expect(gone not in model.peft_config, "the deleted adapter's config is still there")
    left = [name for name, _ in model.named_parameters() if f".{gone}." in name]
    trial.expect(not left, "the deleted adapter's weights are still there")
    if trial.aspect == "active":
        model.set_adapter(stays)
    expect_near(trial, "the adapter that stays against alone", said(model), wanted[stays])
    if trial.aspect == "name_again":
        add_adapter(trial, model, gone, LENGTHS[gone])
        model.set_adapter(gone)
        expect_near(trial, "the new adapter of the old name against alone", said(model), wanted[gone])
