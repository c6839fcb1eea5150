"""Plain ``forward`` gives the logits that the stored numbers give by hand, on every family, padded or not.

huggingface/peft#869, #1093, #1901 and #2883 changed what a prompt does without any error. The reference reads the
adapter's parameters by name and computes with the base model alone: embeddings before the text's, or keys and values in
every layer's attention. It answers each text by itself; the code under test gets one text, or three in a padded batch.
"""

from __future__ import annotations

import torch

from harness.kit import (
    ByHand,
    Gap,
    Trial,
    Variants,
    adapted,
    apart,
    bare_model,
    by_forward,
    expect_logits,
    in_memory,
    make_batch,
    need_base_alone,
    readings,
    task_inputs,
    wanted_by_forward,
)

DOCUMENT = None
UPSTREAM = (
    "https://github.com/huggingface/peft/issues/869",
    "https://github.com/huggingface/peft/issues/1093",
    "https://github.com/huggingface/peft/pull/1901",
    "https://github.com/huggingface/peft/pull/2883",
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

SMALL = 1e-3
"""A change of each number of the prompt, as a share of it, that is to be seen in float32."""

VARIANTS = (
    Variants(axes={"model": DECODERS, "method": DECODERS_TASK, "layout": ("alone", "left")}),
    # Padding on the right moves nothing: a family of each way to count positions.
    Variants(axes={"model": ("llama", "gpt2", "opt", "gemma2"), "method": DECODERS_TASK, "layout": ("right",)}),
    Variants(
        axes={
            "model": ("llama", "mistral", "gpt2"),
            "method": ("adaption_prompt",),
            "layout": ("alone", "left", "right"),
        }
    ),
    Variants(
        axes={
            "model": ("t5", "bart"),
            "method": ("prompt_tuning", "prefix_tuning", "p_tuning", "cartridge", "lora", "multitask_prompt_tuning"),
            "layout": ("alone", "right"),
        },
    ),
    Variants(axes={"model": ("bert", "roberta"), "method": ANY_TASK, "layout": ("alone", "right")}),
    Variants(axes={"model": DECODERS, "method": REPARAMETRISED, "layout": ("alone",)}),
    Variants(axes={"model": ("t5", "bart", "bert", "roberta"), "method": REPARAMETRISED, "layout": ("alone",)}),
)


def check(trial: Trial) -> None:
    """Compare the logits of every text with those that its adapter's numbers give by hand (the oracle by hand)."""
    device = trial.torch_device()
    need_base_alone(trial, "forward")
    model = adapted(trial)
    stored = in_memory(model, trial.method)
    batch = make_batch(trial.layout, device=device)
    # Asked first: where a release makes numbers that no definition can read, its own failure is what is told.
    found = by_forward(model, trial.model, batch, **task_inputs(trial.method, batch))

    def wanted(reference: ByHand, gap: Gap = Gap.NONE) -> list[torch.Tensor]:
        return wanted_by_forward(reference, trial.model, batch, gap=gap)

    base = bare_model(trial.model, device)
    reference = ByHand(base, trial.model, stored)
    # How well this variant can see: linear in the change, so that 1 / distance times SMALL is the least that is seen.
    slightly = wanted(ByHand(base, trial.model, stored.changed(SMALL)))
    trial.evidence["a thousandth more or less"] = apart(trial, slightly, wanted(reference))
    expect_logits(trial, "forward", found, wanted(reference), readings(trial, stored, batch, wanted, base=base))
