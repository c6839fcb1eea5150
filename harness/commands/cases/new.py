"""``cases new``: the skeleton of a case, which runs as it is."""

from __future__ import annotations

import re

import click

from harness.errors import UsageError
from harness.matrix.cases import CASES
from harness.paths import ROOT, is_checkout
from harness.program import PROGRAM, example

_NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")

SKELETON = '''"""What must hold, in one line: here, a penalty on repeated tokens acts on the answer with the prompt.

huggingface/peft#1234: who met it, and how it shows. The text and the answer so far are what the penalty is taken on.
"""

from __future__ import annotations

from typing import Any

import torch

from harness.kit import NEW_TOKENS, Trial, Variants, greedy_by_generate, hold

DOCUMENT = None
UPSTREAM = ("https://github.com/huggingface/peft/issues/1234",)
ORACLE = "cache"
PENALTY = 1.3
VARIANTS = (
    Variants(
        axes={
            "model": ("llama", "gpt2"),
            "method": ("prompt_tuning", "prefix_tuning", "p_tuning", "lora"),
            "aspect": ("cached", "uncached"),
        },
    ),
)


def check(trial: Trial) -> None:
    """The oracle is a loop over plain forward calls that takes the penalty itself; LoRA is the control."""

    def by_generate(model: Any, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        options = {"repetition_penalty": PENALTY, "use_cache": trial.aspect == "cached"}
        return greedy_by_generate(model, ids, mask, new_tokens=NEW_TOKENS, **options)

    hold(trial, by_generate, reference=by_forward)


def by_forward(model: Any, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Decode without generate and without a cache: a score above 0 is divided, one below 0 multiplied."""
    start = ids.shape[1]
    with torch.no_grad():
        for _ in range(NEW_TOKENS):
            scores = model(input_ids=ids, attention_mask=mask).logits[:, -1].float()
            seen = scores.gather(1, ids)
            scores = scores.scatter(1, ids, torch.where(seen < 0, seen * PENALTY, seen / PENALTY))
            ids = torch.cat([ids, scores.argmax(-1, keepdim=True)], dim=1)
            mask = torch.cat([mask, torch.ones_like(mask[:, :1])], dim=1)
    return ids[:, start:]
'''


@click.command(epilog=example("cases new repetition_penalty"))
@click.argument("name")
def new(name: str) -> None:
    """Write cases/NAME.py: a case that runs as it is, to be changed into what you want to check.

    Exit status 2: the name is no name for a case, or there is one already.
    """
    if not is_checkout():
        message = f"cases are added in a checkout of the project, and {ROOT} is none; clone it, and run this there"
        raise UsageError(message)
    if not _NAME.fullmatch(name):
        message = f"{name!r} is no name for a case; write small letters, digits and _, such as repetition_penalty"
        raise UsageError(message)
    path = CASES / f"{name}.py"
    if path.exists():
        message = f"{path.relative_to(ROOT)} is there already; choose another name"
        raise UsageError(message)
    path.write_text(SKELETON, encoding="utf-8")
    click.echo(f"wrote {path.relative_to(ROOT)}; change it, and see what it says in a pair that is mostly good:")
    click.echo(f"{PROGRAM} run library --case {name} --cell peft0.21.2-tf5.23")
    click.echo("docs/cases.md goes on from there")
