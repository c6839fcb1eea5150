"""A row alone is answered as the same row in a padded batch, whichever side is padded.

huggingface/peft#1093 and huggingface/peft#1212: virtual tokens stand before the padding of a batch that is padded on
the left, and PEFT drops position ids. ``left`` and ``right`` ask a forward that is handed the positions of the text,
``left_generate`` asks ``generate`` as users call it.
"""

from __future__ import annotations

from typing import Any

import torch

from harness.kit import (
    Trial,
    Variants,
    base_alone_can,
    counted,
    encode,
    greedy_by_forward,
    greedy_by_generate,
    logits,
    make_base,
    same_tokens,
    wrap,
)

DOCUMENT = None
UPSTREAM = (
    "https://github.com/huggingface/peft/issues/1093",
    "https://github.com/huggingface/peft/issues/1212",
    "https://github.com/huggingface/peft/pull/2953",
)
ORACLE = "batch"
TEXTS = ("3+4=7</s>2+2=4</s> 1+1=", "8+8=", "9+0=9</s>6+2=")
NEW_TOKENS = 6
METHODS = ("prompt_tuning", "prefix_tuning", "p_tuning", "lora")
VARIANTS = (
    Variants(
        axes={
            "model": ("llama", "gpt2", "bloom", "qwen2", "opt"),
            "method": METHODS,
            "aspect": ("right", "left_generate"),
        },
    ),
    # Bloom has no positions, and OPT's come from the mask: they take none from the caller.
    Variants(axes={"model": ("llama", "gpt2"), "method": METHODS, "aspect": ("left",)}),
)


def check(trial: Trial) -> None:
    """Answer each text alone and in the batch; the base alone must manage it first."""
    rows = [encode(text, device=trial.torch_device()) for text in TEXTS]
    base = make_base(trial)
    bare = torch.cat([_alone(trial, base, row) for row in rows])
    base_alone_can(lambda: _answers(trial, base, rows), bare)
    model = wrap(trial, base)
    # By forward alone: a generate that drops the prompt shall not be its own measure.
    alone = torch.cat([_alone(trial, model, row) for row in rows])
    with counted(trial, model):
        together = _answers(trial, model, rows)
    trial.evidence.update(alone=alone.tolist(), together=together.tolist(), base=bare.tolist())
    trial.expect(not same_tokens(alone, bare), "the prompt does not change what a row alone is answered")
    trial.expect(same_tokens(together, alone), "a row in a padded batch is answered otherwise than alone")


def _alone(trial: Trial, model: Any, row: torch.Tensor) -> torch.Tensor:
    """Answer one row of ids without padding, by plain forward calls."""
    if trial.aspect != "left_generate":
        return _answers(trial, model, [row])
    return greedy_by_forward(model, row, torch.ones_like(row), new_tokens=NEW_TOKENS)[0]


def _answers(trial: Trial, model: Any, rows: list[torch.Tensor]) -> torch.Tensor:
    """Return the likeliest token after each token of the texts' ends, or what ``generate`` says, ``(rows, tokens)``."""
    length = max(row.shape[1] for row in rows)
    left = trial.aspect != "right"
    ids, mask = torch.zeros(2, len(rows), length, dtype=torch.long, device=rows[0].device)
    places = [slice(length - row.shape[1], length) if left else slice(row.shape[1]) for row in rows]
    for index, (row, place) in enumerate(zip(rows, places, strict=True)):
        ids[index, place], mask[index, place] = row[0], 1
    if trial.aspect == "left_generate":
        return greedy_by_generate(model, ids, mask, new_tokens=NEW_TOKENS)
    positions = {"position_ids": (mask.cumsum(-1) - 1).clamp(min=0)} if left else {}
    said = logits(model, length=length, input_ids=ids, attention_mask=mask, **positions).argmax(-1)
    return torch.stack([said[index, place][-4:] for index, place in enumerate(places)])
