"""Each of two adapters on one model answers as it does alone, and a disabled adapter is the base model.

huggingface/peft#1501: ``generate`` after leaving ``disable_adapter``; peft #3555 and #3572 speak of one inside
another. The two adapters have different numbers of virtual tokens.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from harness.kit import (
    NEW_TOKENS,
    Trial,
    Variants,
    add_adapter,
    counted,
    expect_near,
    expect_same_tokens,
    far,
    greedy,
    greedy_by_generate,
    logits,
    make_base,
    question,
    same_tokens,
    with_one_adapter,
)

DOCUMENT = None
UPSTREAM = ("https://github.com/huggingface/peft/issues/1501", "https://github.com/huggingface/peft/pull/3572")
ORACLE = "alone"
LENGTHS = {"default": 20, "other": 6}
VARIANTS = (
    Variants(
        axes={
            "model": ("llama", "gpt2"),
            "method": ("prompt_tuning", "prefix_tuning", "p_tuning", "lora"),
            "aspect": ("switch", "disable", "disable_nested", "disable_generate", "disable_after_error"),
        },
    ),
)


def check(trial: Trial) -> None:
    """An adapter's numbers depend on its name alone: what it says alone is known before it is added."""
    ids, mask = question(trial)

    def said(model: Any) -> Any:
        return logits(model, length=ids.shape[1], input_ids=ids, attention_mask=mask)

    base = make_base(trial)
    bare, bare_tokens = said(base), greedy(base, ids, mask)
    wanted = {name: said(with_one_adapter(trial, name, length)) for name, length in LENGTHS.items()}
    trial.expect(far(wanted["default"], wanted["other"]) > 0.1, "the two adapters say the same")
    trial.expect(far(wanted["default"], bare) > 0.1, "the adapter says what the base says")
    model = with_one_adapter(trial, "default", LENGTHS["default"])
    match trial.aspect:
        case "switch":
            add_adapter(trial, model, "other", LENGTHS["other"])
            for name in ("default", "other", "default"):
                model.set_adapter(name)
                expect_near(trial, f"{name} among two against alone", said(model), wanted[name])
        case "disable":
            with model.disable_adapter():
                expect_near(trial, "disabled against the base", said(model), bare)
            expect_near(trial, "enabled again against alone", said(model), wanted["default"])
        case "disable_nested":
            with model.disable_adapter():
                with model.disable_adapter():
                    expect_near(trial, "disabled twice against the base", said(model), bare)
                expect_near(trial, "disabled still against the base", said(model), bare)
            expect_near(trial, "enabled again against alone", said(model), wanted["default"])
        case "disable_generate":
            _disable_generate(trial, model, bare_tokens)
        case "disable_after_error":
            with suppress(ZeroDivisionError), model.disable_adapter():
                _ = 1 // 0
            expect_near(trial, "enabled after an error against alone", said(model), wanted["default"])


def _disable_generate(trial: Trial, model: Any, bare_tokens: Any) -> None:
    """``generate`` says what the base says inside, and what the forward loop says afterwards."""
    ids, mask = question(trial)
    with model.disable_adapter():
        inside = greedy_by_generate(model, ids, mask, new_tokens=NEW_TOKENS)
    trial.expect(same_tokens(inside, bare_tokens), "generate with the adapter disabled is not the base's")
    with counted(trial, model):
        after = greedy_by_generate(model, ids, mask, new_tokens=NEW_TOKENS)
    expect_same_tokens(trial, after, greedy(model, ids, mask), bare_tokens)
