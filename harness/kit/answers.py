"""Compare the answers of an adapted model with an independent reference, and with the base model's as a control.

What the base model alone gets wrong in a cell is not PEFT's doing: there the variant is
``unsupported``, with transformers' own words. Adapters that are added by name get numbers that depend on that
name alone, so what each of them answers by itself is known beforehand.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from harness.kit.counters import counted
from harness.kit.methods import LORA, attach, make_adapter_config
from harness.kit.models import fill, make_model
from harness.kit.oracles import first_difference, greedy_by_forward, near, same_tokens
from harness.kit.outcomes import Unsupported, message
from harness.kit.tokens import encode

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.kit.trial import Trial

    Way = Callable[[Any, torch.Tensor, torch.Tensor], torch.Tensor]
    """A function from a model, ids and a mask, each ``(batch, length)``, to new tokens, ``(rows, steps)``."""

QUESTION = "3+4=7</s>2+2=4</s>5+1=6</s>8+8=16</s>9+0=9</s> 1+1="
VIRTUAL_TOKENS = 20
NEW_TOKENS = 8


def greedy(model: Any, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Return the greedy answer of the forward loop, ``(batch, NEW_TOKENS)``: the oracle ``cache``."""
    return greedy_by_forward(model, ids, mask, new_tokens=NEW_TOKENS)[0]


def make_base(trial: Trial, **overrides: Any) -> Any:
    """Make the variant's base model on its device, with weights such that every earlier token changes the answer."""
    return make_model(trial.model, device=trial.torch_device(), trained=False, **overrides)


def adapter_options(method: str) -> dict[str, Any]:
    """Return the modules that LoRA adapts: early releases of PEFT have no default for every family."""
    if method != LORA:
        return {}
    return {"target_modules": r".*\.(q_proj|v_proj|c_attn|query_key_value|query|value)"}


def wrap(trial: Trial, base: Any, *, virtual_tokens: int = VIRTUAL_TOKENS, **options: Any) -> Any:
    """Wrap ``base`` with the variant's method and a strong prompt."""
    if trial.method != LORA:
        options["virtual_tokens"] = virtual_tokens
    return attach(base, trial.method, **{**adapter_options(trial.method), **options})


def question(trial: Trial) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the ids of the question and a mask of ones, both ``(1, length)``."""
    ids = encode(QUESTION, device=trial.torch_device())
    return ids, torch.ones_like(ids)


def hold(trial: Trial, way: Way, reference: Way = greedy, **overrides: Any) -> None:
    """Check that ``way`` gives the answer of ``reference`` with an adapter, whose answer must not be the base's.

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
    with counted(trial, model):
        said = way(model, ids, mask)
    expect_same_tokens(trial, said, wanted, bare)


def base_alone_can(answer: Callable[[], torch.Tensor], wanted: torch.Tensor) -> None:
    """Raise :class:`Unsupported` where transformers without PEFT raises, or its answer is not ``wanted``."""
    try:
        said = answer()
    except Exception as error:
        text = f"transformers alone cannot do this: {message(error)[:300]}"
        raise Unsupported(text) from error
    if not same_tokens(said, wanted):
        text = "transformers alone already answers otherwise than its forward loop"
        raise Unsupported(text)


def expect_same_tokens(trial: Trial, said: torch.Tensor, wanted: torch.Tensor, bare: torch.Tensor) -> None:
    """Raise :class:`WrongAnswer` unless the tokens are the oracle's, and say whether the prompt was dropped."""
    trial.evidence.update(said=said.tolist(), wanted=wanted.tolist(), base=bare.tolist())
    if same_tokens(said, wanted):
        return
    trial.evidence["first_difference"] = first_difference(said, wanted) if len(said) == len(wanted) else None
    like = (
        "drops the prompt: it answers as the base model does" if same_tokens(said, bare) else "leaves the forward loop"
    )
    trial.expect(False, f"generate {like}")  # noqa: FBT003


def logits(model: Any, *, length: int | None = None, **inputs: Any) -> torch.Tensor:
    """Return the logits of a forward as float32, of the last ``length`` positions: a prompt stands before them."""
    with torch.no_grad():
        found = model(**inputs).logits.float()
    return found if length is None else found[:, -length:]


def far(first: torch.Tensor, second: torch.Tensor) -> float:
    """Return the largest difference between two tensors; infinite where their shapes differ."""
    if first.shape != second.shape:
        return float("inf")
    return float((first.float() - second.float()).abs().max())


def expect_near(trial: Trial, who: str, found: torch.Tensor, wanted: torch.Tensor, *, tolerance: float = 1e-3) -> None:
    """Raise :class:`WrongAnswer` unless two tensors agree within ``tolerance``; record their distance as ``who``."""
    if found.shape != wanted.shape:
        trial.evidence[who] = [list(found.shape), list(wanted.shape)]
    trial.expect(near(trial, who, far(found, wanted), tolerance), f"{who}: the answer is another one")


def expect_equal(
    trial: Trial, found: torch.Tensor, wanted: torch.Tensor, otherwise: str, *, tolerance: float = 1e-4
) -> None:
    """Raise :class:`WrongAnswer` with the words ``otherwise`` unless two tensors have one shape and the same numbers.

    ``tolerance`` is for logits near 5 in float32: summing in another order stays below 1e-5, a dropped prompt moves
    them by 0.1.
    """
    trial.expect(found.shape == wanted.shape, f"{otherwise} (another shape)")
    trial.expect(near(trial, "answer", far(found, wanted), tolerance), otherwise)


def adapter_config(trial: Trial, virtual_tokens: int) -> Any:
    """Make the config of the variant's method; LoRA has no length, and takes none."""
    options = adapter_options(trial.method)
    if trial.method != LORA:
        options["virtual_tokens"] = virtual_tokens
    return make_adapter_config(trial.method, **options)


def with_one_adapter(trial: Trial, name: str, virtual_tokens: int) -> Any:
    """Make a fresh base with one adapter of this name, strong, in evaluation mode."""
    import peft

    model = peft.get_peft_model(make_base(trial), adapter_config(trial, virtual_tokens), adapter_name=name)
    fill_adapter(trial, model, name)
    return model.to(trial.torch_device()).eval()


def add_adapter(trial: Trial, model: Any, name: str, virtual_tokens: int) -> None:
    """Add another adapter, with the numbers that :func:`with_one_adapter` gives it."""
    model.add_adapter(name, adapter_config(trial, virtual_tokens))
    fill_adapter(trial, model, name)
    model.to(trial.torch_device()).eval()


def fill_adapter(trial: Trial, model: Any, name: str) -> None:
    """Fill the weights of one adapter with large, reproducible numbers, and no other's."""
    std = 0.3 if trial.method == LORA else 0.8
    fill(model, seed=7, std=std, only=lambda parameter: f".{name}." in parameter)
