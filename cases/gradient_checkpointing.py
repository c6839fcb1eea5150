"""Gradient checkpointing changes no gradient; where it cannot go with a method, it is refused.

huggingface/peft#869; the guard of peft #2191 acts when the adapter is made. ``before`` switches checkpointing on and
then wraps the model, ``after`` wraps it and then switches it on, as Trainer does.
"""

from __future__ import annotations

from typing import Any

import torch

from harness.kit import Trial, Variants, far, make_base, question, wrap

DOCUMENT = None
UPSTREAM = ("https://github.com/huggingface/peft/issues/869", "https://github.com/huggingface/peft/pull/2191")
ORACLE = "same call"
NO_DROPOUT = {"gpt2": {"attn_pdrop": 0.0, "embd_pdrop": 0.0, "resid_pdrop": 0.0}}
VARIANTS = (
    Variants(
        axes={
            "model": ("llama", "gpt2", "qwen2"),
            "method": ("prompt_tuning", "prefix_tuning", "prefix_tuning_projection", "p_tuning", "lora"),
            "aspect": ("before", "after"),
        },
    ),
)


def check(trial: Trial) -> None:
    """Compare the loss and each gradient of the adapter with those of the same model without checkpointing."""
    wanted_loss, wanted = _gradients(trial, checkpointing=None)
    trial.expect(all(bool(one.any()) for one in wanted.values()), "without checkpointing a part gets no gradient")
    try:
        loss, found = _gradients(trial, checkpointing=trial.aspect)
    except ValueError as error:
        # Refusing is right, when the words say what was refused.
        if "gradient checkpointing" not in str(error).lower():
            raise
        trial.evidence["refused"] = str(error)
        return
    trial.evidence.update(loss=loss, without=wanted_loss, missing=sorted(wanted.keys() - found.keys())[:4])
    trial.expect(bool(found), "with checkpointing the adapter gets no gradient at all")
    trial.expect(abs(loss - wanted_loss) < 1e-4, "with checkpointing the loss is another one")
    apart = max(far(found[name], one) if name in found else float("inf") for name, one in wanted.items())
    scale = max(float(one.abs().max()) for one in wanted.values())
    trial.evidence.update(gradients_apart=min(apart, 1e9), largest_gradient=scale)
    trial.expect(apart < 1e-3 * scale, "with checkpointing the adapter's gradients are others")


def _gradients(trial: Trial, *, checkpointing: str | None) -> tuple[float, dict[str, torch.Tensor]]:
    """Return the loss of one step, and the gradient of each of the adapter's weights that has one."""

    def switch_on(model: Any) -> None:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})

    ids, mask = question(trial)
    base = make_base(trial, **NO_DROPOUT.get(trial.model, {}))
    if checkpointing == "before":
        switch_on(base)
    model = wrap(trial, base)
    if checkpointing == "after":
        switch_on(model)
    model.train()
    loss = model(input_ids=ids, attention_mask=mask, labels=ids).loss
    loss.backward()
    weights = model.named_parameters()
    return loss.item(), {name: weight.grad for name, weight in weights if weight.grad is not None}
