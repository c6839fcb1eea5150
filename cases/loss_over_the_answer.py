"""The loss with labels is the cross-entropy over the text: virtual tokens are neither learnt nor counted.

PEFT lengthens the labels by ``-100`` for each virtual token, and prefix tuning lengthens nothing. A label that is
shifted by one place still trains, only worse. Reports of prompts that learn nothing (huggingface/peft#869) begin here.
"""

from __future__ import annotations

import torch

from harness.kit import Trial, Variants, far, logits, make_base, question, wrap

DOCUMENT = None
UPSTREAM = ("https://github.com/huggingface/peft/issues/869",)
ORACLE = "by hand"
ANSWER = 6
VARIANTS = (
    Variants(
        axes={
            "model": ("llama", "gpt2", "bloom", "opt"),
            "method": ("prompt_tuning", "prefix_tuning", "prefix_tuning_projection", "p_tuning", "lora"),
        },
    ),
)


def check(trial: Trial) -> None:
    """Compute the loss from the logits of a forward without labels; only an adapter's weights get a gradient."""
    ids, mask = question(trial)
    labels = torch.cat([torch.full_like(ids[:, :-ANSWER], -100), ids[:, -ANSWER:]], dim=1)
    base = make_base(trial)
    bare = logits(base, input_ids=ids, attention_mask=mask)
    model = wrap(trial, base)
    found = logits(model, length=ids.shape[1], input_ids=ids, attention_mask=mask)
    trial.expect(far(found, bare) > 0.01, "the prompt changes nothing")
    wanted = torch.nn.functional.cross_entropy(found[0, -ANSWER - 1 : -1], ids[0, -ANSWER:])
    loss = model(input_ids=ids, attention_mask=mask, labels=labels).loss
    trial.evidence.update(loss=loss.item(), by_hand=wanted.item())
    trial.expect(abs(loss.item() - wanted.item()) < 1e-4, "the loss is not the cross-entropy over the answer")
    loss.backward()
    moved = {name for name, weight in model.named_parameters() if weight.grad is not None and weight.grad.any()}
    trainable = {name for name, weight in model.named_parameters() if weight.requires_grad}
    trial.evidence["no_gradient"] = sorted(trainable - moved)[:4]
    trial.expect(bool(moved) and moved <= trainable, "what gets a gradient is not the adapter")
    trial.expect(moved == trainable, "part of the adapter gets no gradient")
