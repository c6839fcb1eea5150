"""Answers by hand: from an adapter's stored numbers to logits, with a base model that PEFT has never seen.

The numbers are read by name, from a state dict or from an adapter file; :class:`ByHand` computes with them what the
method's paper says. Every text is answered alone: without padding, in a batch of one, in one forward, without a cache.
What pads, caches, batches or generates has to come to the same logits.
"""

from __future__ import annotations

import json
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from harness.kit.by_hand.attention import (
    ROTARY,
    Layout,
    adaption_layers,
    gated_prompts,
    prefix_in_place,
    prefix_layers,
    prefix_table,
)
from harness.kit.by_hand.embeddings import virtual_embeddings
from harness.kit.families import LAYERS
from harness.kit.methods import LORA

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

ENCODER_DECODERS = frozenset({"t5", "bart"})
ENCODERS = frozenset({"bert", "roberta"})
PREFIXES = frozenset({"prefix_tuning", "prefix_tuning_projection", "cartridge"})
"""Methods whose numbers are keys and values."""

STAND_IN = 1
"""The token that stands where a prefix comes to be; any token but padding would do."""


@dataclass(frozen=True, kw_only=True)
class Stored:
    """An adapter's tensors by name, without its own name in them, and its config by name."""

    method: str
    tensors: Mapping[str, torch.Tensor]
    facts: Mapping[str, Any]

    def changed(self, share: float) -> Stored:
        """Change each number of the prompt by this share of it, up and down in turn, and nothing else."""
        tables = ("prompt_embeddings", "embedding.weight", "trainable_embedding", "adaption_prompt", "lora_B.weight")
        tensors = dict(self.tensors)
        for name, tensor in tensors.items():
            if name.endswith(tables):
                signs = torch.arange(tensor.numel(), device=tensor.device).remainder(2).mul(2).sub(1).view(tensor.shape)
                tensors[name] = tensor * (1 + share * signs)
        return Stored(method=self.method, tensors=tensors, facts=self.facts)


def in_memory(model: Any, method: str, adapter: str = "default") -> Stored:
    """Read an adapter's tensors by name from a PEFT model's state dict."""
    tensors = {}
    for name, tensor in model.state_dict().items():
        own = _own_name(name, adapter)
        if own is not None:
            tensors[own] = tensor.detach().clone()
    return Stored(method=method, tensors=tensors, facts=model.peft_config[adapter].to_dict())


def _own_name(name: str, adapter: str) -> str | None:
    """Name a tensor of this adapter as its file would, or say None for a tensor of another's or of the base."""
    encoder = f"prompt_encoder.{adapter}."
    if name.startswith(encoder):
        return name.removeprefix(encoder)
    if f".{adapter}." in name and ".lora_" in name:
        return name.replace(f".{adapter}.", ".")
    return name if name.endswith((".adaption_prompt", ".adaption_gate")) else None


def in_file(folder: Path, method: str) -> Stored:
    """Read an adapter's tensors from its file with safetensors, and its config from the JSON beside it."""
    from safetensors.torch import load_file

    facts = json.loads((Path(folder) / "adapter_config.json").read_text(encoding="utf-8"))
    return Stored(method=method, tensors=load_file(Path(folder) / "adapter_model.safetensors"), facts=facts)


class ByHand:
    """The answers of one adapter, computed by hand on ``base``, a model of ``family`` without PEFT in it.

    ``layout`` is how a stored prefix is read; None means the family's own.
    """

    def __init__(self, base: Any, family: str, stored: Stored, *, layout: Layout | None = None) -> None:
        """Move the numbers to the base model's device; nothing is changed in the model."""
        parameter = next(base.parameters())
        self._base, self._family, self._method = base, family, stored.method
        self._facts, self._dtype = stored.facts, parameter.dtype
        self._layout = layout or (Layout.TWICE if family in ENCODER_DECODERS else Layout.BY_LAYER)
        # In float32 to the end: only what the base model is fed is of its dtype.
        self._tensors = {name: tensor.to(parameter.device).float() for name, tensor in stored.tensors.items()}

    def logits(
        self,
        ids: torch.Tensor,
        *,
        task: int = 0,
        answer: torch.Tensor | None = None,
        gap: int = 0,
        counted: bool = True,
    ) -> torch.Tensor:
        """Compute the logits of one text, ``(length, vocabulary)`` as float32; an encoder's last hidden states.

        ``ids`` is ``(1, length)`` without padding. ``answer``, ``(1, length)``, is what an encoder-decoder's decoder is
        fed, and the logits are then the answer's. With a ``gap`` so many places of padding, which nothing looks at,
        stand between the prompt and the text: not the definition, but what padding on the left makes of it. They are
        ``counted`` as positions, or only lie in the window of sliding layers.
        """
        with torch.no_grad():
            return self.differentiable(ids, task=task, answer=answer, gap=gap, counted=counted).float()

    def differentiable(
        self,
        ids: torch.Tensor,
        *,
        task: int = 0,
        answer: torch.Tensor | None = None,
        gap: int = 0,
        counted: bool = True,
    ) -> torch.Tensor:
        """Compute as :meth:`logits` does, in the model's dtype and with autograd's graph."""
        inputs: dict[str, Any] = {} if answer is None else {"decoder_input_ids": answer}
        length = ids.shape[1] if answer is None else answer.shape[1]
        padded = torch.nn.functional.pad(ids, (gap, 0))
        mask = torch.ones_like(padded)
        mask[:, :gap] = 0
        if self._method in PREFIXES:
            found = self._with_prefix(padded, mask, inputs, skipped=0 if counted else gap)
        elif self._method == "adaption_prompt":
            with gated_prompts(
                self._base, self._family, adaption_layers(self._family, self._tensors, LAYERS, self._dtype)
            ):
                found = self._answers(input_ids=padded, attention_mask=mask, **inputs)
        elif self._method == LORA:
            with added_weights(self._base, self._tensors, self._facts["lora_alpha"] / self._facts["r"]):
                found = self._answers(input_ids=padded, attention_mask=mask, **inputs)
        else:
            virtual = self.virtual(task)
            text = self._base.get_input_embeddings()(padded)
            both = torch.cat([virtual.to(text.dtype)[None], text], dim=1)
            found = self._answers(inputs_embeds=both, attention_mask=_lengthened(mask, len(virtual)), **inputs)
        return found[0, -length:]

    def virtual(self, task: int = 0) -> torch.Tensor:
        """Compute the virtual embeddings that stand before the text, ``(virtual tokens, hidden)``."""
        found = virtual_embeddings(self._method, self._tensors, self._facts, task=task)
        # An encoder-decoder's adapter stores as many again for the decoder, which generate does not use.
        return found[: self._facts["num_virtual_tokens"]]

    def _with_prefix(
        self, ids: torch.Tensor, mask: torch.Tensor, inputs: dict[str, Any], *, skipped: int
    ) -> torch.Tensor:
        table = prefix_table(self._method, self._tensors).to(self._dtype)
        stand_ins = torch.full((1, len(table)), STAND_IN, device=ids.device)
        if "decoder_input_ids" in inputs:
            # The decoder alone has a prefix, in its attention to itself.
            inputs["decoder_input_ids"] = torch.cat([stand_ins, inputs["decoder_input_ids"]], dim=1)
        else:
            ids, mask = torch.cat([stand_ins, ids], dim=1), _lengthened(mask, len(table))
        if self._family in ROTARY:
            places = torch.arange(ids.shape[1], device=ids.device)[None]
            inputs["position_ids"] = torch.where(places < len(table), 0, (places - skipped).clamp(min=0))
        with prefix_in_place(self._base, self._family, prefix_layers(table, LAYERS, self._layout)):
            return self._answers(input_ids=ids, attention_mask=mask, **inputs)

    def _answers(self, **inputs: Any) -> torch.Tensor:
        output = self._base(**inputs)
        found: torch.Tensor = output.last_hidden_state if self._family in ENCODERS else output.logits
        return found


class Typed(ByHand):
    """The answers of an adapter to one text whose token types are given; virtual tokens are of type 0."""

    def __init__(self, base: Any, family: str, stored: Stored, *, types: torch.Tensor) -> None:
        """``types`` are the text's, ``(1, length)``."""
        super().__init__(base, family, stored)
        self._types = types

    def _answers(self, **inputs: Any) -> torch.Tensor:
        before = inputs["attention_mask"].shape[1] - self._types.shape[1]
        return super()._answers(token_type_ids=torch.nn.functional.pad(self._types, (before, 0)), **inputs)


def encoder_by_hand(base: Any, family: str, stored: Stored, types: torch.Tensor | None = None) -> ByHand:
    """Return the answers of the encoder inside a model with a head; ``types`` are the text's, ``(1, length)``.

    LoRA's numbers have the names of the whole model, and the encoder's are one level shorter.
    """
    inside = base.base_model_prefix
    tensors = {name.replace(f"model.{inside}.", "model."): one for name, one in stored.tensors.items()}
    encoder, stored = getattr(base, inside), replace(stored, tensors=tensors)
    if types is None:
        return ByHand(encoder, family, stored)
    return Typed(encoder, family, stored, types=types)


def token_types(ids: torch.Tensor) -> torch.Tensor:
    """Make token types for ids ``(batch, length)``: what stands behind the first third is the second segment."""
    types = torch.zeros_like(ids)
    types[:, ids.shape[1] // 3 :] = 1
    return types


def _lengthened(mask: torch.Tensor, tokens: int) -> torch.Tensor:
    """Put a prompt's places, which are seen, before a mask of ``(1, length)``."""
    return torch.nn.functional.pad(mask, (tokens, 0), value=1)


@contextmanager
def added_weights(base: Any, tensors: Mapping[str, torch.Tensor], scale: float) -> Iterator[None]:
    """Add LoRA's products to a base model's weights inside the context: ``W + scale * B A`` (Hu and others 2021)."""
    before = {}
    for name, first in tensors.items():
        path, found, _ = name.removeprefix("base_model.model.").partition(".lora_A.")
        if not found:
            continue
        module = base.get_submodule(path)
        second = tensors[name.replace(".lora_A.", ".lora_B.")]
        product = scale * (second @ first)
        before[module] = module.weight.data
        # GPT-2's linear layers have their weight the other way round.
        added = module.weight.data.float() + (product.T if type(module).__name__ == "Conv1D" else product)
        module.weight.data = added.to(module.weight.dtype)
    try:
        yield
    finally:
        for module, weight in before.items():
            module.weight.data = weight
