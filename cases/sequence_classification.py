"""A sequence classifier with a prompt uses it, does not mind padding, and is saved with its head.

Saving the head: huggingface/peft#2220, #2477, #2481, #2646; encoders and prefix tuning: #2905.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.interface import Expectation, Variants

if TYPE_CHECKING:
    from harness.kit.trial import Trial

DOCUMENT = None
UPSTREAM = (
    "https://github.com/huggingface/peft/pull/2220",
    "https://github.com/huggingface/peft/pull/2646",
    "https://github.com/huggingface/peft/pull/2905",
)
ORACLE = "prompt used"
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
        signature=r"TypeError: PeftModelForSequenceClassification\.add_adapter\(\)",
        link="https://github.com/huggingface/peft/pull/2156",
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
    Expectation(
        where={"peft": "==0.14.0", "transformers": "==4.57.3"},
        only={"model": ("roberta",), "method": ("prefix_tuning", "prefix_tuning_projection")},
        outcome="error",
        signature="TypeError: '<' not supported between instances of 'tuple'",
        link="docs/families.md#what-older-releases-do",
    ),
)
TASK = "SEQ_CLS"


def check(trial: Trial) -> None:
    """Hold logits against the base model's, against a row alone and after loading; the loss by hand."""
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
    match trial.aspect:
        case "used":
            trial.expect(logits.shape == without.shape, "the logits are not one row for each text")
            trial.evidence["distance"] = float((logits - without).abs().amax(dim=-1).min())
            trial.expect(trial.evidence["distance"] > 0.01, "the prompt does not change the logits")
        case "labels":
            labels = torch.tensor([LABELS - 1, 0], device=device)
            loss = model(input_ids=ids, attention_mask=mask, labels=labels).loss.detach()
            near(trial, loss, torch.nn.functional.cross_entropy(logits, labels), "the loss is not that of the logits")
        case "batch":
            with torch.no_grad():
                alone = model(input_ids=second, attention_mask=torch.ones_like(second)).logits
            near(trial, logits[1:], alone, "padding changes the logits of a text")
        case "reload":
            again = reloaded(trial, model, TASK, device=device)
            with torch.no_grad():
                saved = model(input_ids=ids, attention_mask=mask).logits
                near(trial, again(input_ids=ids, attention_mask=mask).logits, saved, "loaded again it says otherwise")
