"""Real checkpoints in the place of tiny models, for who has them: off unless asked for.

``run`` and ``here`` take ``--weights FAMILY=PATH_OR_NAME``. The libraries' own calls load them. A hub name has to be
in the local cache, unless ``HF_HUB_OFFLINE=0`` is set.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import transformers

IN_USE: dict[str, Weights] = {}
"""By family; empty as long as nobody asks for real weights."""

TIES = {"float32": 1e-3, "float16": 0.1, "bfloat16": 0.5}
"""How far apart two logits near 20 may be and still be one: some steps of the dtype's mantissa (2**-19, 2**-6 and
2**-3 there), because the cache changes the order of sums. A token that such a tie decides proves nothing."""


@dataclass(frozen=True, kw_only=True)
class Weights:
    """Where a family's checkpoint is, and how it is loaded."""

    source: str
    dtype: str = "float32"
    device_map: str | None = None


def use(weights: dict[str, dict[str, Any]]) -> None:
    """Take these checkpoints from now on, as a job gives them."""
    IN_USE.clear()
    IN_USE.update({family: Weights(**facts) for family, facts in weights.items()})


def load(family: str, model_class: str, *, device: torch.device | str, **overrides: Any) -> Any:
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
    """Give the ids of ``text``, ``(1, length)``: with the checkpoint's tokenizer where real weights are in use."""
    from harness.cell.tokens import encode

    if family not in IN_USE:
        return encode(text, device=device)
    tokenizer = transformers.AutoTokenizer.from_pretrained(IN_USE[family].source)
    return tokenizer(text, return_tensors="pt")["input_ids"].to(device)
