"""Hold one way of asking against another, and against the base model as a control.

What the base model alone gets wrong in a cell is not PEFT's doing: there the variant is
``unsupported``, with transformers' own words.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from harness.kit.counters import ForwardCounter
from harness.kit.methods import LORA, attach
from harness.kit.models import make_model
from harness.kit.oracles import first_difference, greedy_by_forward, same_tokens
from harness.kit.outcomes import Unsupported, message
from harness.kit.tokens import encode

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.kit.trial import Trial

    Way = Callable[[Any, torch.Tensor, torch.Tensor], torch.Tensor]
    """From a model, ids and mask, each ``(batch, length)``, to new tokens, ``(rows, steps)``."""

QUESTION = "3+4=7</s>2+2=4</s>5+1=6</s>8+8=16</s>9+0=9</s> 1+1="
VIRTUAL_TOKENS = 20
NEW_TOKENS = 8


def greedy(model: Any, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Answer greedily by the forward loop: the oracle ``cache``."""
    return greedy_by_forward(model, ids, mask, new_tokens=NEW_TOKENS)[0]


def make_base(trial: Trial, **overrides: Any) -> Any:
    """Make the variant's base model on its device, with weights that every earlier token sways."""
    return make_model(trial.model, device=trial.torch_device(), trained=False, **overrides)


def adapter_options(method: str) -> dict[str, Any]:
    """Name what LoRA adapts: early releases of PEFT have no default for every family."""
    if method != LORA:
        return {}
    return {"target_modules": r".*\.(q_proj|v_proj|c_attn|query_key_value|query|value)"}


def wrap(trial: Trial, base: Any, *, virtual_tokens: int = VIRTUAL_TOKENS, **options: Any) -> Any:
    """Put the variant's method on ``base`` with a strong prompt."""
    if trial.method != LORA:
        options["virtual_tokens"] = virtual_tokens
    return attach(base, trial.method, **{**adapter_options(trial.method), **options})


def question(trial: Trial) -> tuple[torch.Tensor, torch.Tensor]:
    """Give the ids of the question and a mask of ones, both ``(1, length)``."""
    ids = encode(QUESTION, device=trial.torch_device())
    return ids, torch.ones_like(ids)


def hold(trial: Trial, way: Way, reference: Way = greedy, **overrides: Any) -> None:
    """Check that ``way`` says what ``reference`` says, with an adapter whose answer is not the base's.

    The base alone goes first; ``overrides`` go to its config. Raises :class:`Unsupported` where ``way`` fails or
    differs there, :class:`~harness.kit.outcomes.WrongAnswer` where only the adapted model's answers differ.
    """
    base = make_base(trial, **overrides)
    ids, mask = question(trial)
    bare = reference(base, ids, mask)
    base_alone_can(lambda: way(base, ids, mask), bare)
    model = wrap(trial, base)
    wanted = reference(model, ids, mask)
    trial.expect(not same_tokens(wanted, bare), "the prompt does not change what forward says")
    with ForwardCounter(model.get_base_model()) as counter:
        try:
            said = way(model, ids, mask)
        finally:
            # What the model was fed tells most where it failed.
            trial.counters.update(counter.summary())
    compare(trial, said, wanted, bare)


def base_alone_can(answer: Callable[[], torch.Tensor], wanted: torch.Tensor) -> None:
    """Raise :class:`Unsupported` where transformers without PEFT raises, or says something else."""
    try:
        said = answer()
    except Exception as error:
        text = f"transformers alone cannot do this: {message(error)[:300]}"
        raise Unsupported(text) from error
    if not same_tokens(said, wanted):
        text = "transformers alone already answers otherwise than its forward loop"
        raise Unsupported(text)


def compare(trial: Trial, said: torch.Tensor, wanted: torch.Tensor, bare: torch.Tensor) -> None:
    """Compare tokens with the oracle's; where they differ, say whether the prompt was dropped."""
    trial.evidence.update(said=said.tolist(), wanted=wanted.tolist(), base=bare.tolist())
    if same_tokens(said, wanted):
        return
    trial.evidence["first_difference"] = first_difference(said, wanted) if len(said) == len(wanted) else None
    like = (
        "drops the prompt: it answers as the base model does" if same_tokens(said, bare) else "leaves the forward loop"
    )
    trial.expect(False, f"generate {like}")  # noqa: FBT003


@torch.no_grad()
def logits(model: Any, *, length: int | None = None, **inputs: Any) -> torch.Tensor:
    """Give the logits of a forward as float32, of the last ``length`` positions: a prompt stands before them."""
    found = model(**inputs).logits.float()
    return found if length is None else found[:, -length:]


def far(first: torch.Tensor, second: torch.Tensor) -> float:
    """Give the largest difference between two tensors; infinite where their shapes differ."""
    if first.shape != second.shape:
        return float("inf")
    return float((first.float() - second.float()).abs().max())


def near(trial: Trial, who: str, found: torch.Tensor, wanted: torch.Tensor, *, tolerance: float = 1e-3) -> None:
    """Check that two tensors agree within ``tolerance``, and keep how far they are apart."""
    apart = far(found, wanted)
    trial.evidence[who] = apart if apart != float("inf") else [list(found.shape), list(wanted.shape)]
    trial.expect(apart < tolerance, f"{who}: the answer is another one")
