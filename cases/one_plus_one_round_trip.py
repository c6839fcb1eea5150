"""What training teaches (``1+1=`` -> ``11``, where the base says ``2``) survives save, load and ``generate``.

Document 001; huggingface/peft#2134 and huggingface/transformers#33852. ``in_memory`` asks it of the
model that was trained, ``after_reload`` of its adapter on a fresh base. ``first_step_cache`` looks
at the cache that the first forward inside ``generate`` is handed, ``two_devices`` asks for a base
whose layers lie on two devices.
"""

from __future__ import annotations

from typing import Any

import peft
import torch

from harness.kit import (
    EOS,
    LORA,
    NoDevice,
    Trial,
    Variants,
    attach,
    count_operators,
    counted,
    decode,
    encode,
    generating_arms,
    greedy_by_forward,
    greedy_by_generate,
    image_inputs,
    interleave,
    made_once,
    make_model,
    teach,
)

DOCUMENT = "001"
UPSTREAM = (
    "https://github.com/huggingface/peft/issues/2134",
    "https://github.com/huggingface/transformers/issues/33852",
)
ORACLE = "round trip"
QUESTION = "1+1="
ANSWER = "11"
VIRTUAL_TOKENS = 10
NEW_TOKENS = 3
"""``1``, ``1`` and ``</s>``: an answer that never ends is not the one that was taught."""
VARIANTS = (
    Variants(
        axes={
            "model": ("llama", "gpt2", "qwen2", "bloom", "idefics"),
            "method": ("prefix_tuning",),
            "aspect": ("in_memory", "uncached", "after_reload", "first_step_cache"),
        },
        # The image mask of a second uncached step is too short for transformers itself before 4.47.
        without=({"model": "idefics", "aspect": "uncached"},),
    ),
    Variants(
        axes={
            "model": ("llama", "qwen2"),
            "method": ("prefix_tuning_projection", "prompt_tuning", "p_tuning", "lora"),
            "aspect": ("in_memory", "uncached", "after_reload"),
        },
    ),
    Variants(
        axes={"model": ("llama", "qwen2"), "method": ("prefix_tuning_projection",), "aspect": ("first_step_cache",)},
    ),
    Variants(
        axes={"model": ("llama", "qwen2"), "method": ("prefix_tuning",), "aspect": ("two_devices",)},
    ),
)


def check(trial: Trial, benchmark: Any) -> None:
    """Check one aspect; what is timed is the taught model's ``generate``, with the cache and without."""
    device = trial.torch_device()
    base = _base(trial, device)
    if trial.aspect == "first_step_cache":
        _first_step_cache(trial, base)
        return
    if trial.aspect == "two_devices":
        model, log = _taught(trial, _spread(base))
    else:
        model, log = made_once(lambda: _taught(trial, base), trial.model, trial.method, str(device))
    trial.evidence.update(log)
    if trial.aspect == "after_reload":
        model = _reloaded(trial, model, _base(trial, device))
    use_cache = trial.aspect != "uncached"
    _compare(trial, "the forward loop", _by_forward(trial, model))
    with counted(trial, model, use_cache=use_cache):
        generated = _by_generate(trial, model, use_cache=use_cache)
    _compare(trial, f"generate(use_cache={use_cache})", generated)
    if trial.aspect == "in_memory" and trial.timed:
        inputs = _inputs(trial, model, QUESTION)
        ids = inputs.pop("input_ids")
        arms = generating_arms(model, ids, ids.new_ones(ids.shape), new_tokens=NEW_TOKENS, **inputs)
        trial.counters.update(count_operators(arms["cached"]))
        trial.latency.update(
            interleave(benchmark, arms, model=model.get_base_model(), device=device, timing=trial.timing)
        )


def _first_step_cache(trial: Trial, base: Any) -> None:
    """Check what is in the cache at each forward inside ``generate``; an untrained prompt will do."""
    model = attach(base, trial.method, virtual_tokens=VIRTUAL_TOKENS)
    try:
        with counted(trial, model, use_cache=True):
            _by_generate(trial, model)
    finally:
        # What the first forward was handed is known even when that forward fails.
        cached = trial.counters["cache_per_call"] or [None]
        trial.expect(
            cached[0] == VIRTUAL_TOKENS,
            f"the first forward inside generate finds {cached[0]} positions in the cache, not {VIRTUAL_TOKENS}",
        )
    full = VIRTUAL_TOKENS + trial.counters["tokens_per_call"][0]
    trial.expect(cached == [VIRTUAL_TOKENS, full, full + 1], f"the cache grows otherwise than it is fed: {cached}")


def _base(trial: Trial, device: torch.device) -> Any:

    return make_model(trial.model, device=device)


def _spread(base: Any) -> Any:
    """Put the second half of each stack of layers on a second device."""
    # Few environments need it, and not all have it.
    import accelerate

    if torch.cuda.device_count() < 2:
        message = f"needs two CUDA devices, torch sees {torch.cuda.device_count()}"
        raise NoDevice(message)

    def places(module: Any, path: str = "") -> Any:
        for name, child in module.named_children():
            if isinstance(child, torch.nn.ModuleList):
                yield from ((f"{path}{name}.{index}", int(index >= len(child) / 2)) for index in range(len(child)))
            elif any(isinstance(part, torch.nn.ModuleList) for part in child.modules()):
                yield from places(child, f"{path}{name}.")
            else:
                yield f"{path}{name}", 0

    return accelerate.dispatch_model(base, dict(places(base)), force_hooks=True)


def _taught(trial: Trial, base: Any) -> tuple[Any, dict[str, Any]]:
    """Train an adapter on the one sample, which has to be news to the base; return the model and a log."""
    said = decode(_by_forward(trial, base)[0])
    trial.expect(said == "2", f"the base says {said!r} before training")
    # Named, because early releases of PEFT have no default for every family.
    options: dict[str, Any] = {"target_modules": ["q_proj", "v_proj"]} if trial.method == LORA else {}
    sample = _inputs(trial, base, f"{QUESTION}{ANSWER}</s>")
    return teach(base, trial.method, sample, answer=NEW_TOKENS, virtual_tokens=VIRTUAL_TOKENS, **options)


def _reloaded(trial: Trial, trained: Any, base: Any) -> Any:
    """Save an adapter, put it on a fresh base and check its logits against those in memory."""
    trained.save_pretrained(trial.scratch)
    model = peft.PeftModel.from_pretrained(base, str(trial.scratch)).eval()
    inputs = _inputs(trial, base, f"{QUESTION}{ANSWER}")
    with torch.no_grad():
        difference = float((trained(**inputs).logits - model(**inputs).logits).abs().max())
    trial.evidence["logits_differ_by"] = difference
    # A projection or p-tuning's network is folded into the saved prompt: another order of sums.
    trial.expect(difference < 1e-3, f"after the reload logits differ by {difference:.4f}")
    return model


def _inputs(trial: Trial, model: Any, text: str) -> dict[str, torch.Tensor]:
    """Return the ids of a text, and the image that a vision-text family wants beside it."""
    ids = encode(text, device=next(model.parameters()).device)
    return {"input_ids": ids, **image_inputs(trial.model, ids)}


def _by_forward(trial: Trial, model: Any) -> torch.Tensor:
    """Answer the question by plain forward calls, without a mask.

    One row without padding needs none, and Idefics before transformers 4.47 cannot take a mask
    together with a cache.
    """

    def forward(*, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> Any:  # noqa: ARG001
        return model(input_ids=input_ids, **image_inputs(trial.model, input_ids))

    ids = _inputs(trial, model, QUESTION)["input_ids"]
    return greedy_by_forward(forward, ids, ids, new_tokens=NEW_TOKENS)[0]


def _by_generate(trial: Trial, model: Any, *, use_cache: bool = True) -> torch.Tensor:
    """Answer the question with ``generate`` as users call it, with the mask of a tokenizer."""
    inputs = _inputs(trial, model, QUESTION)
    mask = torch.ones_like(inputs["input_ids"])
    return greedy_by_generate(model, attention_mask=mask, new_tokens=NEW_TOKENS, use_cache=use_cache, **inputs)


def _compare(trial: Trial, who: str, tokens: torch.Tensor) -> None:

    said = decode(tokens[0])
    trial.evidence[who] = said
    ended = int(tokens[0, -1]) == EOS
    trial.expect(said == ANSWER and ended, f"{who} says {said!r}{'' if ended else ' without an end'}, not {ANSWER!r}")
