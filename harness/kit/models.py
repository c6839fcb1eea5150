"""The models that cases run on: tiny ones with committed or hashed weights, or real checkpoints where asked for.

``run`` and ``here`` take ``--weights FAMILY=PATH_OR_NAME`` for real checkpoints, which the libraries' own calls load.
A hub name has to be in the local cache, unless ``HF_HUB_OFFLINE=0`` is set.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import transformers
from safetensors.torch import load_file

from harness.kit.families import FAMILIES, IMAGE_SIZE, LOUD_POSITIONS, UNTRAINED_SEEDS, UNTRAINED_STD
from harness.kit.outcomes import Unsupported
from harness.kit.shared import made_once
from harness.kit.tokens import encode

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


IN_USE: dict[str, Weights] = {}
"""The real weights in use, by family; empty unless asked for."""

TIES = {"float32": 1e-3, "float16": 0.1, "bfloat16": 0.5}
"""How far apart two logits near 20 may be and still count as equal: some steps of the dtype's mantissa (2**-19, 2**-6
and 2**-3 there), because the cache changes the order of sums. A token that such a tie decides proves nothing."""


@dataclass(frozen=True, kw_only=True)
class Weights:
    """Where a family's checkpoint is, and how it is loaded."""

    source: str
    dtype: str = "float32"
    device_map: str | None = None


def use_weights(weights: Mapping[str, Mapping[str, Any]]) -> None:
    """Use these checkpoints from now on, described as a job describes them."""
    IN_USE.clear()
    IN_USE.update({family: Weights(**facts) for family, facts in weights.items()})


def load_checkpoint(family: str, model_class: str, *, device: torch.device | str, **overrides: Any) -> Any:
    """Load the checkpoint in use for ``family`` into ``model_class``, in evaluation mode.

    What its generation config says of sampling, penalties and the end of a text is dropped: the oracles count
    tokens, and decode greedily.
    """
    weights = IN_USE[family]
    dtype = getattr(torch, weights.dtype)
    # The argument was called torch_dtype up to transformers 4.55, and both names are known for a while.
    name = "dtype" if int(transformers.__version__.partition(".")[0]) > 4 else "torch_dtype"  # noqa: PLR2004
    options = {name: dtype, **({"device_map": weights.device_map} if weights.device_map else {}), **overrides}
    model = getattr(transformers, model_class).from_pretrained(weights.source, **options)
    if getattr(model, "generation_config", None) is not None:
        start = model.generation_config.decoder_start_token_id
        model.generation_config = transformers.GenerationConfig(decoder_start_token_id=start, pad_token_id=0)
    return (model if weights.device_map else model.to(device)).eval()


def encode_for(family: str, text: str, *, device: torch.device | str = "cpu") -> torch.Tensor:
    """Return the ids of ``text``, ``(1, length)``, by the checkpoint's tokenizer where real weights are in use."""
    if family not in IN_USE:
        return encode(text, device=device)
    tokenizer = transformers.AutoTokenizer.from_pretrained(IN_USE[family].source)
    return tokenizer(text, return_tensors="pt")["input_ids"].to(device)


CHECKPOINTS = Path(__file__).resolve().parents[2] / "cases" / "checkpoints"


def make_model_config(family: str, **overrides: Any) -> Any:
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

    With ``trained=False`` all weights come from :func:`fill`: such a model knows nothing, and every token
    before the last one changes its answer, so a prompt that is dropped cannot go unseen.
    ``model_class`` takes another head (``BertForSequenceClassification``): its weights that the
    file does not have are filled by :func:`fill`. Where real weights are in use for the family
    they are loaded, trained or not; a tiny model is made once in a process, and each caller has a copy of its own.
    Raises ``RuntimeError`` when the file's weights do not all fit the model.
    """
    name = model_class or FAMILIES[family].model
    if family in IN_USE:
        return load_checkpoint(family, name, device=device, **overrides)
    return made_once(
        lambda: _make(family, name, trained=trained, **overrides).to(device=device, dtype=dtype).eval(),
        family, name, str(device), dtype, trained, repr(sorted(overrides.items())),
    )  # fmt: skip


def _make(family: str, name: str, *, trained: bool, **overrides: Any) -> Any:
    config = make_model_config(family, **overrides)
    model = getattr(transformers, name)(config)
    if trained:
        load_weights(model, CHECKPOINTS / f"{family}.safetensors")
    else:
        # Layers outweigh the embeddings: a tied model would otherwise repeat its last token.
        seed = UNTRAINED_SEEDS.get(family, 1)
        fill(model, seed=seed, std=UNTRAINED_STD.get(family, 0.5))
        if family in LOUD_POSITIONS:
            fill(model, seed=seed, std=LOUD_POSITIONS[family], only=lambda name: name.endswith("positions.weight"))
        model.tie_weights()
    return model


def image_inputs(family: str, input_ids: torch.Tensor, image: torch.Tensor | None = None) -> dict[str, torch.Tensor]:
    """Return what a vision-text family needs beside the text; nothing for the others.

    ``image`` is ``(3, IMAGE_SIZE, IMAGE_SIZE)``, the same for each row, and every token may look at it. Where none is
    given Idefics, which cannot do without, has a grey one: the text is what most cases are about.
    """
    batch, length = input_ids.shape
    if family == "llava" and image is not None:
        return {"pixel_values": image.to(input_ids.device).expand(batch, *image.shape)}
    if family != "idefics":
        return {}
    pixels = torch.full((3, IMAGE_SIZE, IMAGE_SIZE), 0.5) if image is None else image
    return {
        "pixel_values": pixels.to(input_ids.device).expand(batch, 1, *pixels.shape),
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
    # What the file has is not hashed first: that was most of what making a model took.
    fill(model, seed=1, only=lambda name: name not in renamed)
    model.load_state_dict(renamed, strict=False)
    model.tie_weights()


def fill(module: torch.nn.Module, *, seed: int, std: float = 0.05, only: Callable[[str], bool] | None = None) -> None:
    """Fill parameters with numbers that depend on name, position and ``seed`` alone.

    An integer hash in place of torch's generator: its stream has changed between releases.
    Norm weights (one-dimensional, named ``weight``) become 1; everything else is uniform with
    mean 0 and standard deviation ``std``. What later releases call otherwise or store as one is
    filled as in the earlier ones.
    """
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if only is not None and not only(name):
                continue
            if parameter.dim() < 2 and name.endswith("weight"):  # noqa: PLR2004 - a vector named weight is a norm's
                parameter.fill_(1.0)
            elif name.endswith((".experts.gate_up_proj", ".experts.down_proj")):
                parameter.copy_(_experts(name, parameter.shape, seed=seed) * std)
            else:
                parameter.copy_(hashed_uniform(parameter.shape, seed=seed, name=_first_name(name)) * std)


def _first_name(name: str) -> str:
    """Return the name under which a parameter is hashed, whatever a release calls it.

    Llava's text model had its head inside before transformers 4.52, and its vision tower a level more before 5.
    """
    name = name.replace("embed_out.weight", "lm_head.weight")
    name = re.sub(r"^(?:model\.)?language_model\.(?:model\.)?(?!lm_head)", "language_model.", name)
    name = re.sub(r"^(?:model\.)?vision_tower\.(?:vision_model\.)?", "vision_tower.", name)
    name = re.sub(r"^(?:model\.)?multi_modal_projector\.", "multi_modal_projector.", name)
    return re.sub(r"^language_model\.lm_head\.", "lm_head.", name)


def _experts(name: str, shape: torch.Size, *, seed: int) -> torch.Tensor:
    """Return the weights of all experts as one tensor, as transformers 5 keeps them, hashed from the names of each."""
    count, rows, columns = shape
    stem, _, kind = name.rpartition(".")
    parts = ("gate_proj", "up_proj") if kind == "gate_up_proj" else ("down_proj",)
    part_shape = (rows // len(parts), columns)
    return torch.stack(
        [
            torch.cat([hashed_uniform(part_shape, seed=seed, name=f"{stem}.{one}.{part}.weight") for part in parts])
            for one in range(count)
        ]
    )


def hashed_uniform(shape: torch.Size | tuple[int, ...], *, seed: int, name: str = "") -> torch.Tensor:
    """Return uniform numbers of mean 0 and standard deviation 1, exact in every torch.

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
