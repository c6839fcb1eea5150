"""A classifier with a prompt uses it for each text or token, takes labels, does not mind padding, keeps its head.

TOKEN_CLS with labels: huggingface/peft#1974; saving the head: #2220, #2477, #2481, #2646; encoders, prefix tuning and
``past_key_values``: #2905. Where a method puts its virtual tokens before the text, a tagger's logits of the text are
the last.
"""

from __future__ import annotations

from typing import Any

import peft
import torch

from harness.kit import (
    LORA,
    LORA_TARGETS,
    Trial,
    Variants,
    attach,
    encode,
    expect_equal,
    fill,
    logits,
    make_model,
)

DOCUMENT = None
UPSTREAM = (
    "https://github.com/huggingface/peft/issues/1974",
    "https://github.com/huggingface/peft/pull/2220",
    "https://github.com/huggingface/peft/pull/2646",
    "https://github.com/huggingface/peft/pull/2905",
)
ORACLE = "by hand"
RING = "families"
VIRTUAL_TOKENS = 10
LABELS = 3
FIRST, SECOND = "3+4=7 2+2=4", "1+1="
TASK_TYPES = {"sequence": "SEQ_CLS", "token": "TOKEN_CLS"}
HEADS = {"sequence": "ForSequenceClassification", "token": "ForTokenClassification"}
ENCODERS = {"bert": "Bert", "roberta": "Roberta"}

VARIANTS = (
    Variants(
        axes={
            "task": ("sequence", "token"),
            "model": ("bert", "roberta"),
            "method": ("prompt_tuning", "prefix_tuning", "prefix_tuning_projection", "p_tuning", "lora"),
            "aspect": ("used", "labels", "batch", "reload"),
        },
    ),
)


def check(trial: Trial) -> None:
    """Compare logits with the base model's, with those of a row alone and after loading; compute the loss by hand."""
    device = trial.torch_device()
    base = _classifier(trial, head=1)
    first, second = encode(FIRST, device=device), encode(SECOND, device=device)
    ids, mask = _padded(first, second)
    without = logits(base, input_ids=ids, attention_mask=mask)
    model = _attached(trial, base)
    found = logits(model, input_ids=ids, attention_mask=mask)
    trial.evidence["shape"] = list(found.shape)
    if trial.task == "token":
        # What stands before the text belongs to the prompt.
        found = found[:, -ids.shape[1] :]
    match trial.aspect:
        case "used":
            trial.expect(found.shape == without.shape, f"the logits are not one row for each {_unit(trial)}")
            # Of each text or token the class that moves most; of those the text or token that moves least.
            moved = (found - without).abs().amax(dim=-1)
            trial.evidence["distance"] = float((moved[mask.bool()] if trial.task == "token" else moved).min())
            lost = "reach every token" if trial.task == "token" else "change the logits"
            trial.expect(trial.evidence["distance"] > 0.01, f"the prompt does not {lost}")
        case "labels":
            _labels(trial, model, ids, mask, found)
        case "batch":
            alone = logits(model, input_ids=second, attention_mask=torch.ones_like(second))
            together = found[1:]
            if trial.task == "token":
                length = second.shape[1]
                together, alone = together[:, :length], alone[:, -length:]
            expect_equal(trial, together, alone, "padding changes the logits of a text")
        case "reload":
            again = _reloaded(trial, model)
            saved = logits(model, input_ids=ids, attention_mask=mask)
            loaded = logits(again, input_ids=ids, attention_mask=mask)
            expect_equal(trial, loaded, saved, "loaded again it says otherwise")


def _unit(trial: Trial) -> str:
    return "token" if trial.task == "token" else "text"


def _labels(trial: Trial, model: Any, ids: torch.Tensor, mask: torch.Tensor, found: torch.Tensor) -> None:
    """Compare the model's loss with the cross-entropy of ``found``, its logits of the texts or of their tokens."""
    if trial.task == "token":
        labels = torch.arange(ids.numel(), device=ids.device).reshape(ids.shape) % LABELS
        labels = labels.masked_fill(mask == 0, -100)
        found, of = found.flatten(0, 1), "text's tokens"
    else:
        labels, of = torch.tensor([LABELS - 1, 0], device=ids.device), "logits"
    loss = model(input_ids=ids, attention_mask=mask, labels=labels).loss.detach()
    by_hand = torch.nn.functional.cross_entropy(found, labels.flatten(), ignore_index=-100)
    expect_equal(trial, loss, by_hand, f"the loss is not that of the {of}")


def _classifier(trial: Trial, *, head: int) -> Any:
    """Make a tiny classifier of :data:`LABELS` classes; its head alone depends on ``head``."""
    name = ENCODERS[trial.model] + HEADS[trial.task]
    model = make_model(trial.model, device=trial.torch_device(), trained=False, model_class=name, num_labels=LABELS)
    fill(model, seed=head, std=0.5, only=lambda name: name.startswith("classifier"))
    return model


def _attached(trial: Trial, base: Any) -> Any:
    """Wrap a classifier with the variant's method; the prompt is strong, the head as it was."""
    options: dict[str, Any] = {"target_modules": LORA_TARGETS["roberta"]} if trial.method == LORA else {}
    task = TASK_TYPES[trial.task]
    model = attach(base, trial.method, strong=False, virtual_tokens=VIRTUAL_TOKENS, task=task, **options)
    std = 0.3 if trial.method == LORA else 0.8
    fill(model, seed=7, std=std, only=lambda name: "prompt_encoder" in name or "lora_" in name)
    return model


def _reloaded(trial: Trial, model: Any) -> Any:
    """Train the head (by writing to it), save all, and load it on a base with another head."""
    trainable = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    fill(model, seed=3, std=0.5, only=lambda name: "classifier" in name and name in trainable)
    model.save_pretrained(trial.scratch)
    return peft.PeftModel.from_pretrained(_classifier(trial, head=2), str(trial.scratch)).eval()


def _padded(first: torch.Tensor, second: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Join two rows of ids, ``(1, length)`` each, padding the shorter on the right; return ids and mask."""
    length = max(first.shape[1], second.shape[1])
    ids = torch.cat([torch.nn.functional.pad(row, (0, length - row.shape[1])) for row in (first, second)])
    mask = torch.zeros_like(ids)
    mask[0, : first.shape[1]] = 1
    mask[1, : second.shape[1]] = 1
    return ids, mask
