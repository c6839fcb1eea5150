"""In any configuration a prompt answers what its stored numbers give by hand: pairs of settings, not one default.

huggingface/peft#1093, #2256 and #2260 are of two settings each: padding with ``generate``, loading with training. The
rows of ``plans/configurations.json`` have every pair of settings that may stand together; each row is one variant.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import peft
import torch

from harness.kit import (
    LORA,
    Batch,
    ByHand,
    Gap,
    Stored,
    Trial,
    Variants,
    adapter_of,
    attach,
    bare_model,
    batch_of,
    by_generate,
    encode,
    expect_logits,
    fill,
    in_file,
    in_memory,
    make_adapter_config,
    make_model,
    readings,
    task_inputs,
    wanted_by_forward,
    wanted_by_generate,
)

if TYPE_CHECKING:
    from collections.abc import Callable

DOCUMENT = None
UPSTREAM = (
    "https://github.com/huggingface/peft/issues/1093",
    "https://github.com/huggingface/peft/issues/2256",
)
ORACLE = "by hand"
RING = "long"
ROWS = (
    "00",
    "01",
    "02",
    "03",
    "04",
    "05",
    "06",
    "07",
    "08",
    "09",
    "10",
    "11",
    "12",
    "13",
    "14",
    "15",
    "16",
)
VARIANTS = (
    Variants(
        axes={
            "model": ("llama", "gpt2", "bloom"),
            "method": ("prompt_tuning", "prefix_tuning", "p_tuning", "multitask_prompt_tuning", "cpt", "cartridge"),
            "row": ROWS,
        },
    ),
    # These differ in how a prompt comes about; LoRA is the control.
    Variants(axes={"model": ("gpt2",), "method": ("prefix_tuning_projection", "p_tuning_lstm", "lora"), "row": ROWS}),
)
PLAN = Path(__file__).parent / "plans" / "configurations.json"
TEXTS = {
    "one": ("8+8=16</s>9+0=9</s> 1+1=",),
    "equal": ("3+4=7</s> 1+1=", "8+8=16</s>2+0=", "9+0=9</s> 6+2="),
    "unequal": ("3+4=7</s>2+2=4</s> 1+1=", "8+8=", "9+0=9</s>6+2="),
}
LENGTH, OTHER_LENGTH = 20, 6
DROPOUT = {
    "llama": ("attention_dropout",),
    "gpt2": ("resid_pdrop", "embd_pdrop", "attn_pdrop"),
    "bloom": ("hidden_dropout", "attention_dropout"),
}
ADAPTER_DROPOUT = {"lora": "lora_dropout", "p_tuning_lstm": "encoder_dropout", "p_tuning": "encoder_dropout"}


def check(trial: Trial) -> None:
    """Compare each text's logits with those that the numbers in memory, or in the file, give by hand (by hand)."""
    row = json.loads(PLAN.read_text(encoding="utf-8"))["rows"][int(trial.row)]
    trial.evidence["row"] = row
    dtype = getattr(torch, row["dtype"])
    model, stored = _model(trial, row)
    if row["adapters"] == "two":
        _add_another(trial, model)
    if row["before"] == "train":
        model.train()
    model.eval()
    batch = _batch(trial, row)
    base = bare_model(trial.model, trial.torch_device(), dtype)
    by_hand = ByHand(base, trial.model, stored)
    for time in range(2 if row["asked"] == "generate_twice" else 1):
        found, wanted = _ask(trial, row, model, batch)
        other = readings(trial, stored, batch, wanted, base=base)
        expect_logits(trial, f"{row['asked']} {time}", found, wanted(by_hand), other, dtype=row["dtype"])


def _base(trial: Trial, row: dict[str, str]) -> Any:
    """Make the base model, with the row's dropout and dtype."""
    dropout: dict[str, Any] = dict.fromkeys(DROPOUT[trial.model], float(row["dropout"]))
    dtype = getattr(torch, row["dtype"])
    return make_model(trial.model, device=trial.torch_device(), dtype=dtype, trained=False, **dropout)


def _model(trial: Trial, row: dict[str, str]) -> tuple[Any, Stored]:
    """Make the adapted model as the row says, and read its numbers from where they are then."""
    options = adapter_of(trial, virtual_tokens=LENGTH)
    if float(row["dropout"]) and trial.method in ADAPTER_DROPOUT:
        options[ADAPTER_DROPOUT[trial.method]] = float(row["dropout"])
    made = attach(_base(trial, row), trial.method, **options)
    if row["source"] == "memory":
        return made, in_memory(made, trial.method)
    folder = str(trial.scratch)
    made.save_pretrained(folder)
    if row["source"] == "in_place":
        # As Trainer does at the end of a training: into the adapter that was being trained.
        model = attach(_base(trial, row), trial.method, seed=5, **options)
        model.load_adapter(folder, model.active_adapter, is_trainable=True)
        return model, in_file(trial.scratch, trial.method)
    model = peft.PeftModel.from_pretrained(_base(trial, row), folder)
    if row["source"] == "load_adapter":
        model.load_adapter(folder, "again")
        model.set_adapter("again")
    return model, in_file(trial.scratch, trial.method)


def _add_another(trial: Trial, model: Any) -> None:
    """Add an adapter of another length, switch to it, and back again."""
    before = model.active_adapter
    options = adapter_of(trial, virtual_tokens=OTHER_LENGTH)
    model.add_adapter("other", make_adapter_config(trial.method, **options))
    fill(model, seed=11, std=0.8, only=lambda name: ".other." in name)
    model.set_adapter("other")
    model.set_adapter(before)


def _batch(trial: Trial, row: dict[str, str]) -> Batch:
    """Make the row's texts; where it pads, the longest has two places of padding as well."""
    texts = [encode(text, device=trial.torch_device()) for text in TEXTS[row["texts"]]]
    return batch_of(texts, left=row["padding"] == "left", more=0 if row["padding"] == "none" else 2)


def _ask(
    trial: Trial, row: dict[str, str], model: Any, batch: Batch
) -> tuple[list[torch.Tensor], Callable[..., list[torch.Tensor]]]:
    """Ask PEFT as the row says; give the logits of each text, and how to work them out by hand."""
    inputs = task_inputs(trial.method, batch)
    if row["types"] == "given" and trial.model == "gpt2" and trial.method != LORA:
        # GPT-2 alone of the three takes them. PEFT says that it does not support them, and ignores them.
        inputs["token_type_ids"] = torch.ones_like(batch.ids)
    if row["mask"] == "given":
        inputs["attention_mask"] = batch.mask
    if row["asked"] != "forward":
        said = by_generate(model, batch, **{"attention_mask": None, **inputs})
        return said.scores, lambda by_hand, gap=Gap.NONE: wanted_by_generate(
            by_hand, trial.model, batch, said.tokens, gap=gap
        )
    # A left-padded text of GPT-2's has to bring its positions; where the row gives none, it is asked as users ask.
    if row["positions"] == "given" and trial.model != "bloom":
        inputs["position_ids"] = batch.positions()
    with torch.no_grad():
        found = model(input_ids=batch.ids, **inputs).logits.float()[:, -batch.ids.shape[1] :]
    rows = [one[place] for one, place in zip(found, batch.places, strict=True)]
    return rows, lambda by_hand, gap=Gap.NONE: wanted_by_forward(by_hand, trial.model, batch, gap=gap)
