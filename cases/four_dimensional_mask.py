"""A mask of four dimensions is heeded as the mask of two dimensions that says the same.

Packed samples and prefix caching are trained with ``(batch, 1, length, length)`` masks. huggingface/peft#2452: PEFT
lengthens a mask as if it had two dimensions.
"""

from __future__ import annotations

from typing import Any

import torch

from harness.kit import (
    Trial,
    Variants,
    base_alone_can,
    expect_near,
    far,
    logits,
    make_base,
    question,
    wrap,
)

DOCUMENT = None
UPSTREAM = ("https://github.com/huggingface/peft/issues/2452", "https://github.com/huggingface/peft/pull/2458")
ORACLE = "same call"
HIDDEN = 5
VARIANTS = (
    Variants(
        axes={
            "model": ("llama", "qwen2"),
            "method": ("prompt_tuning", "prefix_tuning", "p_tuning", "lora"),
            "aspect": ("additive", "boolean"),
        },
    ),
)


def check(trial: Trial) -> None:
    """Hide the first tokens either way and compare the logits of the others; without the mask they are other ones."""
    ids, ones = question(trial)
    length, shown = ids.shape[1], ids.shape[1] - HIDDEN
    flat = ones.clone()
    flat[:, :HIDDEN] = 0
    seen = (flat[:, None, :] * torch.ones(length, length, device=ids.device).tril()).bool()[:, None]
    least = torch.finfo(torch.float32).min
    square = seen if trial.aspect == "boolean" else torch.zeros(seen.shape, device=ids.device).masked_fill(~seen, least)

    def said(model: Any, mask: torch.Tensor) -> torch.Tensor:
        return logits(model, length=shown, input_ids=ids, attention_mask=mask)

    base = make_base(trial)
    base_alone_can(lambda: said(base, square).argmax(-1), said(base, flat).argmax(-1))
    model = wrap(trial, base)
    wanted = said(model, flat)
    trial.expect(far(wanted, said(model, ones)) > 0.01, "the mask changes nothing")
    expect_near(trial, "four dimensions against two", said(model, square), wanted)
