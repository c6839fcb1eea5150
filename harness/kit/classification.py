"""Models with a classification head, and the oracles that hold for each of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import peft
import torch

from harness.kit.families import LORA_TARGETS
from harness.kit.methods import LORA, attach
from harness.kit.models import fill, make_model

if TYPE_CHECKING:
    from harness.kit.trial import Trial

LABELS = 3
HEADS = {"SEQ_CLS": "ForSequenceClassification", "TOKEN_CLS": "ForTokenClassification"}
_NAMES = {"bert": "Bert", "roberta": "Roberta"}
TOLERANCE = 1e-4
"""Of logits near 5 in float32: summing in another order stays below 1e-5, a dropped prompt moves them by 0.1."""


def make_classifier(family: str, task: str, *, device: torch.device, seed: int = 1) -> Any:
    """Make a tiny classifier of :data:`LABELS` classes; ``seed`` draws its head alone."""
    model = make_model(
        family, device=device, trained=False, model_class=_NAMES[family] + HEADS[task], num_labels=LABELS
    )
    fill(model, seed=seed, std=0.5, only=lambda name: name.startswith("classifier"))
    return model


def attach_to_classifier(trial: Trial, base: Any, task: str, *, virtual_tokens: int) -> Any:
    """Wrap a classifier with the variant's method; the prompt is strong, the head as it was."""
    options = {"target_modules": LORA_TARGETS["roberta"]} if trial.method == LORA else {}
    model = attach(base, trial.method, strong=False, virtual_tokens=virtual_tokens, task=task, **options)
    std = 0.3 if trial.method == LORA else 0.8
    fill(model, seed=7, std=std, only=lambda name: "prompt_encoder" in name or "lora_" in name)
    return model


def reloaded(trial: Trial, model: Any, task: str, *, device: torch.device) -> Any:
    """Train the head (by writing to it), save all, and load it on a base with another head."""
    trainable = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    fill(model, seed=3, std=0.5, only=lambda name: "classifier" in name and name in trainable)
    model.save_pretrained(trial.scratch)
    fresh = make_classifier(trial.model, task, device=device, seed=2)
    return peft.PeftModel.from_pretrained(fresh, str(trial.scratch)).eval()


def padded(first: torch.Tensor, second: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Join two rows of ids, ``(1, length)`` each, padding the shorter on the right; give ids and mask."""
    length = max(first.shape[1], second.shape[1])
    ids = torch.cat([torch.nn.functional.pad(row, (0, length - row.shape[1])) for row in (first, second)])
    mask = torch.zeros_like(ids)
    mask[0, : first.shape[1]] = 1
    mask[1, : second.shape[1]] = 1
    return ids, mask


def near(trial: Trial, first: torch.Tensor, second: torch.Tensor, otherwise: str) -> None:
    """Raise :class:`WrongAnswer` unless two tensors have one shape and the same numbers."""
    trial.expect(first.shape == second.shape, f"{otherwise} (another shape)")
    trial.evidence["distance"] = float((first - second).abs().max())
    trial.expect(trial.evidence["distance"] < TOLERANCE, otherwise)
