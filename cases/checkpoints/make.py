"""Make the tiny checkpoints: each language model learns to add single digits.

Run it in any cell (``python -m cases.checkpoints.make llama gpt2``); without names it makes all.
The committed files came from torch 2.13.0 and transformers 4.45.2 on CPU. A file is written in
float16, which halves its size; what is checked afterwards is the model as loaded from the file.

The text is packed sums, ``<s>1+1=2</s>3+4=7</s>``, at random offsets up to the longest position
that a case uses, so that a position beyond the first sum is not one the model never saw.
"""

from __future__ import annotations

import argparse
import random
from typing import TYPE_CHECKING, Any

import torch
import transformers
from safetensors.torch import save_file

from harness.kit import (
    EOS,
    FAMILIES,
    VOCABULARY,
    decode,
    encode,
    fill,
    image_inputs,
    make_model,
    make_model_config,
)
from harness.kit.models import CHECKPOINTS
from harness.kit.tokens import BOS

if TYPE_CHECKING:
    from pathlib import Path

ROW = 96
BATCH = 32


def packed_row(rng: random.Random) -> list[int]:
    """Make one training row of ``ROW`` ids, sums after sums."""
    row = [BOS]
    while len(row) < ROW:
        first, second = rng.randint(0, 9), rng.randint(0, 9)
        if rng.random() < 0.1:
            first = second = 1
        row += [VOCABULARY[character] for character in f"{first}+{second}={first + second}"]
        row.append(EOS)
    return row[:ROW]


def train(family: str, *, steps: int) -> Any:
    """Train one family's language model from scratch and return it in evaluation mode."""
    torch.manual_seed(0)
    rng = random.Random(0)  # noqa: S311 - data, not secrets
    model = getattr(transformers, FAMILIES[family].model)(make_model_config(family))
    optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=4e-3, total_steps=steps)
    model.train()
    for step in range(steps):
        ids = torch.tensor([packed_row(rng) for _ in range(BATCH)])
        loss = model(input_ids=ids, labels=ids, **image_inputs(family, ids)).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        if step % 200 == 0:
            print(f"{family}: step {step}, loss {loss.item():.3f}", flush=True)
    return model.eval()


def save(model: Any, path: Path) -> None:
    """Write a model's parameters in float16, tied weights once."""
    weights, seen = {}, set()
    for name, parameter in model.named_parameters():
        if parameter.data_ptr() not in seen:
            seen.add(parameter.data_ptr())
            weights[name] = parameter.detach().half().contiguous()
    save_file(weights, path)


def answer(family: str, model: Any, question: str) -> str:
    """Return a model's greedy answer to ``question``, without ``generate``."""
    ids = encode(question)
    for _ in range(4):
        with torch.no_grad():
            logits = model(input_ids=ids, **image_inputs(family, ids)).logits
        ids = torch.cat([ids, logits[:, -1].argmax(-1, keepdim=True)], dim=1)
    return decode(ids[0, -4:])


def make(family: str, *, steps: int) -> None:
    """Make one family's file and check what it says."""
    path = CHECKPOINTS / f"{family}.safetensors"
    if family == "bert":
        model = transformers.BertModel(make_model_config(family))
        fill(model, seed=3, std=0.2)
        save(model, path)
        return
    save(train(family, steps=steps), path)
    loaded = make_model(family)
    right = sum(answer(family, loaded, f"{a}+{b}=") == str(a + b) for a in range(10) for b in range(10))
    print(
        f"{family}: {right}/100 sums right, 1+1={answer(family, loaded, '1+1=')}, {path.stat().st_size} bytes",
        flush=True,
    )
    if answer(family, loaded, "1+1=") != "2":
        message = f"{family} has not learnt 1+1=2; raise --steps"
        raise SystemExit(message)


def main() -> None:
    """Read the command line and make what it names."""
    parser = argparse.ArgumentParser(description=__doc__, epilog="example: python -m cases.checkpoints.make llama")
    parser.add_argument("family", nargs="*", default=list(FAMILIES), help="families to make (default: all)")
    parser.add_argument("--steps", type=int, default=1200, help="training steps (default: 1200)")
    options = parser.parse_args()
    for family in options.family:
        make(family, steps=options.steps)


if __name__ == "__main__":
    main()
