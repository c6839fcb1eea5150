"""An adapter has the sizes, the layers and the dropout that its config names, and counts its numbers rightly.

huggingface/peft#1901 (sizes of grouped heads). What a config leaves out is as wide as the model; dropout is there in
training and nowhere else. The reference is by hand, from the numbers in memory.
"""

from __future__ import annotations

import math
from typing import Any

import torch

from harness.kit import (
    HIDDEN,
    LAYERS,
    TASKS,
    ByHand,
    Trial,
    Variants,
    adapted,
    bare_model,
    by_forward,
    expect_logits,
    far,
    in_memory,
    make_batch,
    task_inputs,
    wanted_by_forward,
)

DOCUMENT = None
UPSTREAM = ("https://github.com/huggingface/peft/issues/1901",)
ORACLE = "by hand"
RING = "references"
REPARAMETRISED = ("prefix_tuning_projection", "p_tuning", "p_tuning_lstm")
COUNTED = ("prompt_tuning", "prefix_tuning", "multitask_prompt_tuning", "cpt", "cartridge")
VARIANTS = (
    Variants(axes={"model": ("gpt2", "bloom"), "method": REPARAMETRISED, "aspect": ("default_width",)}),
    Variants(axes={"model": ("gpt2",), "method": ("p_tuning_lstm",), "aspect": ("layers", "dropout")}),
    Variants(axes={"model": ("gpt2",), "method": ("multitask_prompt_tuning",), "aspect": ("ranks",)}),
    Variants(axes={"model": ("gpt2", "bloom"), "method": COUNTED, "aspect": ("counted",)}),
)
VIRTUAL_TOKENS = 20


def check(trial: Trial) -> None:
    """Look at the stored tensors' shapes, and compare the logits with those by hand (by hand)."""
    options: dict[str, Any] = {}
    match trial.aspect:
        case "default_width":
            options = {"encoder_hidden_size": None}
        case "layers":
            options = {"encoder_num_layers": 3}
        case "dropout":
            options = {"encoder_dropout": 0.5, "encoder_num_layers": 2}
        case "ranks":
            options = {"num_ranks": 3}
    model = adapted(trial, **options)
    stored = in_memory(model, trial.method)
    base, batch = bare_model(trial.model, trial.torch_device()), make_batch("alone", device=trial.torch_device())
    shapes = {name: list(one.shape) for name, one in stored.tensors.items()}
    trial.evidence["shapes"] = shapes
    match trial.aspect:
        case "default_width":
            first = {"prefix_tuning_projection": "transform.0.weight", "p_tuning": "mlp_head.0.weight"}
            if trial.method == "p_tuning_lstm":
                right = shapes["lstm_head.weight_hh_l0"] == [4 * HIDDEN, HIDDEN]
            else:
                right = shapes[first[trial.method]] == [HIDDEN, HIDDEN]
            trial.expect(right, "a network whose width is not given is not as wide as the model")
        case "layers":
            layers = {name for name in shapes if name.startswith("lstm_head.weight_ih")}
            trial.expect(len(layers) == 2 * 3, "the LSTM has another number of layers than its config")
        case "ranks":
            trial.expect(
                shapes["prefix_task_cols"] == [TASKS, VIRTUAL_TOKENS, 3], "the tasks' matrices have another rank"
            )
        case "dropout":
            _dropout(trial, model)
        case "counted":
            _counted(trial, model, base)
    inputs = task_inputs(trial.method, batch)
    wanted = wanted_by_forward(ByHand(base, trial.model, stored), trial.model, batch)
    expect_logits(trial, "forward", by_forward(model, trial.model, batch, **inputs), wanted)


def _dropout(trial: Trial, model: Any) -> None:
    """Ask the prompt's own network twice in training: what it drops is drawn each time."""
    model.prompt_encoder.train()
    batch = make_batch("alone", device=trial.torch_device())
    torch.manual_seed(1)
    (one,), (other,) = (by_forward(model, trial.model, batch) for _ in range(2))
    trial.evidence["apart_in_training"] = far(one, other)
    trial.expect(trial.evidence["apart_in_training"] > 1e-3, "in training nothing is dropped")
    model.eval()


def _counted(trial: Trial, model: Any, base: Any) -> None:
    """Count what is trained from the config alone, and all there is from that and the base model."""
    table = VIRTUAL_TOKENS * HIDDEN
    prefix = 2 * LAYERS * table
    trained = {
        "prompt_tuning": table,
        "prefix_tuning": prefix,
        "multitask_prompt_tuning": table + TASKS * (VIRTUAL_TOKENS + HIDDEN),
        # A change of every token, beside the frozen tokens themselves.
        "cpt": table,
        # The first token of a cartridge is frozen unless its config says otherwise.
        "cartridge": prefix - prefix // VIRTUAL_TOKENS,
    }[trial.method]
    frozen = {"cpt": table, "cartridge": prefix // VIRTUAL_TOKENS}.get(trial.method, 0)
    wanted = (trained, trained + frozen + sum(math.prod(one.shape) for one in base.parameters()))
    found = tuple(model.get_nb_trainable_parameters())
    trial.evidence.update(counted=list(found), by_hand=list(wanted))
    trial.expect(found == wanted, "the numbers are not counted rightly")
