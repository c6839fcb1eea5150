"""Greedy ``generate`` gives the same tokens with the cache, without it, and by plain forward calls.

Document 000; huggingface/peft#2131 (the 37 / 57 report) and huggingface/peft#2123.
A case of ``cached`` asks for ``generate`` as users call it; ``workaround`` asks the same of
``use_cache=False``, which the document recommends.
"""

from __future__ import annotations

from typing import Any

import torch

from harness.kit import (
    Trial,
    Variants,
    attach,
    count_operators,
    counted,
    encode,
    first_difference,
    generating_arms,
    greedy_by_forward,
    greedy_by_generate,
    interleave,
    made_once,
    make_model,
    same_tokens,
)

DOCUMENT = "000"
UPSTREAM = ("https://github.com/huggingface/peft/issues/2131", "https://github.com/huggingface/peft/issues/2123")
ORACLE = "cache"
VIRTUAL_TOKENS = 20
NEW_TOKENS = 8
QUESTION = "3+4=7</s>2+2=4</s>5+1=6</s>8+8=16</s>9+0=9</s> 1+1="

VARIANTS = (
    Variants(
        axes={
            "model": ("llama", "gpt2", "bloom", "qwen2", "opt"),
            "method": ("prompt_tuning", "prefix_tuning", "prefix_tuning_projection", "p_tuning"),
            "aspect": ("cached", "workaround"),
        },
    ),
)


def check(trial: Trial, benchmark: Any) -> None:
    """Compare cached, uncached and forward-loop tokens, and with the base model's."""
    device = trial.torch_device()
    ids = encode(QUESTION, device=device)
    mask = torch.ones_like(ids)

    def prompted() -> Any:
        return attach(
            make_model(trial.model, device=device, trained=False), trial.method, virtual_tokens=VIRTUAL_TOKENS
        )

    def alone() -> torch.Tensor:
        base = make_model(trial.model, device=device, trained=False)
        return greedy_by_forward(base, ids, mask, new_tokens=NEW_TOKENS)[0]

    def by_forward() -> tuple[torch.Tensor, float]:
        return greedy_by_forward(prompted(), ids, mask, new_tokens=NEW_TOKENS)

    # Neither depends on the aspect, and the base's answer not on the method.
    base_tokens = made_once(alone, trial.model, str(device))
    reference, margin = made_once(by_forward, trial.model, trial.method, str(device))
    model = prompted()
    trial.evidence.update(
        input_tokens=ids.shape[1],
        virtual_tokens=VIRTUAL_TOKENS,
        margin=margin,
        reference=reference[0].tolist(),
        base=base_tokens[0].tolist(),
    )
    # The first token, because a prompt may be dropped at the first step alone.
    trial.expect(int(reference[0, 0]) != int(base_tokens[0, 0]), "the prompt does not change what forward says")

    use_cache = trial.aspect == "cached"
    with counted(trial, model, use_cache=use_cache):
        generated = greedy_by_generate(model, ids, mask, new_tokens=NEW_TOKENS, use_cache=use_cache)
    trial.evidence["generated"] = generated[0].tolist()
    if not same_tokens(generated, reference):
        trial.evidence["first_difference"] = first_difference(generated, reference)
        like = "drops the prompt and" if same_tokens(generated, base_tokens) else "uses the prompt but"
        trial.expect(False, f"generate(use_cache={use_cache}) {like} leaves the forward loop")  # noqa: FBT003

    if use_cache and trial.timed:
        arms = generating_arms(model, ids, mask, new_tokens=NEW_TOKENS)
        trial.counters.update(count_operators(arms["cached"]))
        trial.latency.update(
            interleave(benchmark, arms, model=model.get_base_model(), device=device, timing=trial.timing)
        )
