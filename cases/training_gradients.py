"""Each trainable number gets the gradient that the definition gives it, and what is frozen stays as it is.

huggingface/peft#2168 (CPT's masked gradients), #2953 (cartridges' frozen tokens), #3128 (how a prefix begins). The
gradients are compared with autograd's through the reference by hand, with one text and with three in a batch.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import peft
import torch

from harness.kit import (
    ByHand,
    Stored,
    Trial,
    Variants,
    adapted,
    adapter_of,
    bare_model,
    by_forward,
    expect_logits,
    far,
    fresh_base,
    hashed_uniform,
    in_file,
    in_memory,
    make_adapter_config,
    make_batch,
    near,
    task_inputs,
    wanted_by_forward,
)

DOCUMENT = None
UPSTREAM = (
    "https://github.com/huggingface/peft/pull/2168",
    "https://github.com/huggingface/peft/pull/2953",
    "https://github.com/huggingface/peft/pull/3128",
)
ORACLE = "by hand"
RING = "long"
METHODS = (
    "prompt_tuning",
    "prefix_tuning",
    "prefix_tuning_projection",
    "p_tuning",
    "p_tuning_lstm",
    "multitask_prompt_tuning",
    "cpt",
    "cartridge",
)
VARIANTS = (
    Variants(axes={"model": ("llama", "gpt2", "bloom"), "method": METHODS, "aspect": ("one", "three", "frozen")}),
    Variants(
        axes={
            "model": ("t5", "bart"),
            "method": ("prompt_tuning", "prefix_tuning", "p_tuning"),
            "aspect": ("all_used",),
        },
    ),
    Variants(axes={"model": ("gpt2",), "method": METHODS, "aspect": ("fresh", "mode", "all_used", "saved")}),
    # Types of every kind: what may be trained of them differs.
    Variants(axes={"model": ("gpt2", "llama"), "method": ("cpt",), "aspect": ("types",)}),
)
TYPES = [0, 1, 2, 2, 3, 4, 5, 6, 6, 7, 8, 9, 10, 10, 11, 12, 13, 14, 15, 16]
"""CPT's: nothing, and four examples of a template, an input, a template of the answer, and the answer."""

SHARE = 1e-3
"""How far a gradient may be from the reference's, as a share of the largest of its tensor, in float32."""

SPREAD = {
    "prompt_tuning": "embedding.weight",
    "prefix_tuning": "embedding.weight",
    "prefix_tuning_projection": "embedding.weight",
    "p_tuning": "embedding.weight",
    "p_tuning_lstm": "embedding.weight",
    "cartridge": "trainable_embedding",
}
"""Tables that begin as torch's embeddings do: normal numbers of mean 0 and standard deviation 1."""


def check(trial: Trial) -> None:
    """Compare gradients with those of the reference by hand; look at what is frozen, fresh and loaded (by hand)."""
    match trial.aspect:
        case "one" | "three" | "types" | "saved":
            _gradients(trial)
        case "frozen":
            _frozen(trial)
        case "all_used":
            _all_used(trial)
        case "fresh":
            _fresh(trial)
        case "mode":
            _mode(trial)


def _trainable(model: Any) -> dict[str, torch.nn.Parameter]:
    """Name the trainable parameters as the stored tensors are named."""
    start = "prompt_encoder.default."
    return {
        name.removeprefix(start): parameter
        for name, parameter in model.named_parameters()
        if parameter.requires_grad and name.startswith(start)
    }


def _weighed(logits: torch.Tensor) -> torch.Tensor:
    """Make one number of a text's logits, in which each of them counts differently."""
    return (logits.float() * hashed_uniform(logits.shape, seed=3).to(logits.device)).mean()


def _learn(trial: Trial, model: Any, layout: str) -> None:
    """Compute gradients through PEFT."""
    batch = make_batch(layout, device=trial.torch_device())
    inputs: dict[str, Any] = task_inputs(trial.method, batch)
    if trial.model in {"t5", "bart"}:
        inputs["decoder_input_ids"] = batch.ids
    logits = model(input_ids=batch.ids, attention_mask=batch.mask, **inputs).logits[:, -batch.ids.shape[1] :]
    total = torch.stack([_weighed(row[place]) for row, place in zip(logits, batch.places, strict=True)]).sum()
    # Otherwise backward raises: what gets no gradient at all is a wrong answer, and no accident.
    trial.expect(total.requires_grad, "no gradient reaches the adapter")
    model.zero_grad()
    total.backward()


def _gradients(trial: Trial) -> None:
    layout = "right" if trial.aspect == "three" else "alone"
    options: dict[str, Any] = {"cpt_tokens_type_mask": TYPES} if trial.aspect == "types" else {}
    model = adapted(trial, **options)
    stored = in_memory(model, trial.method)
    if trial.aspect == "saved":
        _save_between(trial, model, stored)
    _learn(trial, model, layout)
    # By hand, with the same numbers, and what is trained among them by name.
    names = _trainable(model).keys()
    leaves = {name: tensor.clone().requires_grad_(name in names) for name, tensor in stored.tensors.items()}
    by_hand = ByHand(bare_model(trial.model, trial.torch_device()), trial.model, replace(stored, tensors=leaves))
    batch = make_batch(layout, device=trial.torch_device())
    rows = zip(batch.rows, batch.tasks, strict=True)
    torch.stack([_weighed(by_hand.differentiable(row, task=int(task))) for row, task in rows]).sum().backward()
    trial.expect(bool(names), "nothing is trainable")
    # All of them before the first verdict: one that is known to be amiss hides no other.
    problems = []
    for name, parameter in _trainable(model).items():
        wanted = leaves[name].grad
        if trial.method == "cpt":
            wanted = wanted * _may_change(stored.facts).to(wanted.device)
        if parameter.grad is None:
            problems.append(f"{name} has no gradient")
        elif not near(trial, name, far(parameter.grad, wanted) / max(float(wanted.abs().max()), 1e-12), SHARE):
            problems.append(f"the gradient of {name} is not the definition's")
    trial.expect(not problems, "; ".join(problems))


def _save_between(trial: Trial, model: Any, stored: Stored) -> None:
    """Save in the midst of training: the file has what is in memory, and training goes on as if nothing had been."""
    # Dropout is off in every config here, so that training and evaluation answer alike.
    model.train()
    model.save_pretrained(trial.scratch)
    model.eval()
    base, batch = bare_model(trial.model, trial.torch_device()), make_batch("alone", device=trial.torch_device())
    in_training = ByHand(base, trial.model, stored)
    saved = ByHand(base, trial.model, in_file(trial.scratch, trial.method))
    wanted = wanted_by_forward(in_training, trial.model, batch)
    expect_logits(trial, "the file", wanted_by_forward(saved, trial.model, batch), wanted)
    trial.expect(model.peft_config["default"].inference_mode is False, "after saving the adapter is no longer trained")
    found = by_forward(model, trial.model, batch, **task_inputs(trial.method, batch))
    expect_logits(trial, "after saving", found, wanted)


def _may_change(facts: Any) -> torch.Tensor:
    """Say which of CPT's tokens are trained, ``(tokens, 1)``: not those of an answer, whose type is a multiple of 4."""
    return (torch.tensor(facts["cpt_tokens_type_mask"]) % 4 != 0).float()[:, None]


def _frozen(trial: Trial) -> None:
    """Train three steps: what is trainable changes, and nothing else does, bit for bit."""
    model = adapted(trial)
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    learnt = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.SGD(learnt, lr=0.1)
    model.train()
    for _ in range(3):
        _learn(trial, model, "right")
        optimizer.step()
    changed = {name for name, parameter in model.named_parameters() if not torch.equal(parameter, before[name])}
    own = {f"prompt_encoder.default.{name}" for name in _trainable(model)}
    trial.evidence.update(changed=sorted(changed - own), stayed=sorted(own - changed))
    trial.expect(not changed - own, "training changes what is frozen")
    trial.expect(not any(".frozen_" in name for name in own), "what is called frozen is trained")
    trial.expect(not own - changed, "training does not change what is trainable")


def _all_used(trial: Trial) -> None:
    """No trainable number is without an effect: every row and part of each tensor has a gradient."""
    model = adapted(trial)
    _learn(trial, model, "right")
    dead = {}
    for name, parameter in _trainable(model).items():
        if parameter.grad is None:
            dead[name] = 1.0
            continue
        if trial.method in {"cpt", "p_tuning", "p_tuning_lstm", "prefix_tuning_projection", "multitask_prompt_tuning"}:
            # Units that a ReLU closes, tasks that no row has and CPT's answers may be without.
            share = float((parameter.grad == 0).all())
        else:
            share = float((parameter.grad == 0).float().mean())
        if share > 0:
            dead[name] = share
    trial.evidence["without_effect"] = dead
    trial.expect(not dead, "trained numbers have no effect on the answer")


def _fresh(trial: Trial) -> None:
    """A fresh adapter is drawn: as spread as its class says, the same for a seed, another for another, and no zeros."""

    def drawn(seed: int) -> dict[str, torch.Tensor]:
        torch.manual_seed(seed)
        model = peft.get_peft_model(fresh_base(trial), make_adapter_config(**adapter_of(trial), method=trial.method))
        return {name: parameter.detach() for name, parameter in _trainable(model).items()}

    first, again, other = drawn(1), drawn(1), drawn(2)
    for name, tensor in first.items():
        trial.evidence[name] = {"mean": float(tensor.mean()), "std": float(tensor.std()) if tensor.numel() > 1 else 0.0}
        trial.expect(torch.equal(tensor, again[name]), f"{name} is not the same for the same seed")
        if trial.method == "cpt":
            # What CPT learns is a change of tokens, and begins at nothing; the tokens are those of its text.
            trial.expect(name != "delta_embedding.weight" or not tensor.any(), "CPT's change does not begin at nothing")
            continue
        trial.expect(bool(tensor.any()), f"{name} begins as zeros")
        trial.expect(not torch.equal(tensor, other[name]), f"{name} is the same for another seed")
    if trial.method in SPREAD:
        name = SPREAD[trial.method]
        trial.expect(abs(float(first[name].std()) - 1) < 0.1, f"{name} is not spread as its class says")


def _mode(trial: Trial) -> None:
    """What is loaded to be used is in evaluation mode, down to the last module, whatever the base was in."""
    adapted(trial).save_pretrained(trial.scratch)
    loaded = peft.PeftModel.from_pretrained(fresh_base(trial).train(), str(trial.scratch))
    training = [name for name, module in loaded.named_modules() if module.training]
    trial.evidence["from_pretrained"] = training[:8]
    trial.expect(not training, "after from_pretrained something is in training mode")
    loaded.train()
    loaded.load_adapter(str(trial.scratch), "again")
    training = [name for name, module in loaded.named_modules() if module.training]
    trial.evidence["load_adapter"] = training[:8]
    trial.expect(not training, "after load_adapter something is in training mode")
