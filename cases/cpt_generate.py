"""A prompt that is made of words answers as the base model does with those words before the question.

CPT (context-aware prompt tuning, huggingface/peft#2168): before training its prompt is exactly the tokens it was
given. Prompt tuning with text: huggingface/peft#1519, #1053, #1333. So the base model with plain tokens is the
oracle, and it needs nothing of PEFT. ``named`` trains CPT under an adapter name of the user's own.
"""

from __future__ import annotations

from typing import Any

import peft
import torch

from harness.kit import (
    INIT_TEXT,
    Trial,
    Variants,
    attach,
    encode,
    expect_prompt_used,
    expect_same_generation,
    far,
    greedy_by_forward,
    make_adapter_config,
    make_model,
    make_tokenizer,
    near,
)

DOCUMENT = None
UPSTREAM = (
    "https://github.com/huggingface/peft/pull/2168",
    "https://github.com/huggingface/peft/issues/1519",
)
ORACLE = "by hand"
RING = "families"
NEW_TOKENS = 8
QUESTION = "3+4=7</s>2+2=4</s>5+1=6</s>8+8=16</s>9+0=9</s> 1+1="
TOLERANCE = 1e-4
"""Of logits near 10 in float32: summing in another order stays below 1e-5, a lost context moves them by 1."""

VARIANTS = (
    Variants(
        axes={
            "model": ("llama", "gpt2", "qwen2"),
            "method": ("cpt", "prompt_tuning_text"),
            "aspect": ("forward", "cached", "workaround", "reload"),
        },
    ),
    Variants(axes={"model": ("llama", "gpt2"), "method": ("cpt",), "aspect": ("taught", "named")}),
)


def check(trial: Trial) -> None:
    """Compare with the base model, which gets the words as tokens (prompt used, cache and reload oracles)."""
    device = trial.torch_device()
    base = make_model(trial.model, device=device, trained=False)
    ids = encode(QUESTION, device=device)
    words = encode(INIT_TEXT, device=device)[:, 1:]
    both = torch.cat([words, ids], dim=1)
    base_tokens, _ = greedy_by_forward(base, ids, torch.ones_like(ids), new_tokens=NEW_TOKENS)
    reference, margin = greedy_by_forward(base, both, torch.ones_like(both), new_tokens=NEW_TOKENS)
    with torch.no_grad():
        wanted = base(input_ids=both).logits[:, -1]
    if trial.aspect in {"taught", "named"}:
        _teach(trial, base, ids, words)
        return
    model = _attach(trial, base, words)
    if trial.aspect == "reload":
        model = _reloaded(trial, model, device)
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    with torch.no_grad():
        logits = model(**inputs).logits[:, -1]
    trial.expect(
        near(trial, "logits", far(logits, wanted), TOLERANCE), "the prompt is not the words that it was made of"
    )
    if trial.aspect in {"cached", "workaround"}:
        expect_prompt_used(trial, reference, base_tokens, margin=margin)
        expect_same_generation(trial, model, reference, base_tokens, use_cache=trial.aspect == "cached", **inputs)


def _attach(trial: Trial, base: Any, words: torch.Tensor, **options: Any) -> Any:
    """Wrap ``base`` with a prompt of words, as PEFT initialises it."""
    if trial.method == "cpt":
        return attach(base, "cpt", strong=False, cpt_token_ids=words[0].tolist(), **options)
    folder = trial.scratch / "tokenizer"
    make_tokenizer().save_pretrained(folder)
    return attach(base, trial.method, strong=False, tokenizer_name_or_path=str(folder), **options)


def _reloaded(trial: Trial, model: Any, device: torch.device) -> Any:
    """Save the adapter and load it on a fresh base."""
    folder = trial.scratch / "adapter"
    model.save_pretrained(folder)
    fresh = make_model(trial.model, device=device, trained=False)
    return peft.PeftModel.from_pretrained(fresh, str(folder)).eval()


def _teach(trial: Trial, base: Any, ids: torch.Tensor, words: torch.Tensor) -> None:
    """Take one step of training; the loss must be a number and fall, whatever the adapter is called."""
    name = "default" if trial.aspect == "taught" else "digits"
    model = peft.get_peft_model(base, make_adapter_config("cpt", cpt_token_ids=words[0].tolist()), adapter_name=name)
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.SGD(trainable, lr=0.01)
    # The last token is the answer (type 4); all before it is the question.
    kinds = torch.full_like(ids, 2)
    kinds[:, -1] = 4
    losses = []
    for _ in range(4):
        loss = model(input_ids=ids, attention_mask=torch.ones_like(ids), labels=ids, input_type_mask=kinds.clone()).loss
        losses.append(float(loss))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    trial.evidence["losses"] = losses
    trial.expect(losses[-1] < losses[0], "training does not lower the loss")
