"""A token classifier with a prompt still gives one row of logits to each token, and takes labels.

TOKEN_CLS with labels: huggingface/peft#1974; saving the head: #2220, #2477, #2481, #2646; RoBERTa and
``past_key_values``: #2905. Where a method puts its virtual tokens before the text, the text's logits are the last.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.interface import Expectation, Variants

if TYPE_CHECKING:
    from harness.kit.trial import Trial

DOCUMENT = None
UPSTREAM = (
    "https://github.com/huggingface/peft/issues/1974",
    "https://github.com/huggingface/peft/pull/2220",
    "https://github.com/huggingface/peft/pull/2646",
)
ORACLE = "by hand"
VIRTUAL_TOKENS = 10
FIRST, SECOND = "3+4=7 2+2=4", "1+1="

VARIANTS = (
    Variants(
        axes={
            "model": ("bert", "roberta"),
            "method": ("prompt_tuning", "prefix_tuning", "prefix_tuning_projection", "p_tuning", "lora"),
            "aspect": ("used", "labels", "batch", "reload"),
        },
    ),
)
EXPECTATIONS = (
    Expectation(
        where={"peft": "==0.13.2", "transformers": "==4.45.2"},
        only={"method": ("prompt_tuning", "prefix_tuning", "prefix_tuning_projection", "p_tuning")},
        outcome="error",
        signature=r"TypeError: PeftModelForTokenClassification\.add_adapter\(\)",
        link="https://github.com/huggingface/peft/pull/2156",
    ),
    Expectation(
        where={"peft": ">=0.14.0", "transformers": ">=4.51.3"},
        only={"method": ("prompt_tuning", "p_tuning"), "aspect": ("labels",)},
        outcome="error",
        signature=r"ValueError: Expected input batch_size \(",
        link="https://github.com/huggingface/peft/issues/1974",
    ),
    Expectation(
        where={"peft": "==0.15.2", "transformers": "==4.51.3"},
        only={
            "method": ("prompt_tuning", "prefix_tuning", "prefix_tuning_projection", "p_tuning"),
            "aspect": ("reload",),
        },
        outcome="wrong",
        signature="loaded again it says otherwise",
        link="https://github.com/huggingface/peft/pull/2646",
    ),
)
TASK = "TOKEN_CLS"


def check(trial: Trial) -> None:
    """Hold logits against the base model's, against rows alone and after loading; the loss by hand."""
    import torch

    from harness.kit.classification import LABELS, attach_to_classifier, make_classifier, near, padded, reloaded
    from harness.kit.tokens import encode

    device = trial.torch_device()
    base = make_classifier(trial.model, TASK, device=device)
    first, second = encode(FIRST, device=device), encode(SECOND, device=device)
    ids, mask = padded(first, second)
    with torch.no_grad():
        without = base(input_ids=ids, attention_mask=mask).logits
    model = attach_to_classifier(trial, base, TASK, virtual_tokens=VIRTUAL_TOKENS)
    with torch.no_grad():
        logits = model(input_ids=ids, attention_mask=mask).logits
    trial.evidence["positions"] = logits.shape[1]
    # What stands before the text belongs to the prompt.
    logits = logits[:, -ids.shape[1] :]
    match trial.aspect:
        case "used":
            trial.expect(logits.shape == without.shape, "the logits are not one row for each token")
            # Of each token the class that moves most, of those the token that moves least.
            trial.evidence["distance"] = float((logits - without).abs().amax(dim=-1)[mask.bool()].min())
            trial.expect(trial.evidence["distance"] > 0.01, "the prompt does not reach every token")
        case "labels":
            labels = torch.arange(ids.numel(), device=device).reshape(ids.shape) % LABELS
            labels = labels.masked_fill(mask == 0, -100)
            loss = model(input_ids=ids, attention_mask=mask, labels=labels).loss.detach()
            by_hand = torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=-100)
            near(trial, loss, by_hand, "the loss is not that of the text's tokens")
        case "batch":
            with torch.no_grad():
                alone = model(input_ids=second, attention_mask=torch.ones_like(second)).logits
            length = second.shape[1]
            near(trial, logits[1:, :length], alone[:, -length:], "padding changes the logits of a text")
        case "reload":
            again = reloaded(trial, model, TASK, device=device)
            with torch.no_grad():
                saved = model(input_ids=ids, attention_mask=mask).logits
                near(trial, again(input_ids=ids, attention_mask=mask).logits, saved, "loaded again it says otherwise")
