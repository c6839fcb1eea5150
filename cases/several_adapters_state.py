"""Among two adapters each is saved, loaded, switched to and asked as if alone, and the base model stays what it was.

huggingface/peft#1501, #3555, #3572, #3638 and #3639: state that one call leaves to the next. The two prompts are of 20
and of 6 virtual tokens. The reference is by hand, from the numbers that each adapter had when it was made.
"""

from __future__ import annotations

import gc
from typing import Any

import peft
import torch

from harness.kit import (
    Bare,
    ByHand,
    Gap,
    Stored,
    Trial,
    Variants,
    adapted,
    adapter_of,
    bare_model,
    batch_of,
    by_forward,
    by_generate,
    encode,
    expect_logits,
    fill,
    fresh_base,
    in_file,
    in_memory,
    make_adapter_config,
    make_batch,
    readings,
    task_inputs,
    wanted_by_forward,
    wanted_by_generate,
)

DOCUMENT = None
UPSTREAM = (
    "https://github.com/huggingface/peft/issues/1501",
    "https://github.com/huggingface/peft/pull/3572",
    "https://github.com/huggingface/peft/pull/3638",
)
ORACLE = "by hand"
RING = "long"
METHODS = ("prompt_tuning", "prefix_tuning", "p_tuning", "multitask_prompt_tuning", "cartridge", "lora")
VARIANTS = (
    Variants(
        axes={
            "model": ("gpt2", "bloom"),
            "method": METHODS,
            "aspect": ("saved", "switched", "deleted", "disabled"),
        },
    ),
    Variants(
        axes={
            "model": ("gpt2", "bloom"),
            "method": ("prompt_tuning", "prefix_tuning", "p_tuning", "multitask_prompt_tuning", "cartridge"),
            "aspect": ("base_after", "base_after_delete"),
        },
    ),
    Variants(axes={"model": ("gpt2",), "method": METHODS, "aspect": ("alive",)}),
    # Several of LoRA may be active at a time, and which is after a delete has changed with its releases.
    Variants(
        axes={
            "model": ("gpt2",),
            "method": ("prompt_tuning", "prefix_tuning", "p_tuning", "multitask_prompt_tuning", "cartridge"),
            "aspect": ("deleted_of_three",),
        },
    ),
    Variants(
        axes={
            "model": ("gpt2", "t5"),
            "method": ("prompt_tuning", "prefix_tuning", "p_tuning"),
            "aspect": ("base_after_failure", "refused"),
        },
    ),
    Variants(
        axes={"model": ("t5",), "method": ("prompt_tuning", "prefix_tuning", "p_tuning"), "aspect": ("base_after",)},
    ),
)
ENABLED = "has_active_enabled_adapter"
"""What a model says of itself, where a release has it."""

OTHER_LENGTH = 6
CALLS = 20


def check(trial: Trial) -> None:
    """Compare with what each adapter's numbers give by hand, and the base model with itself before (by hand)."""
    match trial.aspect:
        case "saved":
            _saved(trial)
        case "switched":
            model = _two(trial)
            stored = {name: in_memory(model, trial.method, name) for name in ("default", "other")}
            for name in ("other", "default", "other"):
                model.set_adapter(name)
                _expect_generated(trial, model, stored[name], name)
        case "deleted":
            _deleted(trial)
        case "disabled":
            _disabled(trial)
        case "deleted_of_three":
            _deleted_of_three(trial)
        case "base_after" | "base_after_delete":
            _base_after(trial)
        case "base_after_failure":
            _base_after_failure(trial)
        case "refused":
            _refused(trial)
        case "alive":
            _alive(trial)


def _two(trial: Trial) -> Any:
    """Make a model with the adapters ``default``, of 20 virtual tokens, and ``other``, of 6."""
    model = adapted(trial)
    before = {name for name, _ in model.named_parameters()}
    model.add_adapter("other", make_adapter_config(trial.method, **adapter_of(trial, virtual_tokens=OTHER_LENGTH)))
    gone = before - {name for name, _ in model.named_parameters()}
    trial.expect(not gone, "an adapter that is added takes the place of another")
    std = 0.3 if trial.method == "lora" else 0.8
    fill(model, seed=11, std=std, only=lambda name: ".other." in name and (".lora_" in name or "prompt" in name))
    return model.eval()


def _batch(trial: Trial) -> Any:
    """Make three texts: of one length, or padded on the left for Bloom, which counts positions from the mask."""
    if trial.model in {"bloom", "t5"}:
        layout = "left" if trial.model == "bloom" else "right"
        return make_batch(layout, device=trial.torch_device())
    texts = ("3+4=7</s> 1+1=", "8+8=16</s>2+0=", "9+0=9</s> 6+2=")
    return batch_of([encode(text, device=trial.torch_device())[:, -13:] for text in texts])


def _expect_forward(trial: Trial, model: Any, stored: Stored | None, what: str) -> None:
    """Hold forward against one adapter's numbers, or against the base model where there are none."""
    base, batch = bare_model(trial.model, trial.torch_device()), make_batch("right", device=trial.torch_device())
    by_hand = Bare(base, trial.model) if stored is None else ByHand(base, trial.model, stored)
    inputs = task_inputs(trial.method, batch) if stored is not None else {}
    found = by_forward(model, trial.model, batch, **inputs)

    def wanted(one: ByHand, gap: Gap = Gap.NONE) -> list[torch.Tensor]:
        return wanted_by_forward(one, trial.model, batch, gap=gap)

    other = {}
    if stored is not None:
        other = readings(trial, stored, batch, wanted, base=base)
    expect_logits(trial, what, found, wanted(by_hand), other)


def _expect_generated(trial: Trial, model: Any, stored: Stored | None, what: str) -> None:
    """Hold the scores of ``generate`` against one adapter's numbers, or against the base model."""
    base, batch = bare_model(trial.model, trial.torch_device()), _batch(trial)
    by_hand = Bare(base, trial.model) if stored is None else ByHand(base, trial.model, stored)
    inputs = task_inputs(trial.method, batch) if stored is not None else {}
    said = by_generate(model, batch, **inputs)

    def wanted(one: ByHand, gap: Gap = Gap.NONE) -> list[torch.Tensor]:
        return wanted_by_generate(one, trial.model, batch, said.tokens, gap=gap)

    other = {}
    if stored is not None:
        other = readings(trial, stored, batch, wanted, base=base)
    expect_logits(trial, what, said.scores, wanted(by_hand), other)


def _saved(trial: Trial) -> None:
    """Save both from one model, and load each on a base of its own."""
    model = _two(trial)
    stored = {name: in_memory(model, trial.method, name) for name in ("default", "other")}
    model.save_pretrained(trial.scratch)
    for name, folder in (("default", trial.scratch), ("other", trial.scratch / "other")):
        loaded = peft.PeftModel.from_pretrained(fresh_base(trial), str(folder)).eval()
        _expect_forward(trial, loaded, in_file(folder, trial.method), f"{name}, loaded, against its file")
        _expect_forward(trial, loaded, stored[name], f"{name}, loaded, against the memory")


def _deleted(trial: Trial) -> None:
    """Delete the adapter that is not asked, and then the other way round."""
    for gone, left in (("other", "default"), ("default", "other")):
        model = _two(trial)
        stored = in_memory(model, trial.method, left)
        model.set_adapter(left)
        model.delete_adapter(gone)
        there = [name for name in ("prompt_encoder", "prompt_tokens") if gone in (getattr(model, name, None) or {})]
        trial.expect(not there, "what was deleted is still there")
        _expect_forward(trial, model, stored, f"{left} after {gone} was deleted")
        _expect_generated(trial, model, stored, f"generate with {left} after {gone} was deleted")


def _deleted_of_three(trial: Trial) -> None:
    """Delete the active one of three: what is active then answers by its own numbers, and so does the other."""
    model = _two(trial)
    model.add_adapter("third", make_adapter_config(trial.method, **adapter_of(trial, virtual_tokens=OTHER_LENGTH)))
    fill(model, seed=13, std=0.8, only=lambda name: ".third." in name)
    model.eval()
    stored = {name: in_memory(model, trial.method, name) for name in ("default", "third")}
    model.set_adapter("other")
    model.delete_adapter("other")
    trial.evidence["active"] = model.active_adapter
    # The first of those that are left, as PEFT says when it deletes one.
    trial.expect(model.active_adapter == "default", "after a delete another adapter is active than the first one left")
    _expect_generated(trial, model, stored["default"], "default after other was deleted")
    model.set_adapter("third")
    _expect_forward(trial, model, stored["third"], "third after other was deleted")


def _disabled(trial: Trial) -> None:
    """Inside one disabling context, and in a second in it, the base model answers; behind them the adapter."""
    model = _two(trial)
    stored = in_memory(model, trial.method)
    with model.disable_adapter():
        trial.expect(not getattr(model, ENABLED, False), "a model in a disabling context says that it is enabled")
        _expect_forward(trial, model, None, "disabled")
        with model.disable_adapter():
            _expect_generated(trial, model, None, "generate, disabled twice")
        _expect_forward(trial, model, None, "disabled still")
        _expect_generated(trial, model, None, "generate, disabled still")
    trial.expect(getattr(model, ENABLED, True), "behind a disabling context a model says that it is disabled")
    _expect_forward(trial, model, stored, "enabled again")
    _expect_generated(trial, model, stored, "generate, enabled again")


def _refused(trial: Trial) -> None:
    """An adapter that cannot be made leaves nothing behind: the name is free, and the model answers as before."""
    model = adapted(trial)
    stored = in_memory(model, trial.method)
    impossible = make_adapter_config(trial.method, **adapter_of(trial, virtual_tokens=-1))
    try:
        model.add_adapter("other", impossible)
    except RuntimeError as error:
        trial.evidence["refusal"] = str(error)
    else:
        trial.expect(False, "a prompt of -1 virtual tokens is not refused")  # noqa: FBT003
    _expect_forward(trial, model, stored, "after a refusal")
    trial.expect("other" not in model.peft_config, "an adapter that was refused is among the model's")
    model.add_adapter("other", make_adapter_config(trial.method, **adapter_of(trial, virtual_tokens=OTHER_LENGTH)))
    fill(model, seed=11, std=0.8, only=lambda name: ".other." in name and "prompt" in name)
    model.set_adapter("other")
    _expect_forward(trial, model, in_memory(model, trial.method, "other"), "added after a refusal")


def _base_after(trial: Trial) -> None:
    """Look at the base model behind each call: its modules' outputs, hooks and replaced methods, and its weights."""
    model = _two(trial)
    base, batch = model.get_base_model(), _batch(trial)
    inputs = task_inputs(trial.method, batch)
    before = _state(base, batch)

    def untouched(what: str) -> None:
        after = _state(base, batch)
        trial.evidence[what] = [name for name in before | after if before.get(name) != after.get(name)]
        trial.expect(not trial.evidence[what], f"{what}: the base model is no longer what it was")

    if trial.aspect == "base_after_delete":
        model.set_adapter("other")
        model.delete_adapter("default")
        untouched("after delete")
        return
    by_forward(model, trial.model, batch, **inputs)
    untouched("after forward")
    by_generate(model, batch, **inputs)
    untouched("after generate")
    with model.disable_adapter():
        by_generate(model, batch)
    untouched("after a disabling context")
    model.set_adapter("other")
    by_generate(model, batch, **inputs)
    untouched("after generate with the other")


def _base_after_failure(trial: Trial) -> None:
    """Look at the base model behind a ``generate`` that raised on its way."""
    model = adapted(trial)
    base, batch = model.get_base_model(), _batch(trial)
    before = _state(base, batch)

    def refuse(_ids: torch.Tensor, _scores: torch.Tensor) -> torch.Tensor:
        message = "the caller's own"
        raise ZeroDivisionError(message)

    try:
        by_generate(model, batch, logits_processor=[refuse], **task_inputs(trial.method, batch))
    except ZeroDivisionError:
        after = _state(base, batch)
        trial.evidence["changed"] = [name for name in before | after if before.get(name) != after.get(name)]
        trial.expect(not trial.evidence["changed"], "after a generate that raised the base model is another")
    else:
        trial.expect(False, "generate does not ask the caller's processor of logits")  # noqa: FBT003


def _state(base: Any, batch: Any) -> dict[str, Any]:
    """Describe a model: sums of its modules' outputs, bit for bit, its hooks, replaced methods and weights."""
    found: dict[str, Any] = {}

    def note(name: str) -> Any:
        def hook(_module: Any, _inputs: Any, output: Any) -> None:
            first = output[0] if isinstance(output, tuple) else output
            if isinstance(first, torch.Tensor):
                found[f"output of {name}"] = float(first.double().sum())

        return hook

    for name, module in base.named_modules():
        hooks = [*module._forward_hooks.values(), *module._forward_pre_hooks.values()]  # noqa: SLF001 - no public way
        found[f"hooks of {name}"] = len(hooks)
        own = {key: value for key, value in vars(module).items() if callable(value) and key in dir(type(module))}
        # A bound method of the class itself is as good as none of its own.
        found[f"methods of {name}"] = sorted(
            key for key, value in own.items() if getattr(value, "__func__", value) is not getattr(type(module), key)
        )
    handles = [module.register_forward_hook(note(name)) for name, module in base.named_modules()]
    more = {"decoder_input_ids": batch.ids} if base.config.is_encoder_decoder else {}
    with torch.no_grad():
        found["logits"] = float(base(input_ids=batch.ids, attention_mask=batch.mask, **more).logits.double().sum())
    for handle in handles:
        handle.remove()
    for name, parameter in base.named_parameters():
        found[f"weight {name}"] = float(parameter.double().sum())
    return found


def _alive(trial: Trial) -> None:
    """Count the tensors that live behind many calls: as many as behind a few."""
    model, batch = _two(trial), _batch(trial)
    inputs = task_inputs(trial.method, batch)

    def calls(count: int) -> int:
        for _ in range(count):
            by_forward(model, trial.model, batch, **inputs)
            by_generate(model, batch, new_tokens=2, **inputs)
        gc.collect()
        return sum(isinstance(one, torch.Tensor) for one in gc.get_objects())

    few = calls(2)
    many = calls(CALLS)
    trial.evidence.update(few=few, many=many)
    trial.expect(many <= few, "tensors stay alive behind a call")
