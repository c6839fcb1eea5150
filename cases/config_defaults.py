"""A fresh prompt is drawn as its config says, and what a config leaves out has the documented value.

huggingface/peft#1519 (text), #3128 (a prefix of zeros). Every other case names what it needs, and overwrites what was
drawn. The reference is the documentation of each config, written out here, and the base model's own table.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import peft
import torch

from harness.kit import (
    INIT_TEXT,
    Trial,
    Unsupported,
    Variants,
    adapted,
    encode,
    in_memory,
    make_adapter_config,
    make_model,
    make_tokenizer,
)

DOCUMENT = None
UPSTREAM = ("https://github.com/huggingface/peft/issues/1519", "https://github.com/huggingface/peft/pull/3128")
ORACLE = "by hand"
RING = "references"
VARIANTS = (
    Variants(axes={"model": ("gpt2",), "method": ("prefix_tuning_projection",), "aspect": ("zeros",)}),
    Variants(axes={"model": ("gpt2",), "method": ("prompt_tuning_text", "cpt"), "aspect": ("half_base",)}),
    Variants(axes={"model": ("gpt2",), "method": ("multitask_prompt_tuning",), "aspect": ("spread",)}),
    Variants(
        axes={
            "model": ("gpt2",),
            "method": ("prompt_tuning", "prefix_tuning", "p_tuning", "multitask_prompt_tuning", "cpt", "cartridge"),
            "aspect": ("defaults",),
        },
    ),
)
VIRTUAL_TOKENS = 20


def check(trial: Trial) -> None:
    """Look at the numbers that were drawn, and at the fields of the config (by hand)."""
    match trial.aspect:
        case "zeros":
            _zeros(trial)
        case "half_base":
            _half_base(trial)
        case "spread":
            _spread(trial)
        case "defaults":
            _defaults(trial)


def _half_base(trial: Trial) -> None:
    """Begin as words of a base model in bfloat16: what is trained is in float32, and has the words' numbers."""
    folder = trial.scratch / "tokenizer"
    make_tokenizer().save_pretrained(folder)
    base = make_model(trial.model, device=trial.torch_device(), dtype=torch.bfloat16, trained=False)
    options: dict[str, Any] = {"tokenizer_name_or_path": str(folder)}
    ids = encode(INIT_TEXT, device=trial.torch_device())[0, 1:]
    if trial.method == "cpt":
        options = {"cpt_token_ids": ids.tolist()}
    model = peft.get_peft_model(base, make_adapter_config(trial.method, **options))
    found = {name: one for name, one in model.named_parameters() if "prompt_encoder" in name}
    trial.evidence["dtypes"] = {name: str(one.dtype) for name, one in found.items()}
    trial.expect(all(one.dtype == torch.float32 for one in found.values()), "a prompt is trained in half precision")
    table = found["prompt_encoder.default.embedding.weight"]
    wanted = base.get_input_embeddings().weight.detach()[ids].float()
    trial.expect(torch.equal(table.detach(), wanted), "the prompt does not begin as the words of its text")


def _spread(trial: Trial) -> None:
    """Draw the tasks' matrices with the spread that their paper's code has, 0.02, and the shared prompt with 1."""
    torch.manual_seed(1)
    found = in_memory(adapted(trial, strong=False), trial.method).tensors
    spreads = {name: float(one.std()) for name, one in found.items()}
    means = {name: float(one.mean()) for name, one in found.items()}
    trial.evidence.update(spreads=spreads, means=means)
    wanted = {"embedding.weight": 1.0, "prefix_task_cols": 0.02, "prefix_task_rows": 0.02}
    right = all(abs(spreads[name] / one - 1) < 0.3 and abs(means[name]) < 0.3 * one for name, one in wanted.items())
    trial.expect(right, "a fresh prompt is not as spread as its class says")


DEFAULTS: dict[str, dict[str, Any]] = {
    "prompt_tuning": {"prompt_tuning_init": "RANDOM", "prompt_tuning_init_text": None},
    "prefix_tuning": {"prefix_projection": False, "encoder_hidden_size": None},
    "p_tuning": {"encoder_reparameterization_type": "MLP", "encoder_num_layers": 2, "encoder_dropout": 0.0},
    "multitask_prompt_tuning": {
        "prompt_tuning_init": "RANDOM",
        "prompt_tuning_init_task": 0,
        "num_ranks": 1,
        "num_tasks": 1,
    },
    "cpt": {
        "opt_weighted_loss_type": "none",
        "opt_loss_decay_factor": 1.0,
        "opt_projection_epsilon": 0.1,
        "opt_projection_format_epsilon": 0.1,
    },
    "cartridge": {"num_frozen_tokens": 1},
}
"""What PEFT's documentation says of the fields of each config that a caller leaves out."""

CLASSES = {
    "prompt_tuning": "PromptTuningConfig",
    "prefix_tuning": "PrefixTuningConfig",
    "p_tuning": "PromptEncoderConfig",
    "multitask_prompt_tuning": "MultitaskPromptTuningConfig",
    "cpt": "CPTConfig",
    "cartridge": "CartridgeConfig",
}


def _defaults(trial: Trial) -> None:
    """Compare the fields that a caller leaves out with what is documented."""
    made = getattr(peft, CLASSES[trial.method], None)
    if made is None:
        text = f"this peft has no {CLASSES[trial.method]}"
        raise Unsupported(text)
    length = {} if trial.method == "cpt" else {"num_virtual_tokens": VIRTUAL_TOKENS}
    config = made(task_type="CAUSAL_LM", **length)
    found = {name: getattr(getattr(config, name), "value", getattr(config, name)) for name in DEFAULTS[trial.method]}
    trial.evidence["found"] = {name: str(one) for name, one in found.items()}
    trial.expect(found == DEFAULTS[trial.method], "a field has another default than its documentation says")
    trial.expect(config.inference_mode is False, "a fresh config is not for training")


def _zeros(trial: Trial) -> None:
    """Begin a projected prefix as zeros: what its last layer gives is nothing, and its table is drawn all the same."""
    if "init_weights" not in {field.name for field in dataclasses.fields(peft.PrefixTuningConfig)}:
        text = "this peft cannot begin a prefix as zeros"
        raise Unsupported(text)
    for asked in ("zero", "random"):
        options = {} if asked == "random" else {"init_weights": "zero"}
        found = in_memory(adapted(trial, strong=False, **options), trial.method).tensors
        last = [name for name in ("transform.2.weight", "transform.2.bias") if found[name].any()]
        trial.evidence[asked] = last
        trial.expect(len(last) == (0 if asked == "zero" else 2), "the last layer does not begin as its config says")
        trial.expect(bool(found["embedding.weight"].any()), "the table behind the projection begins as zeros")
