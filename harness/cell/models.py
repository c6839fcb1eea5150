"""Tiny models of each family: a config from keywords, weights from a committed file.

The weights are the same bytes in every cell, so that a difference between two cells is never
a difference of initialisation. ``cases/checkpoints/make.py`` made them and says how.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import transformers
from safetensors.torch import load_file

from harness.cell.outcomes import Unsupported
from harness.cell.tokens import VOCAB_SIZE

if TYPE_CHECKING:
    from collections.abc import Callable

CHECKPOINTS = Path(__file__).resolve().parents[2] / "cases" / "checkpoints"

HIDDEN, LAYERS, HEADS, KEY_VALUE_HEADS, INTERMEDIATE, POSITIONS = 64, 2, 4, 2, 96, 160
IMAGE_SIZE = 8
_IDS = {"vocab_size": VOCAB_SIZE, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": None}
_ROTARY = {
    **_IDS,
    "hidden_size": HIDDEN,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "num_key_value_heads": KEY_VALUE_HEADS,
    "intermediate_size": INTERMEDIATE,
    "max_position_embeddings": POSITIONS,
    "tie_word_embeddings": False,
}


UNTRAINED_SEEDS = {"llama": 2, "gpt2": 1, "bloom": 12, "qwen2": 33, "opt": 15}
"""Seeds at which each method's prompt changes the very first token, by a clear margin. A prompt
that is dropped at the first step alone could otherwise go unseen."""


@dataclass(frozen=True, kw_only=True)
class Family:
    """How to make one family's tiny model: class names in transformers, and the config."""

    config: str
    model: str
    options: dict[str, Any]


FAMILIES = {
    "llama": Family(config="LlamaConfig", model="LlamaForCausalLM", options=_ROTARY),
    "qwen2": Family(config="Qwen2Config", model="Qwen2ForCausalLM", options=_ROTARY),
    "gpt2": Family(
        config="GPT2Config",
        model="GPT2LMHeadModel",
        options={
            **_IDS,
            "n_embd": HIDDEN,
            "n_layer": LAYERS,
            "n_head": HEADS,
            "n_inner": INTERMEDIATE,
            "n_positions": POSITIONS,
        },
    ),
    "bloom": Family(
        config="BloomConfig",
        model="BloomForCausalLM",
        options={**_IDS, "hidden_size": HIDDEN, "n_layer": LAYERS, "n_head": HEADS},
    ),
    "opt": Family(
        config="OPTConfig",
        model="OPTForCausalLM",
        options={
            **_IDS,
            "hidden_size": HIDDEN,
            "word_embed_proj_dim": HIDDEN,
            "num_hidden_layers": LAYERS,
            "num_attention_heads": HEADS,
            "ffn_dim": INTERMEDIATE,
            "max_position_embeddings": POSITIONS,
        },
    ),
    "idefics": Family(
        config="IdeficsConfig",
        model="IdeficsForVisionText2Text",
        options={
            **_IDS,
            "hidden_size": HIDDEN,
            "num_hidden_layers": LAYERS,
            "num_attention_heads": HEADS,
            "intermediate_size": INTERMEDIATE,
            "max_position_embeddings": POSITIONS,
            "tie_word_embeddings": False,
            # One cross-attention layer, before the first of the two text layers.
            "cross_layer_interval": LAYERS,
            "freeze_text_layers": False,
            "freeze_vision_layers": False,
            "vision_config": {
                "embed_dim": 16,
                "image_size": IMAGE_SIZE,
                "patch_size": IMAGE_SIZE // 2,
                "intermediate_size": 16,
                "num_hidden_layers": 1,
                "num_attention_heads": 2,
            },
        },
    ),
    "bert": Family(
        config="BertConfig",
        model="BertModel",
        options={
            "vocab_size": VOCAB_SIZE,
            "pad_token_id": 0,
            "hidden_size": HIDDEN,
            "num_hidden_layers": LAYERS,
            "num_attention_heads": HEADS,
            "intermediate_size": INTERMEDIATE,
            "max_position_embeddings": POSITIONS,
        },
    ),
}


def make_config(family: str, **overrides: Any) -> Any:
    """Make the config of a family's tiny model.

    Raises :class:`Unsupported` when this transformers does not have the family.
    """
    config = getattr(transformers, FAMILIES[family].config, None)
    if config is None:
        message = f"transformers {transformers.__version__} has no {FAMILIES[family].config}"
        raise Unsupported(message)
    return config(**{**FAMILIES[family].options, **overrides})


def make_model(
    family: str,
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    model_class: str | None = None,
    trained: bool = True,
    **overrides: Any,
) -> Any:
    """Make a family's tiny model in evaluation mode, with the committed weights.

    With ``trained=False`` all weights come from :func:`fill`: such a model knows nothing and
    every token before the last one sways it, so a prompt that is dropped cannot go unseen.
    ``model_class`` takes another head (``BertForSequenceClassification``): its weights that the
    file does not have are filled by :func:`fill`. Raises ``RuntimeError`` when the file's
    weights do not all fit the model.
    """
    make = getattr(transformers, model_class or FAMILIES[family].model)
    model = make(make_config(family, **overrides))
    if trained:
        load_weights(model, CHECKPOINTS / f"{family}.safetensors")
    else:
        # Layers outweigh the embeddings: a tied model would otherwise repeat its last token.
        fill(model, seed=UNTRAINED_SEEDS.get(family, 1), std=0.5)
        model.tie_weights()
    return model.to(device=device, dtype=dtype).eval()


def image_inputs(family: str, input_ids: torch.Tensor) -> dict[str, torch.Tensor]:
    """Give what a vision-text family needs beside the text, nothing for the others.

    One grey image that every token may look at: the text is what the cases are about.
    """
    if family != "idefics":
        return {}
    batch, length = input_ids.shape
    return {
        "pixel_values": torch.full((batch, 1, 3, IMAGE_SIZE, IMAGE_SIZE), 0.5, device=input_ids.device),
        "image_attention_mask": torch.ones(batch, length, 1, dtype=torch.long, device=input_ids.device),
    }


def load_weights(model: Any, path: Path) -> None:
    """Load a committed file into a model; parameters that it lacks are filled deterministically.

    Names are matched with and without the model's base prefix. Raises ``RuntimeError`` when a
    weight of the file has no place in the model.
    """
    weights = {name: tensor.float() for name, tensor in load_file(path).items()}
    prefix = f"{model.base_model_prefix}."
    own = model.state_dict()
    renamed: dict[str, torch.Tensor] = {}
    homeless = []
    for name, tensor in weights.items():
        for candidate in (name, name.removeprefix(prefix), prefix + name):
            if candidate in own:
                renamed[candidate] = tensor
                break
        else:
            homeless.append(name)
    is_another_head = type(model).__name__ not in {family.model for family in FAMILIES.values()}
    if homeless and not is_another_head:
        message = f"weights of {path.name} without a place in {type(model).__name__}: {homeless}"
        raise RuntimeError(message)
    fill(model, seed=1)
    model.load_state_dict(renamed, strict=False)
    model.tie_weights()


@torch.no_grad()
def fill(module: torch.nn.Module, *, seed: int, std: float = 0.05, only: Callable[[str], bool] | None = None) -> None:
    """Fill parameters with numbers that depend on name, position and ``seed`` alone.

    An integer hash in place of torch's generator: its stream has changed between releases.
    Norm weights (one-dimensional, named ``weight``) become 1; everything else is uniform with
    mean 0 and standard deviation ``std``.
    """
    for name, parameter in module.named_parameters():
        if only is not None and not only(name):
            continue
        if parameter.dim() < 2 and name.endswith("weight"):  # noqa: PLR2004 - a vector named weight is a norm's
            parameter.fill_(1.0)
        else:
            parameter.copy_(hashed_uniform(parameter.shape, seed=seed, name=name) * std)


def hashed_uniform(shape: torch.Size | tuple[int, ...], *, seed: int, name: str = "") -> torch.Tensor:
    """Give uniform numbers of mean 0 and standard deviation 1, exact in every torch.

    Only integer arithmetic below 2**62 and one division by a power of two are used.
    """
    count = 1
    for size in shape:
        count *= size
    start = seed * 1_000_003
    for character in name:
        start = (start * 31 + ord(character)) % 2_147_483_647
    state = (torch.arange(count, dtype=torch.int64) + start) % 2_147_483_647
    for multiplier in (48_271, 69_621, 16_807):
        state = (state * multiplier + 12_345) % 2_147_483_647
        state = state ^ (state >> 15)
    unit = (state % 16_777_216).double() / 16_777_216.0
    return ((unit - 0.5) * (12.0**0.5)).float().reshape(shape)
