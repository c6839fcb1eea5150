"""The independent ways to know the right answer: loops over ``forward``, and comparisons with them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from harness.kit.counters import counted
from harness.kit.models import IN_USE, TIES

if TYPE_CHECKING:
    from harness.kit.trial import Trial


def greedy_by_forward(
    model: Any, input_ids: torch.Tensor, attention_mask: torch.Tensor, *, new_tokens: int, **inputs: Any
) -> tuple[torch.Tensor, float]:
    """Extend ``input_ids`` greedily with plain ``forward`` calls: no ``generate``, no cache.

    ``input_ids`` and ``attention_mask`` have the shape ``(batch, length)``; ``inputs`` go to each
    call as they are. Returns the new tokens, ``(batch, new_tokens)``, and the smallest difference
    seen between the best and the second-best logit: when it is near rounding error, a differing
    token proves nothing.
    """
    with torch.no_grad():
        ids, mask = input_ids, attention_mask
        margin = float("inf")
        for _ in range(new_tokens):
            # No use_cache=False: early releases break on it (which the workaround measures), and a
            # cache that a call returns and nobody passes on changes nothing.
            logits = model(input_ids=ids, attention_mask=mask, **inputs).logits[:, -1].float()
            best = logits.topk(2).values
            margin = min(margin, float((best[:, 0] - best[:, 1]).min()))
            ids = torch.cat([ids, logits.argmax(-1, keepdim=True)], dim=1)
            mask = torch.cat([mask, torch.ones_like(mask[:, :1])], dim=1)
        return ids[:, input_ids.shape[1] :], margin


def greedy_by_decoder(
    model: Any, input_ids: torch.Tensor, attention_mask: torch.Tensor, *, new_tokens: int, start: int
) -> tuple[torch.Tensor, float]:
    """Decode greedily with an encoder-decoder and plain ``forward`` calls: no ``generate``, no cache.

    Like :func:`greedy_by_forward`; every row's answer begins after the token ``start``.
    """
    with torch.no_grad():
        answer = torch.full_like(input_ids[:, :1], start)
        margin = float("inf")
        for _ in range(new_tokens):
            output = model(input_ids=input_ids, attention_mask=attention_mask, decoder_input_ids=answer)
            logits = output.logits[:, -1].float()
            best = logits.topk(2).values
            margin = min(margin, float((best[:, 0] - best[:, 1]).min()))
            answer = torch.cat([answer, logits.argmax(-1, keepdim=True)], dim=1)
        return answer[:, 1:], margin


def greedy_by_generate(
    model: Any, input_ids: torch.Tensor, attention_mask: torch.Tensor, *, new_tokens: int, **options: Any
) -> torch.Tensor:
    """Generate ``new_tokens`` tokens greedily and return them alone, ``(batch, new_tokens)``.

    The tiny models name no end-of-sequence token, so nothing ends early. What ``generate``
    returns starts with the input when it was given ids; some releases leave the input out when
    PEFT hands over embeddings. Both are accepted: the last ``new_tokens`` count, and a shorter
    answer is returned as it is.
    """
    with torch.no_grad():
        output = model.generate(
            input_ids=input_ids,
            attention_mask=attention_mask,
            max_new_tokens=new_tokens,
            do_sample=False,
            pad_token_id=0,
            **options,
        )
        return output[:, -new_tokens:]


def near(trial: Trial, what: str, apart: float, allowed: float) -> bool:
    """Keep how far an answer is from its reference, as a multiple of what is allowed; return whether that is below 1.

    It stands in the record under ``distances``, also where the check ends before or after it: what is wrong and becomes
    wrong otherwise is told by its distance (:mod:`harness.judge.distances`).
    """
    trial.evidence.setdefault("distances", {})[what] = apart / allowed
    return apart < allowed


def same_tokens(first: torch.Tensor, second: torch.Tensor) -> bool:
    """Return whether two token tensors agree in shape and in every token."""
    return first.shape == second.shape and bool((first == second).all())


def first_difference(first: torch.Tensor, second: torch.Tensor) -> int | None:
    """Return the first step (0-based) at which any row differs, or None."""
    length = min(first.shape[1], second.shape[1])
    differ = (first[:, :length] != second[:, :length]).any(dim=0).nonzero()
    if len(differ):
        return int(differ[0])
    return None if first.shape == second.shape else length


def beams_by_forward(
    model: Any, input_ids: torch.Tensor, attention_mask: torch.Tensor, *, new_tokens: int, beams: int
) -> torch.Tensor:
    """Search with ``beams`` beams by plain ``forward`` calls; return them best first, ``(beams, new_tokens)``.

    ``input_ids`` has one row. The tiny models have no end-of-sequence token, so a beam is only its
    sum of log probabilities, all beams are of one length, and no length penalty can reorder them.
    """
    with torch.no_grad():
        start = input_ids.shape[1]
        ids, scores = input_ids, torch.zeros(1, device=input_ids.device)
        for _ in range(new_tokens):
            mask = torch.ones_like(ids)
            mask[:, :start] = attention_mask
            steps = model(input_ids=ids, attention_mask=mask).logits[:, -1].float().log_softmax(-1)
            totals = scores[:, None] + steps
            best = totals.flatten().topk(beams)
            rows, tokens = best.indices // steps.shape[1], best.indices % steps.shape[1]
            ids, scores = torch.cat([ids[rows], tokens[:, None]], dim=1), best.values
        return ids[:, start:]


def samples_by_forward(
    model: Any, input_ids: torch.Tensor, attention_mask: torch.Tensor, *, new_tokens: int, samples: int, seed: int
) -> torch.Tensor:
    """Draw ``samples`` continuations of one row by plain ``forward`` calls, ``(samples, new_tokens)``.

    One ``torch.multinomial`` over all rows a step, from the generator seeded once: so does
    ``generate`` with neither top-k nor top-p nor temperature.
    """
    with torch.no_grad():
        ids, mask = input_ids.repeat(samples, 1), attention_mask.repeat(samples, 1)
        torch.manual_seed(seed)
        for _ in range(new_tokens):
            chances = model(input_ids=ids, attention_mask=mask).logits[:, -1].float().softmax(-1)
            ids = torch.cat([ids, torch.multinomial(chances, num_samples=1)], dim=1)
            mask = torch.cat([mask, torch.ones_like(mask[:, :1])], dim=1)
        return ids[:, input_ids.shape[1] :]


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
    (:data:`harness.kit.models.TIES`); the tiny models' seeds leave no ties.
    """
    if trial.model in IN_USE:
        base_model = model.get_base_model()
        dtype = str(next(base_model.parameters()).dtype).removeprefix("torch.")
        layers = base_model.config.num_hidden_layers
        trial.evidence["weights"] = f"{type(base_model).__name__} of {layers} layers, {dtype}"
    with counted(trial, model, use_cache=use_cache):
        generated = greedy_by_generate(
            model, input_ids, attention_mask, new_tokens=reference.shape[1], use_cache=use_cache, **inputs
        )
    trial.evidence["generated"] = generated[0].tolist()
    if not same_tokens(generated, reference):
        step = trial.evidence["first_difference"] = first_difference(generated, reference)
        if trial.model in IN_USE and step is not None and step < generated.shape[1]:
            both = {"generated": generated, "reference": reference}
            gap = trial.evidence["gap"] = _gap(model, step, input_ids, attention_mask, **both, **inputs)
            if gap < TIES[IN_USE[trial.model].dtype]:
                return
        like = "drops the prompt and" if same_tokens(generated, base) else "uses the prompt but"
        trial.expect(False, f"generate(use_cache={use_cache}) {like} leaves the forward loop")  # noqa: FBT003


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
    """Return the distance between the logits of two different tokens at a step, the largest over the rows."""
    with torch.no_grad():
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
