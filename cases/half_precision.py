"""An adapter on a bfloat16 model answers as the same numbers do in float32, within what rounding explains.

huggingface/peft#520: half-precision models met a float32 prefix. Weights and adapter are rounded to bfloat16 on both
sides, so that only the arithmetic differs; the adapter is left in the dtype that PEFT gives it.
"""

from __future__ import annotations

import peft
import torch

from harness.kit import (
    LORA,
    NEW_TOKENS,
    VIRTUAL_TOKENS,
    Trial,
    Variants,
    adapter_options,
    counted,
    greedy_by_generate,
    logits,
    make_adapter_config,
    make_model,
    question,
    strengthen,
)

DOCUMENT = None
UPSTREAM = ("https://github.com/huggingface/peft/issues/520",)
ORACLE = "same call"
VARIANTS = (
    Variants(
        axes={
            "model": ("llama", "gpt2", "bloom"),
            "method": ("prompt_tuning", "prefix_tuning", "prefix_tuning_projection", "p_tuning", "lora"),
            "aspect": ("forward", "generate"),
            "dtype": ("bfloat16",),
        },
    ),
)
TOLERANCE = {"forward": 0.1, "generate": 0.25}
"""In units of the logits' root mean square. Rounding explains 0.06 of a mean over all logits, and 0.14 between two of
them; a prompt that is lost costs 0.3 to 1.3, which is asked for."""


def check(trial: Trial) -> None:
    """What ``generate`` says is judged token by token: by float32, each is as good as the best within the tolerance."""
    ids, mask = question(trial)
    options = adapter_options(trial.method) | ({} if trial.method == LORA else {"virtual_tokens": VIRTUAL_TOKENS})
    models = []
    for half in (True, False):
        base = make_model(trial.model, device=ids.device, dtype=torch.bfloat16, trained=False)
        base = base if half else base.float()
        bare = logits(base, input_ids=ids, attention_mask=mask)
        model = peft.get_peft_model(base, make_adapter_config(trial.method, **options)).to(ids.device)
        strengthen(model, trial.method)
        with torch.no_grad():
            for weight in model.parameters():
                weight.copy_(weight.bfloat16())
        models.append(model.eval())
    low, high = models
    said = ids[:, :0]
    if trial.aspect == "generate":
        with counted(trial, low):
            said = greedy_by_generate(low, ids, mask, new_tokens=NEW_TOKENS)
    text = torch.cat([ids, said], dim=1)
    wanted = logits(high, length=text.shape[1], input_ids=text, attention_mask=torch.ones_like(text))
    moved = _spread(wanted[:, : bare.shape[1]] - bare) / _spread(wanted)
    if trial.aspect == "forward":
        off = _spread(logits(low, length=ids.shape[1], input_ids=ids, attention_mask=mask) - wanted) / _spread(wanted)
    else:
        steps = wanted[0, -said.shape[1] - 1 : -1]
        off = float((steps.max(-1).values - steps.gather(-1, said[0, :, None])[:, 0]).max()) / _spread(wanted)
    trial.evidence.update(off=off, moved_by_prompt=moved, said=said.tolist())
    trial.expect(moved > 0.25, "the prompt does not change what float32 says")
    trial.expect(off < TOLERANCE[trial.aspect], "bfloat16 says something else than the same numbers in float32")


def _spread(values: torch.Tensor) -> float:
    """Return the root of the mean square."""
    return float(values.float().pow(2).mean().sqrt())
