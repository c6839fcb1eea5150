"""Ask PEFT, ask by hand, and compare: logits of every text of a batch, whatever the code under test did with it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from functools import cache
from typing import TYPE_CHECKING, Any

import torch

from harness.kit.answers import QUESTION, adapter_options
from harness.kit.by_hand.attention import ROTARY, Layout
from harness.kit.by_hand.references import ENCODER_DECODERS, ENCODERS, PREFIXES, ByHand
from harness.kit.families import LORA_TARGETS
from harness.kit.methods import LORA, TASKS, attach
from harness.kit.models import image_inputs, make_model
from harness.kit.oracles import near
from harness.kit.outcomes import Unsupported, message
from harness.kit.tokens import encode

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from harness.kit.by_hand.references import Stored
    from harness.kit.trial import Trial

    Rows = list[torch.Tensor]
    """The logits of each text of a batch, ``(length, vocabulary)``."""

VIRTUAL_TOKENS = 20
NEW_TOKENS = 6
TEXTS = ("3+4=7</s>2+2=4</s> 1+1=", "8+8=", "9+0=9</s>6+2=")
"""A batch of three of unequal lengths."""

ANSWER = "16 is 8"
"""What an encoder-decoder's decoder is fed in forward."""

LAYOUTS = ("alone", "left", "right")

TAKES_POSITIONS = frozenset(ROTARY | {"gpt2", "gpt_bigcode"}) - {"idefics", "llava"}
"""Families whose forward takes the positions of a left-padded text from its caller; others read them off the mask."""

TOLERANCE = {"float32": 2e-5, "float16": 1e-2, "bfloat16": 8e-2}
"""What rounding may do to logits, as a share of the largest of them: 170 units in the last place of float32's mantissa
(2**-23), ten of float16's (2**-10) and of bfloat16's (2**-7), whose products are summed in float32."""

ROUNDING = {"t5": 16.0, "qwen2_moe": 4.0, "p_tuning_lstm": 4.0, "lora": 4.0}
"""How much more of it there is: T5 divides its logits by the root of its hidden size, 8, and its scores by nothing;
experts are weighed and summed in the order of the tokens that come to them; the steps of an LSTM and a product of two
matrices are summed in another order by hand than by torch."""

SLIDING = frozenset({"mistral", "gemma2", "gemma3"})
"""Families with layers that see no farther back than a window, which counts places and not positions."""


class Gap(Enum):
    """What a text's padding is to a reference: nothing by the definition, or something between prompt and text."""

    NONE = auto()
    COUNTED = auto()
    """The padding's places are positions, and the text is farther away from its prompt."""
    IN_THE_WINDOW = auto()
    """They are no positions, but a window that slides has them in it."""


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Texts as the code under test gets them: padded to one length on one side.

    ``rows`` are the texts, ``(1, length)`` each; ``ids`` and ``mask`` are ``(rows, longest)``; ``places`` says where in
    its row of the batch a text stands; ``tasks`` are the rows' tasks.
    """

    rows: tuple[torch.Tensor, ...]
    ids: torch.Tensor
    mask: torch.Tensor
    places: tuple[slice, ...]
    tasks: torch.Tensor

    def positions(self) -> torch.Tensor:
        """Count the positions of each text's tokens, ``(rows, longest)``; padding has 0."""
        return (self.mask.cumsum(dim=1) - 1).clamp(min=0)

    def gaps(self) -> list[int]:
        """Count the places of padding before each text."""
        return [place.start for place in self.places]


def batch_of(rows: Sequence[torch.Tensor], *, left: bool = False, more: int = 0) -> Batch:
    """Pad texts of ``(1, length)`` each into one batch, by so many places ``more`` than they need.

    Row ``n`` is of task ``n + 1``, in turn.
    """
    longest = max(row.shape[1] for row in rows) + more
    ids, mask = torch.zeros(2, len(rows), longest, dtype=torch.long, device=rows[0].device)
    places = tuple(slice(longest - row.shape[1], longest) if left else slice(0, row.shape[1]) for row in rows)
    for index, (row, place) in enumerate(zip(rows, places, strict=True)):
        ids[index, place], mask[index, place] = row[0], 1
    tasks = (torch.arange(len(rows), device=ids.device) + 1).remainder(TASKS)
    return Batch(rows=tuple(rows), ids=ids, mask=mask, places=places, tasks=tasks)


def make_batch(layout: str, *, device: torch.device) -> Batch:
    """Make the batch of a layout: one long text ``alone``, or three of unequal lengths padded ``left`` or ``right``."""
    if layout == "alone":
        return batch_of([encode(QUESTION, device=device)])
    return batch_of([encode(text, device=device) for text in TEXTS], left=layout == "left")


@cache
def bare_model(family: str, device: torch.device, dtype: torch.dtype = torch.float32) -> Any:
    """Make the base model that references run on. PEFT never sees it, so that it may be shared."""
    return make_model(family, device=device, dtype=dtype, trained=False)


def task_of(family: str) -> str:
    """Name the task type that a family is wrapped for."""
    if family in ENCODERS:
        return "FEATURE_EXTRACTION"
    return "SEQ_2_SEQ_LM" if family in ENCODER_DECODERS else "CAUSAL_LM"


def lora_options(family: str) -> dict[str, Any]:
    """Name where LoRA goes in a family."""
    return {"target_modules": LORA_TARGETS[family]} if family in LORA_TARGETS else adapter_options(LORA)


def adapted(trial: Trial, *, strong: bool = True, **options: Any) -> Any:
    """Make a model of the variant's family with the variant's method on it, in evaluation mode.

    Raises :class:`~harness.kit.outcomes.Unsupported` where this release has no adaption prompt for the family.
    """
    if trial.method == "adaption_prompt":
        need_adaption_prompt(trial.model)
    return attach(fresh_base(trial), trial.method, strong=strong, **{**adapter_of(trial), **options})


def adapter_of(trial: Trial, *, virtual_tokens: int = VIRTUAL_TOKENS) -> dict[str, Any]:
    """Name what makes the config of the variant's method for its family; LoRA has no length."""
    own = lora_options(trial.model) if trial.method == LORA else {"virtual_tokens": virtual_tokens}
    return {"task": task_of(trial.model), **own}


def fresh_base(trial: Trial) -> Any:
    """Make the variant's base model for PEFT to work on: the numbers of :func:`bare_model`, shared with nobody."""
    dtype = getattr(torch, trial.variant.get("dtype", "float32"))
    return make_model(trial.model, device=trial.torch_device(), dtype=dtype, trained=False)


def need_adaption_prompt(family: str) -> None:
    """Raise :class:`Unsupported` where this release of PEFT has no adaption prompt for a family."""
    from peft.tuners.adaption_prompt.config import TRANSFORMERS_MODEL_CONFIG

    if family not in TRANSFORMERS_MODEL_CONFIG:
        text = f"this peft has no adaption prompt for {family}"
        raise Unsupported(text)


def task_inputs(method: str, batch: Batch) -> dict[str, Any]:
    """Name what a method needs beside ids and mask."""
    return {"task_ids": batch.tasks} if method == "multitask_prompt_tuning" else {}


def answer_ids(batch: Batch) -> torch.Tensor:
    """Make what the decoder is fed in forward, the same for each row, ``(rows, length)``."""
    return encode(ANSWER, device=batch.ids.device).expand(len(batch.rows), -1)


def by_forward(model: Any, family: str, batch: Batch, **inputs: Any) -> Rows:
    """Ask a model by one forward; a left-padded batch comes with the positions of its texts, where they are taken."""
    if family in ENCODER_DECODERS:
        inputs["decoder_input_ids"] = answer_ids(batch)
    if family in TAKES_POSITIONS and any(batch.gaps()):
        inputs["position_ids"] = batch.positions()
    with torch.no_grad():
        output = model(input_ids=batch.ids, attention_mask=batch.mask, **image_inputs(family, batch.ids), **inputs)
    found = (output.last_hidden_state if family in ENCODERS else output.logits).float()
    if family in ENCODER_DECODERS:
        return list(found)
    found = found[:, -batch.ids.shape[1] :]
    return [row[place] for row, place in zip(found, batch.places, strict=True)]


@dataclass(frozen=True, kw_only=True)
class Generated:
    """What ``generate`` said: tokens, ``(rows, steps)``, and their scores, ``(steps, vocabulary)`` a row."""

    tokens: torch.Tensor
    scores: list[torch.Tensor]


def by_generate(model: Any, batch: Batch, *, new_tokens: int = NEW_TOKENS, **inputs: Any) -> Generated:
    """Ask a model greedily by ``generate``, scores and all; ``inputs`` go along, and may name another mask."""
    inputs = {"attention_mask": batch.mask, **inputs}
    with torch.no_grad():
        output = model.generate(
            input_ids=batch.ids,
            max_new_tokens=new_tokens,
            do_sample=False,
            pad_token_id=0,
            output_scores=True,
            return_dict_in_generate=True,
            **inputs,
        )
    scores = torch.stack(output.scores, dim=1).float()
    return Generated(tokens=output.sequences[:, -new_tokens:], scores=list(scores))


def chosen_by_scores(said: Generated) -> bool:
    """Return whether each token is the best of its scores."""
    return bool((torch.stack(said.scores).argmax(-1) == said.tokens).all())


def wanted_by_forward(reference: ByHand, family: str, batch: Batch, *, gap: Gap = Gap.NONE) -> Rows:
    """Answer each text of a batch by hand, alone; ``gap`` leaves its padding between the prompt and it."""
    answer = answer_ids(batch)[:1] if family in ENCODER_DECODERS else None
    gaps = batch.gaps() if gap is not Gap.NONE else [0] * len(batch.rows)
    counted = gap is not Gap.IN_THE_WINDOW
    return [
        reference.logits(row, task=int(task), answer=answer, gap=places, counted=counted)
        for row, task, places in zip(batch.rows, batch.tasks, gaps, strict=True)
    ]


def wanted_by_generate(
    reference: ByHand, family: str, batch: Batch, tokens: torch.Tensor, *, start: int = 0, gap: Gap = Gap.NONE
) -> Rows:
    """Return by hand the logits from which each of these tokens would be chosen, ``(steps, vocabulary)`` a row.

    One forward over each text with the tokens behind it: that they came one by one changes nothing. ``start`` is what
    an encoder-decoder's answer begins with.
    """
    gaps = batch.gaps() if gap is not Gap.NONE else [0] * len(batch.rows)
    counted = gap is not Gap.IN_THE_WINDOW
    found = []
    for row, said, task, places in zip(batch.rows, tokens, batch.tasks, gaps, strict=True):
        before = said[None, :-1]
        if family in ENCODER_DECODERS:
            fed = torch.cat([torch.full_like(before[:, :1], start), before], dim=1)
            found.append(reference.logits(row, task=int(task), answer=fed, gap=places, counted=counted))
        else:
            both = torch.cat([row, before], dim=1)
            found.append(reference.logits(both, task=int(task), gap=places, counted=counted)[-len(said) :])
    return found


def start_of(base: Any) -> int:
    """Name the token that a decoder's answer begins with; 0 where there is none."""
    return int(getattr(base.config, "decoder_start_token_id", None) or 0)


def distance(found: Sequence[torch.Tensor], wanted: Sequence[torch.Tensor], *, dtype: str, of: Sequence[str]) -> float:
    """Measure the largest distance of any text's logits from the reference's, in tolerances: up to 1.0 is rounding.

    ``of`` names the family and the method, which have their own :data:`ROUNDING`.
    """
    largest = 0.0
    for one, other in zip(found, wanted, strict=True):
        if one.shape != other.shape or not bool(torch.isfinite(one).all()):
            return float("inf")
        unit = TOLERANCE[dtype] * max(1.0, float(other.abs().max()))
        for name in of:
            unit *= ROUNDING.get(name, 1.0)
        largest = max(largest, float((one - other).abs().max()) / unit)
    return largest


def apart(trial: Trial, found: Sequence[torch.Tensor], wanted: Sequence[torch.Tensor]) -> float:
    """Measure a distance in the tolerances of the variant's dtype, family and method."""
    return distance(found, wanted, dtype=trial.variant.get("dtype", "float32"), of=(trial.model, trial.method))


def expect_logits(
    trial: Trial,
    what: str,
    found: Sequence[torch.Tensor],
    wanted: Sequence[torch.Tensor],
    otherwise: Mapping[str, Callable[[], Rows]] | None = None,
    *,
    dtype: str = "",
) -> None:
    """Check that the logits of each text are the reference's within rounding, and keep how far they are apart.

    ``otherwise`` maps what else the numbers have been taken for to the logits of that reading: a known defect is named,
    and what is neither the definition nor known is told apart from it.
    Raises :class:`~harness.kit.outcomes.WrongAnswer`.
    """
    dtype, of = dtype or trial.variant.get("dtype", "float32"), (trial.model, trial.method)
    if near(trial, what, distance(found, wanted, dtype=dtype, of=of), 1.0):
        return
    for name, reading in (otherwise or {}).items():
        is_that = near(trial, f"{what}, if {name}", distance(found, reading(), dtype=dtype, of=of), 1.0)
        trial.expect(not is_that, f"{what}: {name}")
    trial.expect(False, f"{what}: not what the stored numbers give by hand")  # noqa: FBT003


def readings(
    trial: Trial, stored: Stored, batch: Batch, wanted: Callable[..., Rows], *, base: Any
) -> dict[str, Callable[[], Rows]]:
    """Name the other readings of stored numbers that releases are known for, each with what it gives on ``base``.

    ``wanted`` takes a reference, and a ``gap``.
    """
    by_hand = ByHand(base, trial.model, stored)
    found: dict[str, Callable[[], Rows]] = {}
    if any(batch.gaps()):
        found["the padding stands between the prompt and the text"] = lambda: wanted(by_hand, gap=Gap.COUNTED)
        if trial.model in SLIDING and trial.method in PREFIXES:
            text = "the padding takes the prompt's places in the window"
            found[text] = lambda: wanted(by_hand, gap=Gap.IN_THE_WINDOW)
    if trial.model == "bloom" and trial.method in PREFIXES:
        old = ByHand(base, trial.model, stored, layout=Layout.OLD_BLOOM)
        found["the prefix is read as Bloom's old cache had it"] = lambda: wanted(old)
    if trial.model in {"gemma2", "gemma3"} and trial.method in PREFIXES:
        mixed = ByHand(base, trial.model, stored, layout=Layout.HALVES_FIRST)
        found["the prefix's layers are taken for its keys and values"] = lambda: wanted(mixed)
    found["the adapter is not used"] = lambda: wanted(Bare(base, trial.model))
    return found


class Bare(ByHand):
    """The base model's own answers, asked in the same way."""

    def __init__(self, base: Any, family: str) -> None:
        """Take the base as it is."""
        self._base, self._family = base, family

    def differentiable(
        self,
        ids: torch.Tensor,
        *,
        task: int = 0,
        answer: torch.Tensor | None = None,
        gap: int = 0,
        counted: bool = True,
    ) -> torch.Tensor:
        """Answer one text without any adapter."""
        del task, gap, counted
        inputs = {} if answer is None else {"decoder_input_ids": answer}
        found = self._answers(input_ids=ids, attention_mask=torch.ones_like(ids), **inputs)
        return found[0] if answer is None else found[0, -answer.shape[1] :]


def filled(batch: Batch, tokens: int) -> Batch:
    """Put so many tokens before each text: as long as with a prompt, for the base model alone."""
    rows = [torch.cat([row.repeat(1, 1 + tokens // row.shape[1])[:, :tokens], row], dim=1) for row in batch.rows]
    return batch_of(rows, left=any(batch.gaps()))


@cache
def base_alone(family: str, layout: str, way: str, device: torch.device, dtype: torch.dtype) -> str:
    """Say what transformers alone does wrong with texts as long as prompt and text, or nothing.

    ``way`` is forward or generate; asked once in a process, since PEFT has no part in it.
    """
    base = bare_model(family, device, dtype)
    batch = make_batch(layout, device=device)
    if family not in ENCODER_DECODERS:
        batch = filled(batch, VIRTUAL_TOKENS)
    name = str(dtype).removeprefix("torch.")
    try:
        if way == "forward":
            found = by_forward(base, family, batch)
            wanted = wanted_by_forward(Bare(base, family), family, batch)
        else:
            said = by_generate(base, batch)
            found = said.scores
            wanted = wanted_by_generate(Bare(base, family), family, batch, said.tokens, start=start_of(base))
    except Exception as error:  # noqa: BLE001 - what transformers cannot do alone is said in its own words
        return f"transformers alone cannot do this: {message(error)[:300]}"
    if distance(found, wanted, dtype=name, of=(family,)) > 1.0:
        return f"transformers alone answers a text otherwise by {way} ({layout}) than by itself in one forward"
    return ""


def need_base_alone(trial: Trial, way: str) -> None:
    """Raise :class:`Unsupported` where transformers alone does wrong what the variant asks for."""
    dtype = getattr(torch, trial.variant.get("dtype", "float32"))
    text = base_alone(trial.model, trial.layout, way, trial.torch_device(), dtype)
    if text:
        raise Unsupported(text)
