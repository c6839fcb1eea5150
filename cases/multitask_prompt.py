"""Multitask prompt tuning gives each row the prompt of its own task, in ``forward`` and in ``generate``.

huggingface/peft#1082, #1144, #1662. ``by_hand`` holds the logits against the base model on embeddings that
are put together here: the shared prompt times the task's columns and rows (the method's equation).
"""

from __future__ import annotations

from typing import Any

import peft
import torch

from harness.kit import (
    TASKS,
    Trial,
    Variants,
    attach,
    encode,
    expect_equal,
    expect_prompt_used,
    expect_same_generation,
    greedy_by_forward,
    make_model,
)

DOCUMENT = None
UPSTREAM = (
    "https://github.com/huggingface/peft/issues/1082",
    "https://github.com/huggingface/peft/pull/1662",
)
ORACLE = "by hand"
RING = "families"
VIRTUAL_TOKENS = 20
NEW_TOKENS = 8
QUESTION = "3+4=7</s>2+2=4</s>5+1=6</s>8+8=16</s>9+0=9</s> 1+1="
TOLERANCE = 1e-4
"""Of logits near 10 in float32: summing in another order stays below 1e-5, another task moves them by 1."""

VARIANTS = (
    Variants(
        axes={
            "model": ("llama", "gpt2", "qwen2"),
            "aspect": ("by_hand", "cached", "workaround", "batch", "reload"),
        },
    ),
)


def check(trial: Trial) -> None:
    """Hold the logits of each task against a computation by hand, and ``generate`` against the forward loop."""
    device = trial.torch_device()
    base = make_model(trial.model, device=device, trained=False)
    one = encode(QUESTION, device=device)
    ids = one.expand(TASKS, -1).contiguous()
    mask = torch.ones_like(ids)
    tasks = torch.arange(TASKS, device=device)
    base_tokens, _ = greedy_by_forward(base, ids, mask, new_tokens=NEW_TOKENS)
    model = attach(base, "multitask_prompt_tuning", virtual_tokens=VIRTUAL_TOKENS)
    with torch.no_grad():
        logits = model(input_ids=ids, attention_mask=mask, task_ids=tasks).logits
    trial.evidence["task_distance"] = float((logits[0, -1] - logits[1, -1]).abs().max())
    trial.expect(trial.evidence["task_distance"] > 100 * TOLERANCE, "two tasks have one answer")
    match trial.aspect:
        case "by_hand":
            expect_equal(trial, logits, _by_hand(model, base, ids), "the logits are not those of the tasks' prompts")
        case "batch":
            with torch.no_grad():
                alone = [
                    model(input_ids=one, attention_mask=mask[:1], task_ids=tasks[row : row + 1]).logits
                    for row in range(TASKS)
                ]
            expect_equal(trial, logits, torch.cat(alone), "a row alone has other logits than in a batch of tasks")
        case "reload":
            again = _reloaded(trial, model, ids, mask, tasks)
            expect_equal(trial, logits, again, "loaded again the tasks' prompts differ")
        case aspect:
            task = tasks[1:2]
            reference, margin = greedy_by_forward(model, one, mask[:1], new_tokens=NEW_TOKENS, task_ids=task)
            expect_prompt_used(trial, reference, base_tokens[:1], margin=margin)
            inputs = {"input_ids": one, "attention_mask": mask[:1], "task_ids": task}
            expect_same_generation(trial, model, reference, base_tokens[:1], use_cache=aspect == "cached", **inputs)


def _by_hand(model: Any, base: Any, ids: torch.Tensor) -> torch.Tensor:
    """Return the logits of one row for each task, the method's equation written out."""
    prompt = model.prompt_encoder["default"]
    with torch.no_grad():
        own = prompt.prefix_task_cols @ prompt.prefix_task_rows
        embeddings = torch.cat([prompt.embedding.weight * own, base.get_input_embeddings()(ids)], dim=1)
        return base(inputs_embeds=embeddings).logits


def _reloaded(trial: Trial, model: Any, ids: torch.Tensor, mask: torch.Tensor, tasks: torch.Tensor) -> torch.Tensor:
    """Save the adapter, load it on a fresh base, and give its logits."""
    model.save_pretrained(trial.scratch)
    fresh = make_model(trial.model, device=ids.device, trained=False)
    again = peft.PeftModel.from_pretrained(fresh, str(trial.scratch)).eval()
    with torch.no_grad():
        return again(input_ids=ids, attention_mask=mask, task_ids=tasks).logits
