"""What ``generate`` costs as the answer and the prompt get longer, with the cache and without.

Exact counts for each length, and times through pytest-benchmark. Long, so a matrix asks for it by name, for
the cells where the curve is wanted.
"""

from __future__ import annotations

from typing import Any

import torch

from harness.kit import Trial, Variants, attach, encode, grow, make_model

DOCUMENT = None
UPSTREAM = ("https://github.com/huggingface/peft/issues/2131",)
ORACLE = "cache"
BY_NAME = True
NEW_TOKENS = (8, 16, 32, 64, 128, 256, 512)
VIRTUAL_TOKENS = (1, 2, 4, 8, 16, 32, 64)
FEW_VIRTUAL, FEW_NEW = 4, 32
"""What is held while the other grows."""

QUESTION = "1+1="
POSITIONS = 640
"""Room for the longest answer: the tiny models stop at 160. Rotary positions have no weights, so the config will do."""

VARIANTS = (Variants(axes={"model": ("llama",), "method": ("prompt_tuning",), "aspect": ("growth",)}),)


def check(trial: Trial, benchmark: Any) -> None:
    """Count and time each length; with the cache each step must be fed one token, whatever the length."""
    device = trial.torch_device()
    ids = encode(QUESTION, device=device)
    mask = torch.ones_like(ids)

    def model_with(virtual_tokens: int) -> Any:
        base = make_model(trial.model, device=device, trained=False, max_position_embeddings=POSITIONS)
        return attach(base, trial.method, virtual_tokens=virtual_tokens)

    growth = grow(
        benchmark,
        model_with,
        (ids, mask),
        device=device,
        new_tokens=[(new, FEW_VIRTUAL) for new in NEW_TOKENS],
        virtual_tokens=[(FEW_NEW, virtual) for virtual in VIRTUAL_TOKENS],
        timed=trial.timed,
    )
    trial.evidence.update(input_tokens=ids.shape[1], positions=POSITIONS)
    trial.counters.update(growth.counters)
    trial.latency.update(growth.latency)
    for point in growth.counters["growth"]:
        trial.expect(point["forward_calls"] == point["new_tokens"], "not one forward for each new token")
