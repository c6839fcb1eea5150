"""A classification head that was trained beside a prompt is saved with it, and is back after loading.

peft #2220, #2477 and #2646: with prompt learning ``modules_to_save`` was lost, and the head with it. The base that
the adapter is loaded on has another head, as a model has whose head is initialised at random.
"""

from __future__ import annotations

from typing import Any

import peft
import torch

from harness.kit import Trial, Variants, expect_near, far, fill, logits, make_base, question, wrap

DOCUMENT = None
UPSTREAM = ("https://github.com/huggingface/peft/pull/2220", "https://github.com/huggingface/peft/pull/2646")
ORACLE = "reload"
HEADS = {
    "llama": "LlamaForSequenceClassification",
    "gpt2": "GPT2ForSequenceClassification",
    "bert": "BertForSequenceClassification",
}
VARIANTS = (
    Variants(
        axes={
            "model": ("llama", "gpt2", "bert"),
            "method": ("prompt_tuning", "prefix_tuning", "prefix_tuning_projection", "p_tuning", "lora"),
        },
    ),
)


def check(trial: Trial) -> None:
    """Train for a few steps, then compare the answer in memory with the one after loading."""
    ids, mask = question(trial)
    model = wrap(trial, _base(trial, head=1), task="SEQ_CLS")
    before = logits(model, input_ids=ids, attention_mask=mask)
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = torch.optim.SGD(weights, lr=0.05)
    for _ in range(3):
        model(input_ids=ids, attention_mask=mask, labels=torch.tensor([2], device=ids.device)).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    wanted = logits(model, input_ids=ids, attention_mask=mask)
    trial.evidence["trained_by"] = far(wanted, before)
    trial.expect(far(wanted, before) > 0.01, "training moves nothing")
    model.save_pretrained(trial.scratch)
    loaded = peft.PeftModel.from_pretrained(_base(trial, head=2), str(trial.scratch)).eval()
    expect_near(trial, "loaded against in memory", logits(loaded, input_ids=ids, attention_mask=mask), wanted)


def _base(trial: Trial, *, head: int) -> Any:
    """Make a classifier whose head depends on ``head``."""
    model = make_base(trial, model_class=HEADS[trial.model], num_labels=3)
    fill(model, seed=head, std=0.3, only=lambda name: name.startswith(("score", "classifier")))
    return model
