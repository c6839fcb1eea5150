"""The cache oracle as several cases apply it, with what a record keeps of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from harness.cell.counters import ForwardCounter
from harness.cell.oracles import first_difference, greedy_by_generate, same_tokens
from harness.cell.weights import IN_USE, TIES

if TYPE_CHECKING:
    from harness.cell.trial import Trial


def expect_prompt_used(trial: Trial, reference: torch.Tensor, base: torch.Tensor, *, margin: float) -> None:
    """Hold the forward loop's answer with a prompt against the base model's, each ``(rows, tokens)``.

    Raises :class:`WrongAnswer` unless every row's first token differs: a prompt may be dropped at the first step alone.
    """
    trial.evidence.update(margin=margin, reference=reference[0].tolist(), base=base[0].tolist())
    trial.expect(bool((reference[:, 0] != base[:, 0]).all()), "the prompt does not change what forward says")


def expect_same_generation(
    trial: Trial,
    model: Any,
    reference: torch.Tensor,
    base: torch.Tensor,
    *,
    use_cache: bool,
    input_ids: torch.Tensor,
    attention_mask: torch.Tensor,
    **inputs: Any,
) -> None:
    """Hold greedy ``generate`` against ``reference``, the forward loop's answer, ``(rows, tokens)``.

    ``inputs`` go to ``generate`` as they are. Raises :class:`WrongAnswer` when a token differs, and says whether
    the answer is ``base``, the base model's. With real weights a token that a tie decides ends the comparison
    (:data:`harness.cell.weights.TIES`); the tiny models' seeds leave no ties.
    """
    if trial.model in IN_USE:
        base_model = model.get_base_model()
        dtype = str(next(base_model.parameters()).dtype).removeprefix("torch.")
        layers = base_model.config.num_hidden_layers
        trial.evidence["weights"] = f"{type(base_model).__name__} of {layers} layers, {dtype}"
    with ForwardCounter(model.get_base_model(), use_cache=use_cache) as counter:
        generated = greedy_by_generate(
            model, input_ids, attention_mask, new_tokens=reference.shape[1], use_cache=use_cache, **inputs
        )
    trial.evidence["generated"] = generated[0].tolist()
    trial.counters.update(counter.summary())
    if not same_tokens(generated, reference):
        step = trial.evidence["first_difference"] = first_difference(generated, reference)
        if trial.model in IN_USE and step is not None and step < generated.shape[1]:
            both = {"generated": generated, "reference": reference}
            gap = trial.evidence["gap"] = _gap(model, step, input_ids, attention_mask, **both, **inputs)
            if gap < TIES[IN_USE[trial.model].dtype]:
                return
        like = "drops the prompt and" if same_tokens(generated, base) else "uses the prompt but"
        trial.expect(False, f"generate(use_cache={use_cache}) {like} leaves the forward loop")  # noqa: FBT003


@torch.no_grad()
def _gap(
    model: Any,
    step: int,
    input_ids: torch.Tensor,
    attention_mask: torch.Tensor,
    *,
    generated: torch.Tensor,
    reference: torch.Tensor,
    **inputs: Any,
) -> float:
    """Give how far apart the logits of two different tokens are at a step, the largest over the rows."""
    told = reference[:, :step]
    if getattr(model.config, "is_encoder_decoder", False):
        start = torch.full_like(told[:, :1], model.get_base_model().generation_config.decoder_start_token_id)
        inputs = {**inputs, "decoder_input_ids": torch.cat([start, told], dim=1)}
    else:
        input_ids = torch.cat([input_ids, told], dim=1)
        attention_mask = torch.cat([attention_mask, torch.ones_like(told)], dim=1)
    logits = model(input_ids=input_ids, attention_mask=attention_mask, **inputs).logits[:, -1].float()
    pair = [logits.gather(1, tokens[:, step : step + 1]) for tokens in (reference, generated)]
    return float((pair[0] - pair[1]).abs().max())
