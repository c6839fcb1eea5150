"""Adapters by name: each one's numbers depend on its name alone, so what it says alone is known."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness.kit.answers import adapter_options, make_base
from harness.kit.methods import LORA, make_config
from harness.kit.models import fill

if TYPE_CHECKING:
    from harness.kit.trial import Trial


def config_of(trial: Trial, virtual_tokens: int) -> Any:
    """Make the config of the variant's method; LoRA has no length, and takes none."""
    options = adapter_options(trial.method)
    if trial.method != LORA:
        options["virtual_tokens"] = virtual_tokens
    return make_config(trial.method, **options)


def alone(trial: Trial, name: str, virtual_tokens: int) -> Any:
    """Make a fresh base with one adapter of this name, strong, in evaluation mode."""
    import peft

    model = peft.get_peft_model(make_base(trial), config_of(trial, virtual_tokens), adapter_name=name)
    strengthen_named(trial, model, name)
    return model.to(trial.torch_device()).eval()


def add(trial: Trial, model: Any, name: str, virtual_tokens: int) -> None:
    """Add another adapter, with the numbers that :func:`alone` gives it."""
    model.add_adapter(name, config_of(trial, virtual_tokens))
    strengthen_named(trial, model, name)
    model.to(trial.torch_device()).eval()


def strengthen_named(trial: Trial, model: Any, name: str) -> None:
    """Fill the weights of one adapter, and of no other."""
    std = 0.3 if trial.method == LORA else 0.8
    fill(model, seed=7, std=std, only=lambda parameter: f".{name}." in parameter)
