"""Keys, values and gated prompts by hand: what an adapter does inside attention, as hooks on a bare base model.

A prefix needs no cache here. The base model reads as many stand-in tokens before the text as the prefix has, and hooks
on its projections put the stored keys and values in their places, in every layer: attention itself, the mask and the
positions are the model's own. Rotary models get position 0 for the stand-ins, at which the rotation does nothing.
"""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import torch
from torch.nn.functional import linear

from harness.kit.families import HIDDEN

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    Tensors = Mapping[str, torch.Tensor]
    Change = Callable[[torch.Tensor], torch.Tensor]

LAYER = "model.layers.{}.self_attn."
_SEPARATE = (LAYER + "k_proj", LAYER + "v_proj")
_NORMED = (LAYER + "k_norm", LAYER + "v_proj")
_ENCODER = ("encoder.layer.{}.attention.self.key", "encoder.layer.{}.attention.self.value")

SEPARATE = {
    "llama": _SEPARATE,
    "qwen2": _SEPARATE,
    "mistral": _SEPARATE,
    "gemma2": _SEPARATE,
    "qwen2_moe": _SEPARATE,
    "idefics": _SEPARATE,
    # As the releases name it in which PEFT has prompts for it.
    "llava": ("model.language_model.layers.{}.self_attn.k_proj", "model.language_model.layers.{}.self_attn.v_proj"),
    # Keys are stored as the cache has them: after their norm.
    "qwen3": _NORMED,
    "gemma3": _NORMED,
    "opt": ("model.decoder.layers.{}.self_attn.k_proj", "model.decoder.layers.{}.self_attn.v_proj"),
    "bart": ("model.decoder.layers.{}.self_attn.k_proj", "model.decoder.layers.{}.self_attn.v_proj"),
    "t5": ("decoder.block.{}.layer.0.SelfAttention.k", "decoder.block.{}.layer.0.SelfAttention.v"),
    "bert": _ENCODER,
    "roberta": _ENCODER,
}
"""Where a layer's keys and values leave their projections, by family, where each has one of its own."""

FUSED = {
    "gpt2": ("transformer.h.{}.attn.c_attn", "blocks"),
    "gpt_bigcode": ("transformer.h.{}.attn.c_attn", "blocks"),
    "falcon": ("transformer.h.{}.self_attention.query_key_value", "blocks"),
    "bloom": ("transformer.h.{}.self_attention.query_key_value", "heads"),
    "gpt_neox": ("gpt_neox.layers.{}.attention.query_key_value", "heads"),
}
"""Where one projection makes all three: in ``blocks`` of queries, keys and values, or three by three for each head."""

ROTARY = frozenset(
    {"llama", "qwen2", "mistral", "gemma2", "gemma3", "qwen3", "qwen2_moe", "gpt_neox", "falcon", "idefics", "llava"}
)
"""Families that turn keys by their position: a stored key is turned already."""


@dataclass(frozen=True, kw_only=True)
class KeysAndValues:
    """A prefix of one layer, ``(virtual tokens, key-value heads * head size)`` each."""

    keys: torch.Tensor
    values: torch.Tensor


def prefix_table(method: str, tensors: Tensors) -> torch.Tensor:
    """Compute the stored prefix, ``(virtual tokens, layers * 2 * width)``.

    Li and Liang 2021: with a projection the table goes through two linear layers with a tanh between them. A cartridge
    has its first rows apart, which are not trained.
    """
    if "prompt_embeddings" in tensors:
        return tensors["prompt_embeddings"]
    if method == "cartridge":
        rows = [tensors[name] for name in ("frozen_embedding", "trainable_embedding") if name in tensors]
        return torch.cat(rows)
    table = tensors["embedding.weight"]
    if method == "prefix_tuning_projection":
        inner = linear(table, tensors["transform.0.weight"], tensors["transform.0.bias"]).tanh()
        return linear(inner, tensors["transform.2.weight"], tensors["transform.2.bias"])
    return table


class Layout(StrEnum):
    """Which part of a stored prefix is whose; a part is one layer's keys or values, all tokens of it."""

    BY_LAYER = "a layer's keys, its values, the next layer's keys"
    OLD_BLOOM = "all layers' keys, in another shape's order, then all values"
    """Bloom's before transformers 4.44, when its cache was its own: PEFT swapped tokens with heads where it was to swap
    tokens with numbers, so that the keys' numbers are dealt out to other tokens and heads."""
    HALVES_FIRST = "all layers' keys, then all values, in their own order"
    """Gemma 2's and 3's in peft up to 0.18.1: it took the layer for the half and the half for the layer, which only a
    model of two layers survives."""
    TWICE = "by layer, dealt out four at a time, twice"
    """An encoder-decoder's: the parts are written out twice and each layer takes the next four, of which the first two
    are for its attention to itself; the others were meant for its attention to the encoder, and are not used."""


def prefix_layers(table: torch.Tensor, layers: int, layout: Layout = Layout.BY_LAYER) -> list[KeysAndValues]:
    """Split a stored prefix into what each layer gets."""
    parts = table.chunk(2 * layers, dim=1)
    match layout:
        case Layout.BY_LAYER:
            order = [(2 * layer, 2 * layer + 1) for layer in range(layers)]
        case Layout.OLD_BLOOM:
            parts = (*(_dealt_out(part) for part in parts[:layers]), *parts[layers:])
            order = [(layer, layers + layer) for layer in range(layers)]
        case Layout.HALVES_FIRST:
            order = [(layer, layers + layer) for layer in range(layers)]
        case Layout.TWICE:
            order = [(4 * layer % (2 * layers), (4 * layer + 1) % (2 * layers)) for layer in range(layers)]
    return [KeysAndValues(keys=parts[keys], values=parts[values]) for keys, values in order]


def _dealt_out(keys: torch.Tensor) -> torch.Tensor:
    """Read ``(tokens, heads * size)`` as if it were ``(heads, size, tokens)``."""
    return keys.reshape(keys.shape[1], keys.shape[0]).T


@contextmanager
def prefix_in_place(base: Any, family: str, prefix: list[KeysAndValues]) -> Iterator[None]:
    """Put a prefix in the place of the first positions' keys and values, in every layer, inside the context.

    The base model must be fed as many stand-in tokens first as the prefix has.
    """
    with ExitStack() as hooks:
        for layer, stored in enumerate(prefix):
            if family in SEPARATE:
                for path, rows in zip(SEPARATE[family], (stored.keys, stored.values), strict=True):
                    hooks.enter_context(_output(base, path.format(layer), _first_positions(rows)))
            else:
                path, order = FUSED[family]
                hooks.enter_context(_output(base, path.format(layer), _fused(stored, _heads(base), order)))
        yield


@contextmanager
def _output(base: Any, path: str, change: Change) -> Iterator[None]:
    """Change what one module of the base model returns, inside the context."""
    handle = base.get_submodule(path).register_forward_hook(lambda _module, _inputs, output: change(output))
    try:
        yield
    finally:
        handle.remove()


def _heads(base: Any) -> int:
    return int(getattr(base.config, "num_attention_heads", 0) or base.config.n_head)


def _first_positions(rows: torch.Tensor) -> Change:
    """Write ``(tokens, width)`` over the first positions of ``(1, length, width)``.

    Or of ``(1, length, heads, size)`` or ``(1, heads, length, size)``, as a norm over heads returns them.
    """

    def change(output: torch.Tensor) -> torch.Tensor:
        tokens = len(rows)
        written = output.clone()
        if output.dim() == 3:  # noqa: PLR2004
            written[0, :tokens] = rows.to(output.dtype)
            return written
        heads = rows.shape[1] // output.shape[-1]
        by_head = rows.to(output.dtype).view(tokens, heads, -1)
        if output.shape[1] == heads:
            written[0, :, :tokens] = by_head.transpose(0, 1)
        else:
            written[0, :tokens] = by_head
        return written

    return change


def _fused(stored: KeysAndValues, heads: int, order: str) -> Change:
    """Write keys and values over the first positions of a projection that makes queries, keys and values in one."""

    def change(output: torch.Tensor) -> torch.Tensor:
        tokens = len(stored.keys)
        written = output.clone()
        if order == "heads":
            by_head = written[0, :tokens].view(tokens, heads, 3, -1)
            by_head[:, :, 1] = stored.keys.to(output.dtype).view(tokens, heads, -1)
            by_head[:, :, 2] = stored.values.to(output.dtype).view(tokens, heads, -1)
        else:
            width = _key_width(output.shape[-1], heads)
            # Stored for each query head before PEFT knew that one key serves them all: the first counts.
            written[0, :tokens, -2 * width : -width] = stored.keys[:, :width].to(output.dtype)
            written[0, :tokens, -width:] = stored.values[:, :width].to(output.dtype)
        return written

    return change


def _key_width(width: int, heads: int) -> int:
    """Say how wide the keys are in a projection to so many query heads and as many key and value heads, or one."""
    size = HIDDEN // heads
    return HIDDEN if width == 3 * HIDDEN else size


ADAPTION_ATTENTION = {
    "llama": "model.layers.{}.self_attn",
    "mistral": "model.layers.{}.self_attn",
    "gpt2": "transformer.h.{}.attn",
}
"""The attention that an adaption prompt goes into, by family."""


@dataclass(frozen=True, kw_only=True)
class AdaptionPrompt:
    """The prompt of one layer, ``(tokens, hidden)``, and its gate, one number."""

    prompt: torch.Tensor
    gate: torch.Tensor


def adaption_layers(family: str, tensors: Tensors, layers: int, dtype: torch.dtype) -> dict[int, AdaptionPrompt]:
    """Sort an adaption prompt's tensors by layer, as their names say, in the model's dtype."""
    found = {}
    for layer in range(layers):
        path = ADAPTION_ATTENTION[family].format(layer)
        prompts = [tensor for name, tensor in tensors.items() if name.endswith(f"{path}.adaption_prompt")]
        gates = [tensor for name, tensor in tensors.items() if name.endswith(f"{path}.adaption_gate")]
        if prompts:
            found[layer] = AdaptionPrompt(prompt=prompts[0][0].to(dtype), gate=gates[0].to(dtype))
    return found


@contextmanager
def gated_prompts(base: Any, family: str, prompts: Mapping[int, AdaptionPrompt]) -> Iterator[None]:
    """Add gated attention over an adaption prompt to some layers, inside the context.

    Zhang and others 2023 (LLaMA-Adapter), section 3.2: queries, turned by their positions, attend to the prompt's keys
    and values with a softmax of their own, times the gate; the sum goes through the output projection with the rest.
    On GPT-2 PEFT adds it behind that projection. The paper has no GPT-2: there this is taken as the definition.
    """
    with ExitStack() as hooks:
        for layer, prompt in prompts.items():
            attention = base.get_submodule(ADAPTION_ATTENTION[family].format(layer))
            hooks.enter_context(
                _behind_projection(attention, prompt, base.config)
                if family == "gpt2"
                else _before_projection(attention, prompt, base.config)
            )
        yield


@contextmanager
def _before_projection(attention: Any, prompt: AdaptionPrompt, config: Any) -> Iterator[None]:
    seen: dict[str, torch.Tensor] = {}
    heads, groups = config.num_attention_heads, config.num_key_value_heads
    keys = linear(prompt.prompt, attention.k_proj.weight).view(len(prompt.prompt), groups, -1)
    values = linear(prompt.prompt, attention.v_proj.weight).view(len(prompt.prompt), groups, -1)

    def remember(_module: Any, _inputs: Any, output: torch.Tensor) -> None:
        seen["queries"] = output

    def add(_module: Any, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor]:
        rows, length, _ = seen["queries"].shape
        queries = turned(seen["queries"].view(rows, length, heads, -1), theta=rotary_base(config))
        return (inputs[0] + attend(queries, keys, values, prompt.gate),)

    handles = [attention.q_proj.register_forward_hook(remember), attention.o_proj.register_forward_pre_hook(add)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def _behind_projection(attention: Any, prompt: AdaptionPrompt, config: Any) -> Iterator[None]:
    seen: dict[str, torch.Tensor] = {}
    # GPT-2's linear layers have their weight the other way round.
    fused = prompt.prompt @ attention.c_attn.weight + attention.c_attn.bias
    _, keys, values = (part.view(len(prompt.prompt), config.n_head, -1) for part in fused.chunk(3, dim=1))

    def remember(_module: Any, _inputs: Any, output: torch.Tensor) -> None:
        seen["queries"] = output.chunk(3, dim=2)[0]

    def add(_module: Any, _inputs: Any, output: torch.Tensor) -> torch.Tensor:
        rows, length, _ = seen["queries"].shape
        return output + attend(seen["queries"].view(rows, length, config.n_head, -1), keys, values, prompt.gate)

    handles = [attention.c_attn.register_forward_hook(remember), attention.c_proj.register_forward_hook(add)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def rotary_base(config: Any) -> float:
    """Read the base of the rotary angles from a config: a field of its own, or in ``rope_parameters``."""
    parameters = getattr(config, "rope_parameters", None) or {}
    found: Any = parameters.get("rope_theta") or getattr(config, "rope_theta", 10_000.0)
    return float(found)


def turned(states: torch.Tensor, *, theta: float) -> torch.Tensor:
    """Turn ``(rows, length, heads, size)`` by the positions 0, 1, 2...: Su and others 2021, in Llama's halves."""
    length, size = states.shape[1], states.shape[-1]
    frequencies = theta ** (-torch.arange(0, size, 2, device=states.device, dtype=torch.float32) / size)
    angles = torch.arange(length, device=states.device, dtype=torch.float32)[:, None, None] * frequencies
    cosine, sine = angles.cos().to(states.dtype), angles.sin().to(states.dtype)
    first, second = states.chunk(2, dim=-1)
    return torch.cat([first * cosine - second * sine, second * cosine + first * sine], dim=-1)


def attend(queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, gate: torch.Tensor) -> torch.Tensor:
    """Attend to a prompt; gives ``(rows, length, heads * size)``.

    ``queries`` are ``(rows, length, heads, size)``, ``keys`` and ``values`` ``(tokens, groups, size)``. Query heads
    share the keys of their group. Every query sees the whole prompt: nothing is masked.
    """
    shared = queries.shape[2] // keys.shape[1]
    keys, values = keys.repeat_interleave(shared, dim=1), values.repeat_interleave(shared, dim=1)
    scores = torch.einsum("rlhs,ths->rhlt", queries, keys) / queries.shape[-1] ** 0.5
    mixed = torch.einsum("rhlt,ths->rlhs", gate * scores.float().softmax(-1).to(scores.dtype), values)
    return mixed.flatten(2)
