"""What a worker imports before it forks, so that its children need not.

Nothing of an overlay may be among it, and nothing that imports one by itself (``transformers.trainer``
does): a child would get the first overlay's peft, or none. This is checked after each import, and
ends the worker.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import sys
from typing import TYPE_CHECKING

from harness.cell.plugin import quiet_environment
from harness.kit.outcomes import message
from harness.packages import OVERLAY_MODULES

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_NEEDED = ("torch", "transformers", "transformers.generation.utils", "tokenizers", "safetensors.torch", "pytest")
"""A base in which one of these cannot be imported is broken."""

_USUAL = (
    "pytest_benchmark.plugin",
    "_pytest.junitxml",
    "harness.cell.measure",
    "harness.cell.session",
    "harness.kit.answers",
    "harness.kit.counters",
    "harness.kit.timing",
    "harness.kit.methods",
    "harness.kit.models",
    "harness.kit.oracles",
    "harness.kit.properties",
    "harness.kit.shared",
    "harness.kit.tokens",
    "transformers.modeling_utils",
    "transformers.models.auto.modeling_auto",
    "transformers.models.auto.tokenization_auto",
    # Every peft imports it for the layout of its past keys, and most cases run on Llama.
    "transformers.models.bloom.modeling_bloom",
    "transformers.models.llama.modeling_llama",
)
"""What every child imports sooner or later; when one fails, the child will say so itself."""

_SOMETIMES = (
    "torch._dynamo",
    "torch.distributed.tensor",
    "accelerate",
    "huggingface_hub.hf_file_system",
    "datasets",
    "scipy.stats",
    "sklearn.metrics",
    "PIL.Image",
    "hypothesis",
    *(f"transformers.models.{family}.modeling_{family}" for family in ("bert", "gpt2", "idefics", "opt", "qwen2")),
    *(
        f"transformers.models.{family}.modeling_{family}"
        for family in ("bart", "falcon", "gemma2", "gemma3", "gpt_neox")
    ),
    *(f"transformers.models.{family}.modeling_{family}" for family in ("gpt_bigcode", "mistral", "qwen2_moe", "qwen3")),
    *(f"transformers.models.{family}.modeling_{family}" for family in ("roberta", "t5", "clip", "llava")),
)
"""Slow to import and needed by some releases or cases: imported once a child was seen to have them."""


_WITH_OVERLAYS = ("transformers.trainer", "sentence_transformers")
"""Slow to import, and imports overlays: for a process that has imported them already, once a child was seen to."""


def import_base() -> str | None:
    """Import what cannot be missing; return the message of a failure, None when there is none."""
    quiet_environment()
    try:
        for name in _NEEDED:
            importlib.import_module(name)
    except Exception as error:  # noqa: BLE001 - a base that cannot be imported is a result
        return message(error)
    importlib.import_module("torch").set_num_threads(1)
    return None


def preload() -> str | None:
    """Import the base into a process that will fork; return the message of a failure.

    Raises ``RuntimeError`` when that drags in an overlay.
    """
    error = import_base()
    import_also(() if error else _USUAL)
    return error


def import_also(names: Iterable[str], never: Sequence[str] = OVERLAY_MODULES) -> None:
    """Import more of the base, as far as it goes. Raises ``RuntimeError`` when that drags in one of ``never``."""
    for name in names:
        with contextlib.suppress(Exception):
            importlib.import_module(name)
    loaded = [name for name in never if name in sys.modules]
    if loaded:
        text = f"the base imported {loaded} by itself: what stands in an overlay would not count"
        raise RuntimeError(text)
    gc.collect()
    gc.freeze()


def seen_here() -> list[str]:
    """List what this child has imported and its parent might import for the next one."""
    return [name for name in (*_SOMETIMES, *_WITH_OVERLAYS) if name in sys.modules]


def without_overlays(names: Iterable[str]) -> list[str]:
    """Leave out what imports an overlay: the rest can be imported by a process that must not have one."""
    return [name for name in names if name not in _WITH_OVERLAYS]
