"""Rows that name adapters are answered each by its own, or the call is refused in words that name ``adapter_names``.

huggingface/peft#1558 gave LoRA batches with an adapter for each row, and #1711 the same in ``generate``. A prompt of
its own for each row would be as natural; who asks for it must not get the active adapter's answer for all rows. LoRA is
the control.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness.kit import (
    ByHand,
    Trial,
    Unsupported,
    Variants,
    add_adapter,
    apart,
    bare_model,
    batch_of,
    by_forward,
    by_generate,
    encode,
    expect_logits,
    far,
    in_memory,
    wanted_by_forward,
    wanted_by_generate,
    with_one_adapter,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch

DOCUMENT = None
UPSTREAM = ("https://github.com/huggingface/peft/pull/1558", "https://github.com/huggingface/peft/pull/1711")
ORACLE = "by hand"
VIRTUAL_TOKENS = 6
NAMES = ("first", "second")
ROWS = (
    ("first", "3+4=7</s>2+2=4</s> 1+1="),
    ("second", "3+4=7</s>2+2=4</s> 1+1="),
    ("second", "9+0=9</s>5+1=6</s> 8+8="),
    ("first", "9+0=9</s>5+1=6</s> 8+8="),
)
"""The adapter and the text of each row; all texts are of one length, so that nothing is padded."""

VARIANTS = (
    Variants(
        axes={
            "model": ("llama", "gpt2", "bloom", "opt"),
            "method": ("prompt_tuning", "prefix_tuning", "p_tuning", "lora"),
            "aspect": ("forward", "generate"),
        },
    ),
)


def check(trial: Trial) -> None:
    """Answer each row by hand with its adapter alone; a refusal is held to its words, and its reason is kept.

    Where the mixture is wrong, and one adapter for all rows is, too, it is not the mixture's doing.
    """
    device = trial.torch_device()
    model = with_one_adapter(trial, NAMES[0], VIRTUAL_TOKENS)
    add_adapter(trial, model, NAMES[1], VIRTUAL_TOKENS)
    model.set_adapter(NAMES[0])
    base, batch = bare_model(trial.model, device), batch_of([encode(text, device=device) for _, text in ROWS])
    by_hand = {name: ByHand(base, trial.model, in_memory(model, trial.method, name)) for name in NAMES}

    def ask(**inputs: Any) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """Return the tokens of each row, ``(rows, length)``, and the logits behind them."""
        if trial.aspect == "forward":
            return batch.ids, by_forward(model, trial.model, batch, **inputs)
        said = by_generate(model, batch, **inputs)
        return said.tokens, said.scores

    def wanted(names: Sequence[str], said: torch.Tensor) -> list[torch.Tensor]:
        """Answer each row by hand, with the adapter of this name."""
        found = []
        for name, row, tokens in zip(names, batch.rows, said, strict=True):
            if trial.aspect == "generate":
                found += wanted_by_generate(by_hand[name], trial.model, batch_of([row]), tokens[None])
            else:
                found += wanted_by_forward(by_hand[name], trial.model, batch_of([row]))
        return found

    names, active = [name for name, _ in ROWS], [NAMES[0]] * len(ROWS)
    try:
        said, scores = ask(adapter_names=names)
    except (TypeError, ValueError, NotImplementedError) as error:
        if "adapter_names" not in str(error):
            raise
        trial.evidence["refused"] = f"{type(error).__name__}: {error}"
        return
    right = wanted(names, said)
    trial.expect(far(right[0], right[1]) > 0.1, "the two adapters say the same")
    trial.evidence["mixed"] = apart(trial, scores, right)
    if trial.evidence["mixed"] <= 1.0:
        return
    said, alone = ask()
    trial.evidence["one for all rows"] = apart(trial, alone, wanted(active, said))
    if trial.evidence["one for all rows"] > 1.0:
        text = "one adapter for all rows is not answered as by hand either"
        raise Unsupported(text)
    expect_logits(trial, "mixed", scores, right, {"every row has the active adapter": lambda: wanted(active, said)})
