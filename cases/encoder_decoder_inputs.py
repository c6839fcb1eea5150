"""An encoder-decoder may be given a mask for its decoder, or embeddings in the place of ids, and the prompt counts.

huggingface/peft#1188 and #3558: a prefix stands in the decoder, which then has a longer mask; embeddings were dropped.
The reference answers each text alone, with its answer unpadded.
"""

from __future__ import annotations

from typing import Any

import torch

from harness.kit import (
    ByHand,
    Trial,
    Variants,
    adapted,
    bare_model,
    encode,
    expect_logits,
    in_memory,
    make_batch,
    start_of,
)

DOCUMENT = None
UPSTREAM = ("https://github.com/huggingface/peft/issues/1188", "https://github.com/huggingface/peft/pull/3558")
ORACLE = "by hand"
RING = "references"
VARIANTS = (
    Variants(
        axes={
            "model": ("t5", "bart"),
            "method": ("prompt_tuning", "prefix_tuning", "p_tuning", "lora"),
            "aspect": ("decoder_mask", "embedded", "decoder_embedded"),
        },
    ),
)
ANSWERS = ("16 is 8", "7", "4 and 3")


def check(trial: Trial) -> None:
    """Compare the logits of each answer with those that the stored numbers give by hand (by hand)."""
    batch = make_batch("right", device=trial.torch_device())
    model = adapted(trial)
    base = bare_model(trial.model, trial.torch_device())
    by_hand = ByHand(base, trial.model, in_memory(model, trial.method))
    answers = [_fed(trial, text) for text in ANSWERS]
    longest = max(one.shape[1] for one in answers)
    # On the left what the mask hides would be looked at. BART counts places, and so does T5 from a prefix to a text.
    left = trial.model == "t5" and trial.method != "prefix_tuning"
    places = [slice(longest - one.shape[1], longest) if left else slice(0, one.shape[1]) for one in answers]
    fed, mask = torch.zeros(2, len(answers), longest, dtype=torch.long, device=batch.ids.device)
    for index, (one, place) in enumerate(zip(answers, places, strict=True)):
        fed[index, place], mask[index, place] = one[0], 1
    words = base.get_input_embeddings()
    inputs: dict[str, Any] = {"input_ids": batch.ids, "decoder_input_ids": fed}
    match trial.aspect:
        case "embedded":
            inputs = {"inputs_embeds": words(batch.ids).detach(), "decoder_input_ids": fed}
        case "decoder_embedded":
            inputs = {"input_ids": batch.ids, "decoder_inputs_embeds": words(fed).detach()}
    with torch.no_grad():
        found = model(attention_mask=batch.mask, decoder_attention_mask=mask, **inputs).logits.float()
    rows = [one[place] for one, place in zip(found, places, strict=True)]
    wanted = [by_hand.logits(text, answer=answer) for text, answer in zip(batch.rows, answers, strict=True)]
    expect_logits(trial, "logits", rows, wanted)


def _fed(trial: Trial, text: str) -> torch.Tensor:
    """Return what the decoder is fed for an answer, ``(1, length)``: the start token, and all but the last of it."""
    ids = encode(text, device=trial.torch_device())
    ids[0, 0] = start_of(bare_model(trial.model, trial.torch_device()))
    return ids
