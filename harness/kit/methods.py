"""The prompt-learning methods of PEFT, each with a prompt strong enough to be seen."""

from __future__ import annotations

from typing import Any

from harness.kit.families import LAYERS
from harness.kit.models import fill
from harness.kit.outcomes import Unsupported
from harness.kit.tokens import VOCABULARY

LORA = "lora"
TASKS = 3
"""What multitask prompt tuning has prompts for."""

INIT_TEXT = "the sum of two digits is"
"""What initialises a prompt from text; one token for each of its characters."""

LEARNING_RATES = {
    "prompt_tuning": 0.05,
    "prefix_tuning": 0.05,
    "prefix_tuning_projection": 0.01,
    "p_tuning": 0.01,
    "p_tuning_lstm": 0.01,
    "cartridge": 0.05,
    "cpt": 0.05,
    "lora": 0.01,
}
"""What Adam teaches one sample with: the methods with a network of their own want less."""


def make_adapter_config(  # noqa: C901, PLR0911 - one method a line or two
    method: str, *, virtual_tokens: int = 20, task: str = "CAUSAL_LM", **overrides: Any
) -> Any:
    """Make the PEFT config of a method; ``overrides`` go to the config class.

    ``prompt_tuning_text`` wants ``tokenizer_name_or_path`` among them. CPT's tokens are the first ones of
    the alphabet unless ``cpt_token_ids`` names others. Raises :class:`Unsupported` when this peft does not
    have the method.
    """
    import peft

    prompt = {"task_type": task, "num_virtual_tokens": virtual_tokens}
    match method:
        case "prompt_tuning":
            return peft.PromptTuningConfig(**prompt, **overrides)
        case "prompt_tuning_text":
            text = {"prompt_tuning_init": "TEXT", "prompt_tuning_init_text": INIT_TEXT, **overrides}
            return peft.PromptTuningConfig(**{**prompt, "num_virtual_tokens": len(INIT_TEXT), **text})
        case "prefix_tuning":
            return peft.PrefixTuningConfig(**prompt, **overrides)
        case "prefix_tuning_projection":
            options = {"prefix_projection": True, "encoder_hidden_size": 32, **overrides}
            return peft.PrefixTuningConfig(**prompt, **options)
        case "p_tuning":
            return peft.PromptEncoderConfig(**prompt, **{"encoder_hidden_size": 32, **overrides})
        case "p_tuning_lstm":
            options = {"encoder_reparameterization_type": "LSTM", "encoder_hidden_size": 32, **overrides}
            return peft.PromptEncoderConfig(**prompt, **options)
        case "multitask_prompt_tuning":
            return peft.MultitaskPromptTuningConfig(**prompt, **{"num_tasks": TASKS, **overrides})
        case "cpt":
            ids = overrides.pop("cpt_token_ids", list(VOCABULARY.values())[-virtual_tokens:])
            # The reach of what is learnt, which PEFT cuts to very little by default.
            reach = {"opt_projection_epsilon": 100.0, "opt_projection_format_epsilon": 100.0}
            # The last one is of the type of an answer: PEFT counts the types of what follows from there.
            masks = {"cpt_mask": [1] * len(ids), "cpt_tokens_type_mask": [1] * (len(ids) - 1) + [4]}
            options = {"cpt_token_ids": ids, **masks, **reach, **overrides}
            return _class("CPTConfig")(task_type=task, **options)
        case "cartridge":
            return _class("CartridgeConfig")(**prompt, **overrides)
        case "adaption_prompt":
            options = {"adapter_len": virtual_tokens, "adapter_layers": LAYERS, **overrides}
            return peft.AdaptionPromptConfig(task_type=task, **options)
        case "lora":
            # init_lora_weights=False, so that an untrained adapter already changes the output.
            options = {"r": 4, "lora_alpha": 8, "init_lora_weights": False, **overrides}
            return peft.LoraConfig(task_type=task, **options)
        case _:
            message = f"unknown method {method!r}"
            raise ValueError(message)


def _class(name: str) -> Any:
    """Return a config class of peft. Raises :class:`Unsupported` where this release does not have it."""
    import peft

    found = getattr(peft, name, None)
    if found is None:
        message = f"peft {peft.__version__} has no {name}"
        raise Unsupported(message)
    return found


def attach(base: Any, method: str, *, strong: bool = True, seed: int = 7, **options: Any) -> Any:
    """Wrap ``base`` with a fresh adapter, in evaluation mode.

    With ``strong`` the trainable parameters get a standard deviation near 1 (0.3 for LoRA): a
    default prompt is too weak to be missed when it is silently dropped.
    """
    import peft

    device = next(base.parameters()).device
    dtype = next(base.parameters()).dtype
    model = peft.get_peft_model(base, make_adapter_config(method, **options))
    if strong:
        strengthen(model, method, seed=seed)
    return model.to(device=device, dtype=dtype).eval()


def strengthen(model: Any, method: str, *, seed: int = 7) -> None:
    """Fill an adapter's parameters with large, reproducible numbers: the trainable ones, and a prompt's frozen ones."""
    own = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    own |= {name for name, _ in model.named_parameters() if name.endswith("frozen_embedding")}
    std = 0.3 if method == LORA else 0.8
    fill(model, seed=seed, std=std, only=own.__contains__)
    for name, parameter in model.named_parameters():
        # A single number, which opens the prompt: hashed it may be next to nothing.
        if name.endswith("adaption_gate"):
            parameter.data.fill_(1.0)


def untaught(base: Any, method: str, **options: Any) -> Any:
    """Wrap ``base`` with a fresh adapter to be trained: weak, and the same in every release.

    PEFT's default initialisation has changed with its releases.
    """
    model = attach(base, method, strong=False, **options)
    trainable = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    fill(model, seed=7, std=0.1, only=trainable.__contains__)
    return model


def teach(
    base: Any,
    method: str,
    inputs: dict[str, Any],
    *,
    answer: int,
    steps: int = 150,
    enough: float = 0.05,
    **options: Any,
) -> tuple[Any, dict[str, Any]]:
    """Wrap ``base`` with a fresh adapter and train it on one sample; return the model and a log.

    ``inputs`` are the sample's, of which the last ``answer`` tokens are to be learnt. Training stops
    at the loss ``enough``: at 0.05 no token of a three-token answer has less than 0.86 of the
    probability.
    """
    import torch

    model = untaught(base, method, **options)
    ids = inputs["input_ids"]
    labels = torch.cat([torch.full_like(ids[:, :-answer], -100), ids[:, -answer:]], dim=1)
    optimizer = torch.optim.Adam(
        [parameter for parameter in model.parameters() if parameter.requires_grad], lr=LEARNING_RATES[method]
    )
    log: dict[str, Any] = {}
    for step in range(steps):
        loss = model(**inputs, labels=labels).loss
        log = {"steps": step, "loss": loss.item()}
        if log["loss"] < enough:
            break
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.eval(), log
