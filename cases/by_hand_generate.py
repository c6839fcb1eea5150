"""Greedy ``generate`` chooses each token by the logits that the stored numbers give by hand, padded or not.

huggingface/peft#1093, #2096, #2106 and #2123: prompts that were lost, doubled or moved away from their text inside
``generate`` alone. Scores are compared at every step, not tokens alone, which hide what changes no first place.
"""

from __future__ import annotations

import torch

from harness.kit import (
    ByHand,
    Gap,
    Trial,
    Variants,
    adapted,
    bare_model,
    by_generate,
    chosen_by_scores,
    counted,
    expect_logits,
    in_memory,
    make_batch,
    need_base_alone,
    readings,
    start_of,
    task_inputs,
    wanted_by_generate,
)

DOCUMENT = None
UPSTREAM = (
    "https://github.com/huggingface/peft/issues/1093",
    "https://github.com/huggingface/peft/pull/2096",
    "https://github.com/huggingface/peft/pull/2106",
    "https://github.com/huggingface/peft/issues/2123",
)
ORACLE = "by hand"
RING = "long"
DECODERS = (
    "llama",
    "qwen2",
    "gpt2",
    "bloom",
    "opt",
    "mistral",
    "qwen3",
    "gemma2",
    "gemma3",
    "gpt_neox",
    "falcon",
    "gpt_bigcode",
    "qwen2_moe",
)
ANY_TASK = ("prompt_tuning", "prefix_tuning", "p_tuning", "cartridge", "lora")
DECODERS_TASK = ("prompt_tuning", "prefix_tuning", "p_tuning", "cartridge", "lora", "multitask_prompt_tuning", "cpt")
REPARAMETRISED = ("prefix_tuning_projection", "p_tuning_lstm")
"""What differs in how the prompt is computed, and not in what is done with it: one layout is enough."""

VARIANTS = (
    Variants(
        axes={"model": DECODERS, "method": DECODERS_TASK, "layout": ("alone", "left")},
    ),
    Variants(axes={"model": ("llama", "mistral", "gpt2"), "method": ("adaption_prompt",), "layout": ("alone", "left")}),
    Variants(
        axes={
            "model": ("t5", "bart"),
            "method": ("prompt_tuning", "prefix_tuning", "p_tuning", "cartridge", "lora", "multitask_prompt_tuning"),
            "layout": ("alone", "right"),
        },
    ),
    Variants(axes={"model": DECODERS, "method": REPARAMETRISED, "layout": ("alone",)}),
    Variants(axes={"model": ("t5", "bart"), "method": REPARAMETRISED, "layout": ("alone",)}),
)


def check(trial: Trial) -> None:
    """Compare each step's scores with the logits by hand of the text and the tokens so far (the oracle by hand)."""
    device = trial.torch_device()
    need_base_alone(trial, "generate")
    model = adapted(trial)
    stored = in_memory(model, trial.method)
    batch = make_batch(trial.layout, device=device)
    base = bare_model(trial.model, device)
    with counted(trial, model):
        said = by_generate(model, batch, **task_inputs(trial.method, batch))

    def wanted(reference: ByHand, gap: Gap = Gap.NONE) -> list[torch.Tensor]:
        return wanted_by_generate(reference, trial.model, batch, said.tokens, start=start_of(base), gap=gap)

    reference = ByHand(base, trial.model, stored)
    expect_logits(trial, "generate", said.scores, wanted(reference), readings(trial, stored, batch, wanted, base=base))
    trial.expect(chosen_by_scores(said), "generate: a token is not the one of the highest score")
