"""A model that reads an image beside its text answers with it and a prompt what the stored numbers give by hand.

huggingface/peft#2134 and huggingface/transformers#33852 are about Idefics, which looks at the image from between its
layers; Llava reads it as tokens of its text. Zeroed pixels have to change the answer, of the base model and with an
adapter. ``cached`` and ``uncached`` ask ``generate``. ``lengthened`` hands Idefics an image mask that has rows for the
virtual tokens, too. PEFT takes the first matrix of as many rows as the vocabulary has tokens for the word embeddings:
Llava's vocabulary is a prime number, and in ``twin`` a matrix of its vision tower has as many rows.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch

from harness.kit import (
    FAMILIES,
    IMAGE_PATCHES,
    IMAGE_SIZE,
    IMAGE_TOKEN,
    PRIME_VOCABULARY,
    QUESTION,
    Bare,
    Batch,
    ByHand,
    Stored,
    Trial,
    Variants,
    adapter_of,
    apart,
    attach,
    base_alone_can,
    batch_of,
    by_generate,
    encode,
    expect_logits,
    greedy_by_forward,
    hashed_uniform,
    image_inputs,
    in_memory,
    logits,
    make_model,
    wanted_by_forward,
    wanted_by_generate,
)

DOCUMENT = None
UPSTREAM = (
    "https://github.com/huggingface/peft/issues/2134",
    "https://github.com/huggingface/transformers/issues/33852",
)
ORACLE = "by hand"
RING = "references"
METHODS = ("prompt_tuning", "prefix_tuning", "p_tuning", "lora")
VIRTUAL_TOKENS = 20
NEW_TOKENS = 6
PICTURE, BLANK = "with the image", "with zeroed pixels"
CLEAR = 1_000.0
"""How many tolerances zeroed pixels have to move the logits: 2 % of the largest of them."""

Answer = tuple[torch.Tensor, list[torch.Tensor]]
"""Tokens, ``(1, steps)``, and the logits that they were chosen from, ``(steps, vocabulary)`` of each text."""

VARIANTS = (
    Variants(
        axes={"model": ("idefics", "llava"), "method": METHODS, "aspect": ("forward", "cached", "uncached")},
    ),
    Variants(axes={"model": ("idefics",), "method": ("prompt_tuning", "p_tuning"), "aspect": ("lengthened",)}),
    Variants(axes={"model": ("llava",), "method": METHODS, "aspect": ("twin",)}),
)


class Seeing(ByHand):
    """The answers of an adapter to one text with an image, ``(3, IMAGE_SIZE, IMAGE_SIZE)``, at which all may look."""

    def __init__(self, base: Any, family: str, stored: Stored, *, image: torch.Tensor) -> None:
        super().__init__(base, family, stored)
        self._image = image

    def _answers(self, **inputs: Any) -> torch.Tensor:
        return super()._answers(**inputs, **image_inputs(self._family, inputs["attention_mask"], self._image))


class BareSeeing(Bare):
    """The base model's own answers to one text with an image."""

    def __init__(self, base: Any, family: str, *, image: torch.Tensor) -> None:
        super().__init__(base, family)
        self._image = image

    def _answers(self, **inputs: Any) -> torch.Tensor:
        return super()._answers(**inputs, **image_inputs(self._family, inputs["attention_mask"], self._image))


def check(trial: Trial) -> None:
    """Compare answers with the image and without with those by hand, and with each other (the oracle by hand)."""
    picture = hashed_uniform((3, IMAGE_SIZE, IMAGE_SIZE), seed=3).to(trial.torch_device())
    images = {PICTURE: picture, BLANK: torch.zeros_like(picture)}
    batch = batch_of([_text(trial)])
    base = _base(trial)
    _need_base_alone(trial, base, batch, images)
    model = attach(_base(trial), trial.method, **adapter_of(trial, virtual_tokens=VIRTUAL_TOKENS))
    stored = in_memory(model, trial.method)
    # Asked first: where a release cannot do it, its own failure is what is told.
    found = {name: _ask(trial, model, batch, image) for name, image in images.items()}
    references = {name: Seeing(base, trial.model, stored, image=one) for name, one in images.items()}
    for name, (tokens, rows) in found.items():
        plain = BareSeeing(base, trial.model, image=images[name])
        other = references[BLANK if name == PICTURE else PICTURE]
        readings = {"the adapter is not used": plain, "another image is used": other}
        expect_logits(
            trial,
            f"{trial.aspect} {name}",
            rows,
            _wanted(trial, references[name], batch, tokens),
            {what: partial(_wanted, trial, reading, batch, tokens) for what, reading in readings.items()},
        )
    _expect_seen(trial, "with the adapter", *found.values())


def _base(trial: Trial) -> Any:
    """Make the variant's base model; a twin's vision tower has a matrix of as many rows as the vocabulary."""
    own: dict[str, Any] = {}
    if trial.aspect == "twin":
        vision = FAMILIES[trial.model].options["vision_config"]
        own["vision_config"] = {**vision, "intermediate_size": PRIME_VOCABULARY}
    return make_model(trial.model, device=trial.torch_device(), trained=False, **own)


def _text(trial: Trial) -> torch.Tensor:
    """Return the ids of the question, ``(1, length)``; where an image is part of a text it stands behind ``<s>``."""
    ids = encode(QUESTION, device=trial.torch_device())
    if trial.model != "llava":
        return ids
    return torch.cat([ids[:, :1], ids.new_full((1, IMAGE_PATCHES), IMAGE_TOKEN), ids[:, 1:]], dim=1)


def _ask(trial: Trial, model: Any, batch: Batch, image: torch.Tensor) -> Answer:
    """Ask a model in the variant's way."""
    inputs = image_inputs(trial.model, batch.ids, image)
    if trial.aspect in {"cached", "uncached"}:
        said = by_generate(model, batch, new_tokens=NEW_TOKENS, use_cache=trial.aspect == "cached", **inputs)
        return said.tokens, said.scores
    if trial.aspect == "lengthened":
        mask = inputs["image_attention_mask"]
        inputs["image_attention_mask"] = torch.nn.functional.pad(mask, (0, 0, VIRTUAL_TOKENS, 0), value=1)
    rows = logits(model, length=batch.ids.shape[1], input_ids=batch.ids, attention_mask=batch.mask, **inputs)
    return rows.argmax(-1), list(rows)


def _wanted(trial: Trial, reference: ByHand, batch: Batch, tokens: torch.Tensor) -> list[torch.Tensor]:
    if trial.aspect in {"cached", "uncached"}:
        return wanted_by_generate(reference, trial.model, batch, tokens)
    return wanted_by_forward(reference, trial.model, batch)


def _need_base_alone(trial: Trial, base: Any, batch: Batch, images: dict[str, torch.Tensor]) -> None:
    """Check that the base model sees the image.

    Raises :class:`~harness.kit.outcomes.Unsupported` where it cannot do alone what is asked of it with an adapter: take
    an image beside a text, beside embeddings, and in ``generate``, and answer the same.
    """
    said: dict[str, Answer] = {}
    picture = images[PICTURE]

    def forward(*, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> Any:
        inputs = image_inputs(trial.model, input_ids, picture)
        return base(input_ids=input_ids, attention_mask=attention_mask, **inputs)

    def same() -> torch.Tensor:
        for name, image in images.items():
            rows = wanted_by_forward(BareSeeing(base, trial.model, image=image), trial.model, batch)
            said[name] = (rows[0].argmax(-1)[None], rows)
        agree = True
        if trial.method in {"prompt_tuning", "p_tuning"}:
            embedded = base.get_input_embeddings()(batch.ids).detach()
            inputs = image_inputs(trial.model, batch.ids, picture)
            rows = list(logits(base, inputs_embeds=embedded, attention_mask=batch.mask, **inputs))
            agree = apart(trial, rows, said[PICTURE][1]) <= 1.0
        if trial.aspect in {"cached", "uncached"}:
            greedy = greedy_by_forward(forward, batch.ids, batch.mask, new_tokens=NEW_TOKENS)[0]
            agree = agree and torch.equal(_ask(trial, base, batch, picture)[0], greedy)
        return torch.tensor([agree])

    base_alone_can(same, torch.tensor([True]))
    _expect_seen(trial, "by the base alone", *said.values())


def _expect_seen(trial: Trial, who: str, one: Answer, other: Answer) -> None:
    """Check that an answer with the image is another one than with zeroed pixels, in its logits and in its tokens."""
    moved = trial.evidence[f"zeroed pixels {who}"] = apart(trial, one[1], other[1])
    trial.expect(moved > CLEAR and not torch.equal(one[0], other[0]), f"zeroed pixels change nothing {who}")
