"""The loss with labels is the mean cross-entropy of what is labelled: of each row, of answers alone, weighed as asked.

huggingface/peft#869 (prompts that learn nothing) and #2168 (CPT's types and decay). Labels are lengthened, masked and
shifted on the way to the base model, and none of that shows in logits. The reference has its logits by hand.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn.functional import cross_entropy

from harness.kit import (
    Batch,
    ByHand,
    Stored,
    Trial,
    Variants,
    adapted,
    bare_model,
    encode,
    fill,
    in_memory,
    make_batch,
    start_of,
    task_inputs,
    virtual_embeddings,
)

DOCUMENT = None
UPSTREAM = ("https://github.com/huggingface/peft/issues/869", "https://github.com/huggingface/peft/pull/2168")
ORACLE = "by hand"
RING = "references"
VARIANTS = (
    Variants(
        axes={
            "model": ("llama", "gpt2", "bloom"),
            "method": ("prompt_tuning", "prefix_tuning", "p_tuning", "cartridge", "lora", "multitask_prompt_tuning"),
            "layout": ("alone", "right"),
        },
    ),
    Variants(
        axes={
            "model": ("t5", "bart"),
            "method": ("prompt_tuning", "prefix_tuning", "p_tuning", "cartridge", "lora", "multitask_prompt_tuning"),
            "layout": ("alone", "right"),
        },
    ),
    # For the encoder alone; the others have a prompt for the decoder as well.
    Variants(axes={"model": ("t5", "bart"), "method": ("multitask_prompt_tuning",), "layout": ("encoder",)}),
    Variants(
        axes={
            "model": ("llama", "gpt2"),
            "method": ("cpt",),
            "layout": ("typed", "untyped", "decayed", "bounded", "short", "batch"),
        },
    ),
)
ANSWERS = ("16 is 8", "7", "4 and 3")
ENCODER_DECODERS = ("t5", "bart")
TOLERANCE = 2e-4
"""Of a loss near 10 in float32; a token that is counted or not moves it by 0.1."""

TYPES = [1, 2, 3, 4, 5, 6, 7, 8]
"""CPT's prompt: two examples of a template, an input, a template of the answer and the answer."""

KINDS = (1, 2, 2, 3, 4, 4)
"""The types of a question's last tokens."""

DECAY = 0.4


def check(trial: Trial) -> None:
    """Compare the loss with the cross-entropy of logits that the stored numbers give by hand (by hand)."""
    if trial.method == "cpt" and trial.layout == "batch":
        _cpt_batch(trial)
        return
    if trial.method == "cpt":
        _cpt(trial)
        return
    batch = make_batch("right" if trial.layout == "encoder" else trial.layout, device=trial.torch_device())
    options: dict[str, Any] = {"num_transformer_submodules": 1} if trial.layout == "encoder" else {}
    model = adapted(trial, **options)
    stored = in_memory(model, trial.method)
    by_hand = ByHand(bare_model(trial.model, trial.torch_device()), trial.model, stored)
    if trial.model in ENCODER_DECODERS:
        labels, parts = _answers(trial, by_hand, stored, batch)
    else:
        labels, parts = _texts(by_hand, batch)
    inputs = task_inputs(trial.method, batch)
    loss = model(input_ids=batch.ids, attention_mask=batch.mask, labels=labels, **inputs).loss
    _expect(trial, loss, torch.cat(parts).mean())


def _expect(trial: Trial, loss: torch.Tensor, wanted: torch.Tensor) -> None:
    trial.evidence.update(loss=float(loss), by_hand=float(wanted))
    trial.expect(abs(float(loss) - float(wanted)) < TOLERANCE, "the loss is not that of what is labelled")


def _texts(by_hand: ByHand, batch: Batch) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """Label each text but its first two tokens; return the labels, and the cross-entropy of each labelled token."""
    labels = torch.full_like(batch.ids, -100)
    parts = []
    for index, (row, place, task) in enumerate(zip(batch.rows, batch.places, batch.tasks, strict=True)):
        labels[index, place] = row[0]
        labels[index, place.start : place.start + 2] = -100
        logits = by_hand.logits(row, task=int(task))
        parts.append(cross_entropy(logits[1:-1], row[0, 2:], reduction="none"))
    return labels, parts


def _with_both(base: Any, stored: Stored, text: torch.Tensor, fed: torch.Tensor, task: int) -> torch.Tensor:
    """Put the first half of a multitask prompt before the encoder's text and the second before the decoder's."""
    prompts = virtual_embeddings(stored.method, stored.tensors, stored.facts, task=task).chunk(2)
    words = base.get_input_embeddings()
    with torch.no_grad():
        before, behind = (
            torch.cat([prompt, words(ids)[0]])[None] for prompt, ids in zip(prompts, (text, fed), strict=True)
        )
        return base(inputs_embeds=before, decoder_inputs_embeds=behind).logits[0, -fed.shape[1] :].float()


def _answers(trial: Trial, by_hand: ByHand, stored: Stored, batch: Batch) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """Label answers of unequal lengths; the decoder is fed each answer behind its start token."""
    rows = [encode(text, device=batch.ids.device)[0, 1:] for text in ANSWERS[: len(batch.rows)]]
    base = bare_model(trial.model, trial.torch_device())
    start = start_of(base)
    labels = torch.full((len(rows), max(map(len, rows))), -100, device=batch.ids.device)
    parts = []
    for index, (text, answer, task) in enumerate(zip(batch.rows, rows, batch.tasks, strict=True)):
        labels[index, : len(answer)] = answer
        fed = torch.cat([torch.full_like(answer[:1], start), answer[:-1]])[None]
        if trial.method == "multitask_prompt_tuning" and stored.facts["num_transformer_submodules"] > 1:
            logits = _with_both(base, stored, text, fed, int(task))
        else:
            logits = by_hand.logits(text, task=int(task), answer=fed)
        parts.append(cross_entropy(logits, answer, reduction="none"))
    return labels, parts


def _cpt(trial: Trial) -> None:
    """CPT learns the answers in its own prompt and in the text; the last example counts most where it decays."""
    device = trial.torch_device()
    options: dict[str, Any] = {"cpt_token_ids": encode("1+1=9*3=", device=device)[0, 1:].tolist()}
    options |= {"cpt_mask": [1] * len(TYPES), "cpt_tokens_type_mask": TYPES}
    if trial.layout == "decayed":
        options |= {"opt_weighted_loss_type": "decay", "opt_loss_decay_factor": DECAY}
    if trial.layout == "bounded":
        # Times 0.18 at this hidden size, so that changes of a length near 6.4 are cut, each kind to its own.
        options |= {"opt_projection_epsilon": 20.0, "opt_projection_format_epsilon": 30.0}
    if trial.layout == "short":
        # Changes of a length near 0.8 are cut as well: what is longer than its bound, not what is longer than 1.
        options |= {"opt_projection_epsilon": 2.0, "opt_projection_format_epsilon": 3.0}
    model = adapted(trial, **options)
    if trial.layout == "short":
        fill(model, seed=7, std=0.1, only=lambda name: name.endswith("delta_embedding.weight"))
    base = bare_model(trial.model, device)
    stored = in_memory(model, trial.method)
    by_hand = ByHand(base, trial.model, stored)
    text = encode("3+4=7</s> 1+1=", device=device)
    kinds = torch.full_like(text, 4)
    inputs: dict[str, Any] = {}
    if trial.layout != "untyped":
        kinds[:] = 0
        kinds[0, -len(KINDS) :] = torch.tensor(KINDS, device=device)
        inputs["input_type_mask"] = kinds.clone()
    loss = model(input_ids=text, attention_mask=torch.ones_like(text), labels=text, **inputs).loss
    with torch.no_grad():
        virtual = by_hand.virtual()
        both = torch.cat([virtual, base.get_input_embeddings()(text)[0]])[None]
        logits = base(inputs_embeds=both).logits[0]
    ids = torch.cat([torch.tensor(options["cpt_token_ids"], device=device), text[0]])
    # The text is one example more, whose types go on counting from the prompt's.
    types = torch.cat([torch.tensor(TYPES, device=device), kinds[0] + (kinds[0] > 0) * max(TYPES)])
    losses = cross_entropy(logits[:-1], ids[1:], reduction="none")
    counted = (types > 0) & (types % 4 == 0)
    weights = torch.ones_like(losses)
    if trial.layout == "decayed":
        examples = (max(int(types.max()), 1) - types[1:]) // 4
        weights = DECAY ** examples.float()
    _expect(trial, loss, (losses * weights)[counted[1:]].mean())


def _cpt_batch(trial: Trial) -> None:
    """Learn two texts at a time, of which one has no answer in it: the last example of each row counts most."""
    device = trial.torch_device()
    options: dict[str, Any] = {"cpt_token_ids": encode("1+1=9*3=", device=device)[0, 1:].tolist()}
    options |= {"cpt_mask": [1] * len(TYPES), "cpt_tokens_type_mask": TYPES}
    model = adapted(trial, **options, opt_weighted_loss_type="decay", opt_loss_decay_factor=DECAY)
    base = bare_model(trial.model, device)
    by_hand = ByHand(base, trial.model, in_memory(model, trial.method))
    texts = torch.cat([encode(text, device=device) for text in ("3+4=7</s> 1+1=", "8+8=1</s> 6+2=")])
    kinds = torch.zeros_like(texts)
    kinds[1, -len(KINDS) :] = torch.tensor(KINDS, device=device)
    inputs = {"input_ids": texts, "attention_mask": torch.ones_like(texts), "labels": texts}
    loss = model(**inputs, input_type_mask=kinds.clone()).loss
    words, parts = base.get_input_embeddings(), []
    for text, kind in zip(texts, kinds, strict=True):
        with torch.no_grad():
            logits = base(inputs_embeds=torch.cat([by_hand.virtual(), words(text)])[None]).logits[0]
        ids = torch.cat([torch.tensor(options["cpt_token_ids"], device=device), text])
        types = torch.cat([torch.tensor(TYPES, device=device), kind + (kind > 0) * max(TYPES)])
        losses = cross_entropy(logits[:-1], ids[1:], reduction="none")
        answers = sorted({int(one) for one in types if one > 0 and one % 4 == 0}, reverse=True)
        for rank, answer in enumerate(answers):
            parts.append(losses[types[1:] == answer] * DECAY**rank)
    _expect(trial, loss, torch.cat(parts).mean())
