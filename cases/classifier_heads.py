"""Each adapter of a classifier answers with its own prompt and its own head: switched to, saved, deleted, trained.

huggingface/peft#2220 and #2646 (heads beside a prompt), #3638 (deleting). The classifiers of decoders take the state of
the last token: their reference is the language model with the adapter's head in the place of its own.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import peft
import torch
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, linear, mse_loss

from harness.kit import (
    Batch,
    ByHand,
    Stored,
    Trial,
    Variants,
    adapter_of,
    attach,
    batch_of,
    encode,
    expect_logits,
    fill,
    in_memory,
    make_adapter_config,
    make_model,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    Head = Mapping[str, torch.Tensor]
    """A linear layer's numbers by name."""

DOCUMENT = None
UPSTREAM = (
    "https://github.com/huggingface/peft/pull/2220",
    "https://github.com/huggingface/peft/pull/2646",
    "https://github.com/huggingface/peft/pull/3638",
)
ORACLE = "by hand"
RING = "references"
METHODS = ("prompt_tuning", "prefix_tuning", "p_tuning", "lora")
VARIANTS = (
    Variants(
        axes={
            "model": ("bert", "gpt2"),
            "method": METHODS,
            "aspect": ("switched", "saved", "deleted", "deleted_of_three"),
        },
    ),
    Variants(
        axes={
            "model": ("bert", "gpt2", "llama"),
            "method": METHODS,
            "aspect": ("embedded", "classes", "two_classes", "regression", "several_labels"),
        },
    ),
)
TEXTS = ("3+4=7</s> 1+1=", "8+8=16</s>2+0=", "9+0=9</s> 6+2=")
CLASSES = {
    "bert": "BertForSequenceClassification",
    "gpt2": "GPT2ForSequenceClassification",
    "llama": "LlamaForSequenceClassification",
}
HEADS = ("score", "classifier")
LENGTH, OTHER_LENGTH = 20, 6
LABELS = {"regression": 1, "two_classes": 2}
"""How many outputs a head has, where it is not three."""

TOLERANCE = 2e-4


def check(trial: Trial) -> None:
    """Compare each text's logits, or their loss, with what an adapter's numbers and its head give by hand (by hand)."""
    match trial.aspect:
        case "switched":
            _switched(trial)
        case "saved":
            _saved(trial)
        case "deleted":
            for gone, left in (("other", "default"), ("default", "other")):
                _deleted(trial, _two(trial), gone, left)
        case "deleted_of_three":
            model = _two(trial)
            _add(trial, model, "third", seed=13)
            _deleted(trial, model.eval(), "third", "other")
        case "embedded":
            model = _adapted(trial)
            stored, head = in_memory(model, trial.method), _head(trial, model, "default")
            words = _classifier(trial, head=1).get_input_embeddings()
            _expect(trial, model, stored, head, "embeddings", inputs_embeds=words(_batch(trial).ids).detach())
        case _:
            _loss(trial)


def _batch(trial: Trial) -> Batch:
    """Make three texts of one length."""
    return batch_of([encode(text, device=trial.torch_device())[:, -13:] for text in TEXTS])


def _classifier(trial: Trial, *, head: int) -> Any:
    """Make a tiny classifier; its head alone depends on ``head``."""
    count = LABELS.get(trial.aspect, 3)
    name = CLASSES[trial.model]
    model = make_model(trial.model, device=trial.torch_device(), trained=False, model_class=name, num_labels=count)
    fill(model, seed=head, std=0.5, only=lambda name: name.startswith(HEADS))
    return model


def _options(trial: Trial, *, virtual_tokens: int = LENGTH) -> dict[str, Any]:
    return {**adapter_of(trial, virtual_tokens=virtual_tokens), "task": "SEQ_CLS"}


def _adapted(trial: Trial) -> Any:
    """Wrap a classifier with a strong prompt and a head of its own."""
    model = attach(_classifier(trial, head=1), trial.method, strong=False, **_options(trial))
    _fill(trial, model, "default", seed=7)
    return model


def _fill(trial: Trial, model: Any, adapter: str, *, seed: int) -> None:
    """Write an adapter's numbers as training does: those of its prompt, and of its head."""
    std = 0.3 if trial.method == "lora" else 0.8
    prompt = ("prompt_encoder", "lora_")
    fill(model, seed=seed, std=std, only=lambda name: f".{adapter}." in name and any(one in name for one in prompt))
    fill(model, seed=seed, std=0.5, only=lambda name: f".modules_to_save.{adapter}." in name)


def _two(trial: Trial) -> Any:
    """Make a classifier with the adapters ``default``, of 20 virtual tokens, and ``other``, of 6."""
    model = _adapted(trial)
    _add(trial, model, "other", seed=11)
    return model.eval()


def _add(trial: Trial, model: Any, name: str, *, seed: int) -> None:
    model.add_adapter(name, make_adapter_config(trial.method, **_options(trial, virtual_tokens=OTHER_LENGTH)))
    _fill(trial, model, name, seed=seed)


def _deleted(trial: Trial, model: Any, gone: str, left: str) -> None:
    """Delete the adapter that is not in use, and, where there are two, the one that is: nothing of it stays."""
    stored, head = in_memory(model, trial.method, left), _head(trial, model, left)
    # LoRA keeps what it was in use of, and of two the one that is left is in use anyway.
    if gone != "default" or trial.method == "lora":
        model.set_adapter(left)
    model.delete_adapter(gone)
    _expect(trial, model, stored, head, f"{left} after {gone} was deleted")
    if trial.method != "lora":
        # LoRA's heads stayed in some releases, and this is about prompts.
        trial.evidence["left of it"] = [name for name, _ in model.named_parameters() if f".{gone}." in name]
        trial.expect(not trial.evidence["left of it"], "numbers of the deleted adapter are still there")


def _head(trial: Trial, model: Any, adapter: str) -> Head:
    """Read the head of an adapter by name."""
    found = {
        name.rpartition(".")[2]: one.detach().clone()
        for name, one in model.named_parameters()
        if f".modules_to_save.{adapter}." in name
    }
    trial.expect("weight" in found, "the adapter has no head of its own")
    return found


def _by_hand(trial: Trial, stored: Stored, head: Head) -> list[torch.Tensor]:
    """Classify each text alone, ``(outputs,)``."""
    rows = _batch(trial).rows
    if trial.model == "bert":
        base = _classifier(trial, head=1)
        return [_of_encoder(trial, base, stored, row, head) for row in rows]
    base = make_model(trial.model, device=trial.torch_device(), trained=False)
    base.lm_head = torch.nn.Linear(base.lm_head.in_features, len(head["weight"]), bias=False)
    base.lm_head.weight.data = head["weight"]
    by_hand = ByHand(base, trial.model, stored)
    return [by_hand.logits(row)[-1] for row in rows]


def _of_encoder(trial: Trial, base: Any, stored: Stored, row: torch.Tensor, head: Head) -> torch.Tensor:
    """Classify one text by the state of the first token: a virtual one, where the prompt stands before the text."""
    with torch.no_grad():
        if trial.method in {"prompt_tuning", "p_tuning"}:
            virtual = ByHand(base.bert, trial.model, stored).virtual()
            both = torch.cat([virtual, base.get_input_embeddings()(row)[0]])[None]
            pooled = base.bert(inputs_embeds=both).pooler_output
        else:
            own = {name.replace("model.bert.", "model."): one for name, one in stored.tensors.items()}
            states = ByHand(base.bert, trial.model, replace(stored, tensors=own)).logits(row)
            pooled = base.bert.pooler(states[None])
        return linear(pooled, head["weight"], head["bias"])[0].float()


def _expect(trial: Trial, model: Any, stored: Stored, head: Head, what: str, **inputs: Any) -> None:
    """Hold a model's logits against an adapter's numbers and its head."""
    batch = _batch(trial)
    inputs = inputs or {"input_ids": batch.ids}
    with torch.no_grad():
        found = model(attention_mask=batch.mask, **inputs).logits.float()
    expect_logits(trial, what, list(found), _by_hand(trial, stored, head))


def _switched(trial: Trial) -> None:
    """Switch to and fro: the adapter in use answers, and its head alone is trained."""
    model = _two(trial)
    names = ("default", "other")
    stored = {name: (in_memory(model, trial.method, name), _head(trial, model, name)) for name in names}
    for name in ("other", "default", "other"):
        model.set_adapter(name)
        _expect(trial, model, *stored[name], name)
        trained = {
            owner
            for owner in names
            for path, one in model.named_parameters()
            if one.requires_grad and f".modules_to_save.{owner}." in path
        }
        trial.evidence[f"trained with {name}"] = sorted(trained)
        trial.expect(trained == {name}, "another head is trained than that of the adapter in use")


def _saved(trial: Trial) -> None:
    """Save both from one model, and load each on a base with another head, alone and beside the other."""
    model = _two(trial)
    names = {"default": trial.scratch, "other": trial.scratch / "other"}
    stored = {name: (in_memory(model, trial.method, name), _head(trial, model, name)) for name in names}
    model.save_pretrained(trial.scratch)
    for name, folder in names.items():
        loaded = peft.PeftModel.from_pretrained(_classifier(trial, head=2), str(folder)).eval()
        _expect(trial, loaded, *stored[name], f"{name}, loaded")
    loaded.load_adapter(str(names["default"]), "first")
    loaded.set_adapter("first")
    _expect(trial, loaded, *stored["default"], "default, loaded beside other")
    loaded.set_adapter("default")
    _expect(trial, loaded, *stored["other"], "other, with default loaded beside it")


def _loss(trial: Trial) -> None:
    """Compare the loss with that of the logits by hand: of one class each, of a number, of several labels at a time."""
    model = _adapted(trial)
    batch = _batch(trial)
    logits = torch.stack(_by_hand(trial, in_memory(model, trial.method), _head(trial, model, "default")))
    labels: torch.Tensor
    match trial.aspect:
        case "classes" | "two_classes":
            labels = torch.tensor([2, 0, 1], device=batch.ids.device) % logits.shape[1]
            wanted = cross_entropy(logits, labels)
        case "regression":
            labels = torch.tensor([0.5, -2.0, 1.0], device=batch.ids.device)
            wanted = mse_loss(logits[:, 0], labels)
        case _:
            labels = torch.tensor([[1.0, 0.0, 1.0], [0.0, 0.0, 1.0], [1.0, 1.0, 0.0]], device=batch.ids.device)
            wanted = binary_cross_entropy_with_logits(logits, labels)
    output = model(input_ids=batch.ids, attention_mask=batch.mask, labels=labels)
    expect_logits(trial, "logits", list(output.logits.detach().float()), list(logits))
    trial.expect(output.loss is not None, "there is no loss")
    trial.evidence.update(loss=float(output.loss), by_hand=float(wanted))
    apart = abs(float(output.loss) - float(wanted)) / max(1.0, float(wanted))
    trial.expect(apart < TOLERANCE, "the loss is not that of the logits")
