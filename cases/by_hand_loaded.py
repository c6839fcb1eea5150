"""An adapter that was saved and loaded answers what the numbers in its file give by hand.

huggingface/peft#2043 and #2047: p-tuning after save and load. The file is read with safetensors and its config as JSON,
not through PEFT; and what it holds has to give the same answers by hand as the parameters that were saved.
"""

from __future__ import annotations

import peft
import torch

from harness.kit import (
    ByHand,
    Gap,
    Trial,
    Variants,
    adapted,
    bare_model,
    by_forward,
    by_generate,
    counted,
    expect_logits,
    fresh_base,
    in_file,
    in_memory,
    make_batch,
    readings,
    start_of,
    task_inputs,
    wanted_by_forward,
    wanted_by_generate,
)

DOCUMENT = None
UPSTREAM = ("https://github.com/huggingface/peft/issues/2043", "https://github.com/huggingface/peft/pull/2047")
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
VARIANTS = (
    Variants(
        axes={"model": DECODERS, "method": DECODERS_TASK, "aspect": ("forward",)},
    ),
    Variants(axes={"model": ("llama", "mistral", "gpt2"), "method": ("adaption_prompt",), "aspect": ("forward",)}),
    Variants(axes={"model": ("t5", "bart", "bert", "roberta"), "method": ANY_TASK, "aspect": ("forward",)}),
    Variants(
        axes={
            "model": ("llama", "gpt2", "bloom"),
            "method": DECODERS_TASK,
            "aspect": ("generate",),
        },
    ),
    Variants(axes={"model": ("t5", "bart"), "method": ("multitask_prompt_tuning",), "aspect": ("generate",)}),
    Variants(axes={"model": DECODERS, "method": REPARAMETRISED, "aspect": ("forward",)}),
    Variants(axes={"model": ("t5", "bart", "bert", "roberta"), "method": REPARAMETRISED, "aspect": ("forward",)}),
)


def check(trial: Trial) -> None:
    """Compare what was saved with what was in memory, by hand both; then what was loaded with the file (by hand)."""
    device = trial.torch_device()
    model = adapted(trial)
    base, batch = bare_model(trial.model, device), make_batch("alone", device=device)
    before = ByHand(base, trial.model, in_memory(model, trial.method))
    model.save_pretrained(trial.scratch)
    stored = in_file(trial.scratch, trial.method)
    trial.expect(stored.facts["inference_mode"] is True, "the file's config says that the adapter is in training")
    loaded = peft.PeftModel.from_pretrained(fresh_base(trial), str(trial.scratch)).eval()
    inputs = task_inputs(trial.method, batch)
    if trial.aspect == "forward":
        found = by_forward(loaded, trial.model, batch, **inputs)
    else:
        with counted(trial, loaded):
            said = by_generate(loaded, batch, **inputs)
        found = said.scores

    def wanted(reference: ByHand, gap: Gap = Gap.NONE) -> list[torch.Tensor]:
        if trial.aspect == "forward":
            return wanted_by_forward(reference, trial.model, batch, gap=gap)
        return wanted_by_generate(reference, trial.model, batch, said.tokens, start=start_of(base), gap=gap)

    saved = wanted(ByHand(base, trial.model, stored))
    expect_logits(trial, "the file against the memory", saved, wanted(before))
    expect_logits(trial, "loaded", found, saved, readings(trial, stored, batch, wanted, base=base))
