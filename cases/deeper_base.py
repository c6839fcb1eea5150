"""An adapter of a base with two layers, on one with four or with one: a prompt answers as it says, a prefix is refused.

Virtual tokens stand before the text of any base that is as wide, and answer there what the stored numbers give by hand.
A prefix is keys and values of each layer, and there are none for some of the layers, or no layers for some of them: it
has to be refused in words that name both sizes, when it is loaded (``loaded``, ``shallower``) or handed over as a state
dict. An answer with a part of a prefix is a wrong one.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import peft

from harness.kit import (
    LAYERS,
    Bare,
    ByHand,
    Stored,
    Trial,
    Variants,
    adapted,
    adapter_of,
    by_forward,
    expect_logits,
    in_file,
    make_adapter_config,
    make_batch,
    make_model,
    task_inputs,
    wanted_by_forward,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch

DOCUMENT = None
UPSTREAM = ("https://github.com/huggingface/peft/issues/2134",)
ORACLE = "by hand"
RING = "references"
PREFIXES = ("prefix_tuning", "cartridge")
VARIANTS = (
    Variants(
        axes={
            "model": ("llama", "gpt2"),
            "method": ("prompt_tuning", "p_tuning", "multitask_prompt_tuning", "cpt", "prefix_tuning", "cartridge"),
            "aspect": ("loaded", "shallower", "state_dict"),
        },
    ),
)


def check(trial: Trial) -> None:
    """Put what was saved on the other base, and compare its answer with the one by hand (by hand)."""
    adapted(trial).save_pretrained(trial.scratch)
    stored = in_file(trial.scratch, trial.method)
    layers = LAYERS // 2 if trial.aspect == "shallower" else 2 * LAYERS
    batch = make_batch("alone", device=trial.torch_device())

    def answered() -> list[torch.Tensor]:
        model = _handed_over(trial, stored, layers) if trial.aspect == "state_dict" else _loaded(trial, layers)
        return by_forward(model, trial.model, batch, **task_inputs(trial.method, batch))

    if trial.method in PREFIXES:
        _expect_refused(trial, stored, layers, answered)
        return
    base = _base(trial, layers)
    bare = Bare(base, trial.model)
    expect_logits(
        trial,
        trial.aspect,
        answered(),
        wanted_by_forward(ByHand(base, trial.model, stored), trial.model, batch),
        {"the adapter is not used": lambda: wanted_by_forward(bare, trial.model, batch)},
    )


def _base(trial: Trial, layers: int) -> Any:
    """Make the base model with so many layers; the first of them are those of the usual one."""
    own: dict[str, Any] = {"n_layer" if trial.model == "gpt2" else "num_hidden_layers": layers}
    return make_model(trial.model, device=trial.torch_device(), trained=False, **own)


def _loaded(trial: Trial, layers: int) -> Any:
    return peft.PeftModel.from_pretrained(_base(trial, layers), str(trial.scratch))


def _handed_over(trial: Trial, stored: Stored, layers: int) -> Any:
    """Hand the numbers to an adapter that was made on the other base."""
    config = make_adapter_config(trial.method, **adapter_of(trial), inference_mode=True)
    model = peft.get_peft_model(_base(trial, layers), config).eval()
    peft.set_peft_model_state_dict(model, dict(stored.tensors))
    return model


def _expect_refused(trial: Trial, stored: Stored, layers: int, answered: Callable[[], object]) -> None:
    """Check that a prefix of other layers is refused in words that name both numbers, of layers or of their keys.

    Raises what is refused without them, and :class:`~harness.kit.outcomes.WrongAnswer` where an answer is given.
    """
    width = next(iter(stored.tensors.values())).shape[1]
    try:
        answered()
    except (TypeError, ValueError, RuntimeError) as error:
        named = {int(number) for number in re.findall(r"\d+", str(error))}
        of_layers = {LAYERS, layers} <= named and "layer" in str(error)
        of_keys = {width, width * layers // LAYERS} <= named and re.search("size|shape", str(error))
        if not (of_layers or of_keys):
            raise
        trial.evidence["refused"] = " ".join(str(error).split())[:300]
    else:
        trial.expect(False, "a prefix of another number of layers is used in part")  # noqa: FBT003
