"""A classifier's logits are what the stored numbers give by hand: of texts and of tokens, padded, with token types.

huggingface/peft#1974 (a tagger with a prompt) and #2905 (a prefix in an encoder). ``classification`` compares the
adapted model with itself; here the base classifier is fed the prompt's embeddings, or has the prefix in its attention.
"""

from __future__ import annotations

from typing import Any

import torch

from harness.kit import (
    Trial,
    Variants,
    attach,
    encoder_by_hand,
    expect_logits,
    far,
    fill,
    in_memory,
    lora_options,
    make_batch,
    make_model,
    near,
    token_types,
)

DOCUMENT = None
UPSTREAM = ("https://github.com/huggingface/peft/issues/1974", "https://github.com/huggingface/peft/pull/2905")
ORACLE = "by hand"
RING = "long"
VARIANTS = (
    Variants(
        axes={
            "model": ("bert", "roberta"),
            "task": ("sequence", "token"),
            "method": ("prompt_tuning", "prefix_tuning", "p_tuning", "lora"),
            "layout": ("alone", "right"),
            "types": ("given", "none"),
        },
        # RoBERTa has one type alone.
        without=({"model": "roberta", "types": "given"},),
    ),
    # Positions, which are said to be ignored where there is a prompt; those given are the base model's own.
    Variants(
        axes={
            "model": ("bert",),
            "task": ("sequence", "token"),
            "method": ("prompt_tuning", "prefix_tuning", "p_tuning", "lora"),
            "layout": ("alone",),
            "types": ("positions",),
        },
    ),
    # A loss of each kind: of one number, of two classes, and of three of which a text may have several.
    Variants(
        axes={
            "model": ("bert",),
            "task": ("sequence",),
            "method": ("prompt_tuning", "prefix_tuning", "p_tuning", "lora"),
            "layout": ("right",),
            "types": ("regression", "two_classes", "several_classes"),
        },
    ),
)
LABELS = 3
COUNTS = {"regression": 1, "two_classes": 2}
TOLERANCE = 1e-4
"""Of a loss near 1 to 30 in float32; another kind of loss is off by more than a tenth."""

CLASSES = {"bert": "Bert", "roberta": "Roberta"}
HEADS = {"sequence": ("ForSequenceClassification", "SEQ_CLS"), "token": ("ForTokenClassification", "TOKEN_CLS")}


def check(trial: Trial) -> None:
    """Compare the logits of every text, or of its tokens, with those by hand (by hand)."""
    head, task = HEADS[trial.task]
    options = lora_options(trial.model) if trial.method == "lora" else {"virtual_tokens": 20}
    model = attach(_classifier(trial, head), trial.method, strong=False, task=task, **options)
    std = 0.3 if trial.method == "lora" else 0.8
    fill(model, seed=7, std=std, only=lambda name: "prompt_encoder" in name or "lora_" in name)
    base, batch = _classifier(trial, head), make_batch(trial.layout, device=trial.torch_device())
    types = token_types(batch.ids) if trial.types == "given" else None
    inputs = {} if types is None else {"token_type_ids": types}
    if trial.types == "positions":
        inputs["position_ids"] = torch.arange(batch.ids.shape[1], device=batch.ids.device)[None]
    with torch.no_grad():
        found = model(input_ids=batch.ids, attention_mask=batch.mask, **inputs).logits.float()
    wanted = []
    for index, (row, place) in enumerate(zip(batch.rows, batch.places, strict=True)):
        own = None if types is None else types[index : index + 1, place]
        wanted.append(_by_hand(trial, base, model, row, own))
    if trial.task == "token":
        # What stands before the text belongs to the prompt.
        found = found[:, -batch.ids.shape[1] :]
        rows = [one[place] for one, place in zip(found, batch.places, strict=True)]
    else:
        rows = list(found)
    expect_logits(trial, "logits", rows, wanted)
    if trial.types in {"regression", "two_classes", "several_classes"}:
        _expect_loss(trial, model, batch, torch.stack(wanted))


def _expect_loss(trial: Trial, model: Any, batch: Any, logits: torch.Tensor) -> None:
    """Hold the loss of a batch against that of the logits by hand, ``(texts, labels)``."""
    count, texts = logits.shape[1], len(logits)
    if trial.types == "regression":
        labels = torch.arange(texts, device=logits.device).float()
        wanted = torch.nn.functional.mse_loss(logits[:, 0], labels)
    elif trial.types == "two_classes":
        labels = torch.arange(texts, device=logits.device) % count
        wanted = torch.nn.functional.cross_entropy(logits, labels)
    else:
        labels = (torch.arange(texts * count, device=logits.device).reshape(texts, count) % 2).float()
        wanted = torch.nn.functional.binary_cross_entropy_with_logits(logits, labels)
    with torch.no_grad():
        found = model(input_ids=batch.ids, attention_mask=batch.mask, labels=labels).loss
    trial.evidence.update(loss=float(found), wanted=float(wanted))
    trial.expect(
        near(trial, "loss", far(found, wanted), TOLERANCE * max(1.0, float(wanted))), "the loss is another one"
    )


def _classifier(trial: Trial, head: str) -> Any:
    """Make a tiny classifier with a head of hashed numbers."""
    name = CLASSES[trial.model] + head
    count = COUNTS.get(trial.types, LABELS)
    model = make_model(trial.model, device=trial.torch_device(), trained=False, model_class=name, num_labels=count)
    fill(model, seed=1, std=0.5, only=lambda name: name.startswith("classifier"))
    return model


def _by_hand(trial: Trial, base: Any, model: Any, row: torch.Tensor, types: torch.Tensor | None) -> torch.Tensor:
    """Answer one text by the base classifier: its logits, ``(labels,)``, or each token's, ``(length, labels)``."""
    stored = in_memory(model, trial.method)
    with torch.no_grad():
        if trial.method in {"prompt_tuning", "p_tuning"}:
            # Of the text that is pooled the first token is a virtual one.
            virtual = encoder_by_hand(base, trial.model, stored).virtual()
            both = torch.cat([virtual, base.get_input_embeddings()(row)[0]])[None]
            given = {} if types is None else {"token_type_ids": torch.nn.functional.pad(types, (len(virtual), 0))}
            logits = base(inputs_embeds=both, **given).logits[0].float()
            return logits[-row.shape[1] :] if trial.task == "token" else logits
        # A prefix is in the attention alone: the text's own first token is pooled.
        return _head(trial, base, encoder_by_hand(base, trial.model, stored, types).logits(row)[None])


def _head(trial: Trial, base: Any, states: torch.Tensor) -> torch.Tensor:
    """Apply the base classifier's own head to hidden states, ``(1, length, hidden)``."""
    if trial.task == "token":
        return base.classifier(states)[0].float()
    # RoBERTa's head takes the first token's state itself.
    pooled = base.bert.pooler(states) if trial.model == "bert" else states
    return base.classifier(pooled)[0].float()
