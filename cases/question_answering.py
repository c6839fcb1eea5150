"""An extractive question answerer uses its prompt for every token: logits, loss and head are what the numbers give.

huggingface/peft#3558 (embeddings in the place of ids) and #2220 (heads). PEFT has a forward of its own for this task.
The reference feeds the base model the prompt's embeddings, or puts the prefix in its attention.
"""

from __future__ import annotations

from typing import Any

import peft
import torch
from torch.nn.functional import cross_entropy, linear

from harness.kit import (
    Batch,
    Trial,
    Variants,
    attach,
    encoder_by_hand,
    expect_logits,
    fill,
    in_memory,
    lora_options,
    make_batch,
    make_model,
    token_types,
)

DOCUMENT = None
UPSTREAM = ("https://github.com/huggingface/peft/pull/3558", "https://github.com/huggingface/peft/pull/2220")
ORACLE = "by hand"
RING = "references"
VARIANTS = (
    Variants(
        axes={
            "model": ("bert", "roberta"),
            "method": ("prompt_tuning", "prefix_tuning", "p_tuning", "lora"),
            "aspect": ("alone", "right", "typed", "embedded", "positions", "loss", "loss_at_the_start", "reload"),
        },
        without=(
            # RoBERTa has one type alone.
            {"model": "roberta", "aspect": "typed"},
            # Its first text begins at the position behind that of the padding.
            {"model": "roberta", "aspect": "positions"},
            # It counts the positions of ids behind a cache, and those of embeddings from the start.
            {"model": "roberta", "method": "prefix_tuning", "aspect": "embedded"},
        ),
    ),
)
VIRTUAL_TOKENS = 20
CLASSES = {"bert": "BertForQuestionAnswering", "roberta": "RobertaForQuestionAnswering"}
STARTS, ENDS = (2, 1, 3), (4, 3, 500)
"""Where each text's answer begins and ends; the last end lies behind every text, and is not counted. The first answer's
end is moved to the last place of the batch."""

TOLERANCE = 2e-4


def check(trial: Trial) -> None:
    """Compare each token's two logits with those by hand, or the loss with that of the logits (by hand)."""
    model = _adapted(trial)
    batch = make_batch("alone" if trial.aspect == "alone" else "right", device=trial.torch_device())
    stored = in_memory(model, trial.method)
    if trial.aspect in {"loss", "loss_at_the_start"}:
        _loss(trial, model, batch)
        return
    base = _answerer(trial, head=1)
    head = {name: getattr(base.qa_outputs, name).detach() for name in ("weight", "bias")}
    inputs: dict[str, Any] = {"input_ids": batch.ids}
    types = None
    match trial.aspect:
        case "typed":
            types = inputs["token_type_ids"] = token_types(batch.ids)
        case "positions":
            # Said to be ignored where there is a prompt; those given are the base model's own.
            inputs["position_ids"] = torch.arange(batch.ids.shape[1], device=batch.ids.device)[None]
        case "embedded":
            inputs = {"inputs_embeds": base.get_input_embeddings()(batch.ids).detach()}
        case "reload":
            head = _trained_head(trial, model)
            model.save_pretrained(trial.scratch)
            model = peft.PeftModel.from_pretrained(_answerer(trial, head=2), str(trial.scratch)).eval()

    def wanted(given: torch.Tensor | None) -> list[torch.Tensor]:
        found = []
        for index, (row, place) in enumerate(zip(batch.rows, batch.places, strict=True)):
            own = None if given is None else given[index : index + 1, place]
            states = encoder_by_hand(base, trial.model, stored, own).logits(row)
            found.append(linear(states, head["weight"], head["bias"]))
        return found

    with torch.no_grad():
        output = model(attention_mask=batch.mask, **inputs)
    # What stands before the text belongs to the prompt.
    found = torch.stack([output.start_logits, output.end_logits], dim=-1).float()[:, -batch.ids.shape[1] :]
    rows = [one[place] for one, place in zip(found, batch.places, strict=True)]
    other = {} if types is None else {"the token types are not used": lambda: wanted(None)}
    expect_logits(trial, "logits", rows, wanted(types), other)


def _answerer(trial: Trial, *, head: int) -> Any:
    """Make a tiny question answerer; its head alone depends on ``head``."""
    name = CLASSES[trial.model]
    model = make_model(trial.model, device=trial.torch_device(), trained=False, model_class=name)
    fill(model, seed=head, std=0.5, only=lambda name: name.startswith("qa_outputs"))
    return model


def _adapted(trial: Trial) -> Any:
    """Wrap it with a strong prompt."""
    lora = trial.method == "lora"
    options = lora_options(trial.model) if lora else {"virtual_tokens": VIRTUAL_TOKENS}
    model = attach(_answerer(trial, head=1), trial.method, strong=False, task="QUESTION_ANS", **options)
    std = 0.3 if lora else 0.8
    fill(model, seed=7, std=std, only=lambda name: "prompt_encoder" in name or "lora_" in name)
    return model


def _trained_head(trial: Trial, model: Any) -> dict[str, torch.Tensor]:
    """Write to the head as training does, and return its numbers by name."""
    trainable = {name for name, one in model.named_parameters() if one.requires_grad and "qa_outputs" in name}
    trial.expect(bool(trainable), "the head is not trained")
    fill(model, seed=3, std=0.5, only=trainable.__contains__)
    own = {name.rpartition(".")[2]: one.detach() for name, one in model.named_parameters() if name in trainable}
    trial.expect(own.keys() == {"weight", "bias"}, "a part of the head is not trained")
    return own


def _loss(trial: Trial, model: Any, batch: Batch) -> None:
    """Compare the loss with the mean of both cross-entropies; places are the text's, which the prompt moves."""
    starts, ends = (torch.tensor(one, device=batch.ids.device) for one in (STARTS, ENDS))
    ends[0] = batch.ids.shape[1] - 1
    if trial.aspect == "loss_at_the_start":
        # As a text without an answer is marked.
        starts[1] = ends[1] = 0
    output = model(input_ids=batch.ids, attention_mask=batch.mask, start_positions=starts, end_positions=ends)
    trial.expect(output.loss is not None, "there is no loss")
    before = output.start_logits.shape[1] - batch.ids.shape[1]

    def wanted(moved: int) -> float:
        logits = (output.start_logits.detach(), output.end_logits.detach())
        parts = []
        for one, places in zip(logits, (starts, ends), strict=True):
            counted = places < batch.ids.shape[1]
            parts.append(cross_entropy(one[counted], places[counted] + moved))
        return float(sum(parts)) / 2

    trial.evidence.update(loss=float(output.loss), by_hand=wanted(before), of_the_prompt=wanted(0))
    if before:
        of_the_prompt = abs(float(output.loss) - wanted(0)) < TOLERANCE
        trial.expect(not of_the_prompt, "the loss takes places in the text for places in the prompt")
    trial.expect(abs(float(output.loss) - wanted(before)) < TOLERANCE, "the loss is not that of the answers' places")
