"""An adapter that another release of PEFT wrote answers as the same numbers do when this release makes them.

Users share adapters and load them years later, or load a colleague's newer one. The committed files come from
``cases/adapters/make.py``; the oracle is an adapter that this release makes in memory from the same numbers. Keys of
a newer config ended in a ``TypeError`` until peft #2038 let them pass with a warning.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import peft

from harness.kit import (
    LORA,
    Trial,
    Variants,
    adapter_options,
    attach,
    expect_near,
    far,
    logits,
    make_base,
    make_model,
    question,
)

DOCUMENT = None
UPSTREAM = ("https://github.com/huggingface/peft/pull/2038",)
ORACLE = "reload"
VARIANTS = (
    Variants(
        axes={
            "model": ("gpt2",),
            "method": ("prompt_tuning", "prefix_tuning", "prefix_tuning_projection", "p_tuning", "lora"),
            "writer": ("0.9.0", "0.13.2", "0.21.2"),
        },
    ),
)
VIRTUAL_TOKENS = 4


def check(trial: Trial) -> None:
    """Load the committed file with the call that users make, and compare logits."""
    ids, mask = question(trial)
    base = make_base(trial)
    bare = logits(base, input_ids=ids, attention_mask=mask)
    model = adapter(trial.method).to(ids.device)
    wanted = logits(model, length=ids.shape[1], input_ids=ids, attention_mask=mask)
    trial.expect(far(wanted, bare) > 0.1, "the adapter changes nothing")
    folder = Path(__file__).parent / "adapters" / trial.writer / trial.model / trial.method
    loaded = peft.PeftModel.from_pretrained(make_base(trial), str(folder)).eval()
    found = logits(loaded, length=ids.shape[1], input_ids=ids, attention_mask=mask)
    expect_near(trial, "loaded against made here", found, wanted)


def adapter(method: str) -> Any:
    """Make the adapter: its numbers depend on the names of its parameters, which no release has changed."""
    options = adapter_options(method) | ({} if method == LORA else {"virtual_tokens": VIRTUAL_TOKENS})
    return attach(make_model("gpt2", trained=False), method, **options)
