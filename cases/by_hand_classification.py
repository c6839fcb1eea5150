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
    fill,
    in_memory,
    lora_options,
    make_batch,
    make_model,
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
    # Positions, which are said to be ignored where there is a prompt, and are the base model's own; and a plain tuple.
    Variants(
        axes={
            "model": ("bert",),
            "task": ("sequence", "token"),
            "method": ("prompt_tuning", "prefix_tuning", "p_tuning", "lora"),
            "layout": ("alone",),
            "types": ("positions", "tuple"),
        },
    ),
)
LABELS = 3
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
    inputs: dict[str, Any] = {} if types is None else {"token_type_ids": types}
    if trial.types == "positions":
        inputs["position_ids"] = torch.arange(batch.ids.shape[1], device=batch.ids.device)[None]
    if trial.types == "tuple":
        inputs["return_dict"] = False
    with torch.no_grad():
        output = model(input_ids=batch.ids, attention_mask=batch.mask, **inputs)
    trial.expect(isinstance(output, tuple) == (trial.types == "tuple"), "another kind of output than was asked for")
    found = (output[0] if trial.types == "tuple" else output.logits).float()
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


def _classifier(trial: Trial, head: str) -> Any:
    """Make a tiny classifier with a head of hashed numbers."""
    name = CLASSES[trial.model] + head
    model = make_model(trial.model, device=trial.torch_device(), trained=False, model_class=name, num_labels=LABELS)
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
