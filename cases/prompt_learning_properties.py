"""Whatever the batch, the lengths and the number of virtual tokens: the oracles hold.

``cache``: ``generate`` says what plain forward calls say. ``left``: on a left-padded batch it says of each row
what forward calls say of the row alone (huggingface/peft#1093, #1212). ``right``: a row's logits do not
depend on what it is padded with behind its end. Hypothesis draws the examples; one that fails is shrunk, kept as
evidence, and tried in the other cells.
"""

from __future__ import annotations

from typing import Any

import torch

from harness.kit import (
    LORA,
    LORA_TARGETS,
    Trial,
    Variants,
    attach,
    counted,
    encode,
    for_all_examples,
    greedy_by_forward,
    greedy_by_generate,
    make_adapter_config,
    make_model,
    make_model_config,
)

DOCUMENT = None
UPSTREAM = (
    "https://github.com/huggingface/peft/issues/1093",
    "https://github.com/huggingface/peft/issues/1212",
)
ORACLE = "batch"
RING = "long"
NEW_TOKENS = 4
QUESTION = "3+4=7</s>2+2=4</s>5+1=6</s>8+8=16</s>9+0=9</s> 1+1="
TOLERANCE = 1e-3
"""Of logits near 10 in float32, and of what tells a best token from a tie: rounding stays below 1e-4."""

VARIANTS = (
    Variants(
        axes={
            "model": ("llama", "gpt2", "bloom", "mistral", "qwen3", "gemma3"),
            "method": ("prompt_tuning", "prefix_tuning", "p_tuning", "lora"),
            "aspect": ("cache", "left", "right"),
        },
    ),
)


def check(trial: Trial) -> None:
    """Draw batches and prompts, and hold the aspect's oracle on each."""
    # Slow to import, and not everywhere: `here` wants nothing but pytest.
    from hypothesis import strategies as st

    # What a release does not have is no failing example.
    make_model_config(trial.model)
    make_adapter_config(trial.method)
    prove = _right if trial.aspect == "right" else _generate

    def once(lengths: list[int], virtual_tokens: int) -> None:
        # Without padding all rows are as long as the first.
        same = [lengths[0]] * len(lengths)
        prove(trial, same if trial.aspect == "cache" else lengths, virtual_tokens)

    for_all_examples(
        trial,
        once,
        lengths=st.lists(st.integers(1, 24), min_size=1, max_size=3),
        virtual_tokens=st.integers(1, 24),
    )


def _generate(trial: Trial, lengths: list[int], virtual_tokens: int) -> None:
    """Compare tokens of ``generate`` on left-padded rows with those of a loop over ``forward`` on each row."""
    model = _model(trial, virtual_tokens)
    rows = _rows(lengths, device=trial.torch_device())
    width = max(lengths)
    ids = torch.cat([torch.nn.functional.pad(row, (width - row.shape[1], 0)) for row in rows])
    mask = torch.cat([torch.nn.functional.pad(torch.ones_like(row), (width - row.shape[1], 0)) for row in rows])
    with counted(trial, model):
        generated = greedy_by_generate(model, ids, mask, new_tokens=NEW_TOKENS)
    for index, row in enumerate(rows):
        reference, margin = greedy_by_forward(model, row, torch.ones_like(row), new_tokens=NEW_TOKENS)
        # At a tie rounding decides, and a token proves nothing.
        if margin > TOLERANCE:
            same = generated[index].tolist() == reference[0].tolist()
            trial.expect(same, "generate on a batch leaves the forward loop on a row of it")


def _right(trial: Trial, lengths: list[int], virtual_tokens: int) -> None:
    """Compare the logits at the end of each right-padded row with those of the row alone."""
    model = _model(trial, virtual_tokens)
    rows = _rows(lengths, device=trial.torch_device())
    width = max(lengths)
    ids = torch.cat([torch.nn.functional.pad(row, (0, width - row.shape[1])) for row in rows])
    mask = torch.cat([torch.nn.functional.pad(torch.ones_like(row), (0, width - row.shape[1])) for row in rows])
    with torch.no_grad():
        together = model(input_ids=ids, attention_mask=mask).logits
        for index, row in enumerate(rows):
            alone = model(input_ids=row, attention_mask=torch.ones_like(row)).logits[0, -1]
            end = together.shape[1] - width + row.shape[1] - 1
            distance = float((together[index, end] - alone).abs().max())
            trial.expect(distance < TOLERANCE, "a row alone has other logits than in a padded batch")


def _model(trial: Trial, virtual_tokens: int) -> Any:

    base = make_model(trial.model, device=trial.torch_device(), trained=False)
    # Where PEFT has a default of its own, it will do.
    targets = LORA_TARGETS.get(trial.model)
    options: dict[str, Any] = {"target_modules": targets} if trial.method == LORA and targets else {}
    return attach(base, trial.method, virtual_tokens=virtual_tokens, **options)


def _rows(lengths: list[int], *, device: torch.device) -> list[torch.Tensor]:
    """Return one row of ids for each length, ``(1, length)``, no two of them alike."""
    ids = encode(QUESTION, device=device)
    return [ids[:, start : start + length] for start, length in enumerate(lengths, start=1)]
