"""What training teaches (``1+1=`` -> ``11``, where the base says ``2``) survives save, load and ``generate``.

Document 001; huggingface/peft#2134 and huggingface/transformers#33852. ``in_memory`` asks it of the
model that was trained, ``after_reload`` of its adapter on a fresh base. ``first_step_cache`` looks
at the cache that the first forward inside ``generate`` is handed, ``two_devices`` asks for a base
whose layers lie on two devices.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness.interface import Claim, Expectation, Variants

if TYPE_CHECKING:
    import torch

    from harness.cell.trial import Trial

DOCUMENT = "001"
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

CLAIMS = ()

EXPECTATIONS: tuple[Expectation, ...] = ()


def check(trial: Trial, benchmark: Any) -> None:
    """Check one aspect; what is timed is the trained model's ``generate`` and the forward loop."""
    device = trial.torch_device()
    if trial.aspect == "first_step_cache":
        _first_step_cache(trial, device)
        return
    if trial.aspect == "two_devices":
        _two_devices(trial)
        return
    model = _taught(trial, _base(trial, device))
    if trial.aspect == "after_reload":
        _after_reload(trial, model, device)
        return
    _says(trial, model, device, use_cache=trial.aspect != "uncached")
    if trial.aspect == "in_memory":
        from harness.cell.latency import interleave

        # Not against use_cache=False: in some releases that breaks where the cache works.
        arms = {
            "cached": lambda: _by_generate(trial, model, device),
            "forward_loop": lambda: _by_forward(trial, model, device),
        }
        trial.latency.update(interleave(benchmark, arms, device=device))


def _after_reload(trial: Trial, trained: Any, device: torch.device) -> None:
    """Check an adapter that was saved and put on a fresh base against the one in memory."""
    import peft

    before = _teacher_forced(trial, trained, device)
    trained.save_pretrained(trial.scratch)
    model = peft.PeftModel.from_pretrained(_base(trial, device), str(trial.scratch)).eval()
    after = _teacher_forced(trial, model, device)
    difference = float((before - after).abs().max())
    trial.evidence["logits_differ_by"] = difference
    # A projection or p-tuning's network is folded into the saved prompt: another order of sums.
    trial.expect(difference < 1e-3, f"after the reload logits differ by {difference:.4f}")  # noqa: PLR2004
    _says(trial, model, device)


def _first_step_cache(trial: Trial, device: torch.device) -> None:
    """Check what is in the cache at each forward inside ``generate``; an untrained prompt will do."""
    from harness.cell.methods import attach

    model = attach(_base(trial, device), trial.method, virtual_tokens=VIRTUAL_TOKENS)
    _by_generate(trial, model, device)
    cached = trial.counters["cache_per_call"]
    trial.expect(
        cached[0] == VIRTUAL_TOKENS,
        f"the first forward inside generate finds {cached[0]} positions in the cache, not {VIRTUAL_TOKENS}",
    )
    full = VIRTUAL_TOKENS + trial.counters["tokens_per_call"][0]
    trial.expect(cached == [VIRTUAL_TOKENS, full, full + 1], f"the cache grows otherwise than it is fed: {cached}")


def _two_devices(trial: Trial) -> None:
    """Check the round trip with the second half of the layers on a second device."""
    import accelerate
    import torch

    from harness.cell.outcomes import NoDevice

    if torch.cuda.device_count() < 2:  # noqa: PLR2004
        message = f"needs two CUDA devices, torch sees {torch.cuda.device_count()}"
        raise NoDevice(message)
    first = torch.device("cuda:0")
    base = _base(trial, first)
    model = _taught(trial, accelerate.dispatch_model(base, dict(_halves(base)), force_hooks=True))
    _says(trial, model, first)


def _halves(module: Any, path: str = "") -> Any:
    """Yield ``(name, device index)`` for the parts of a model: the second half of each stack to device 1."""
    from torch.nn import ModuleList

    for name, child in module.named_children():
        if isinstance(child, ModuleList):
            for index in range(len(child)):
                yield f"{path}{name}.{index}", int(index >= len(child) / 2)
        elif any(isinstance(part, ModuleList) for part in child.modules()):
            yield from _halves(child, f"{path}{name}.")
        else:
            yield f"{path}{name}", 0


def _base(trial: Trial, device: torch.device) -> Any:
    from harness.cell.models import make_model

    return make_model(trial.model, device=device)


def _inputs(trial: Trial, text: str, device: torch.device) -> dict[str, torch.Tensor]:
    """Give the ids of a text, and the image that a vision-text family wants beside it.

    There is no mask: one row without padding needs none, and Idefics before transformers 4.47
    cannot take a mask together with a cache.
    """
    from harness.cell.models import image_inputs
    from harness.cell.tokens import encode

    ids = encode(text, device=device)
    return {"input_ids": ids, **image_inputs(trial.model, ids)}


def _taught(trial: Trial, base: Any) -> Any:
    """Train an adapter on the one sample, which has to be news to the base."""
    from harness.cell.methods import LORA, teach
    from harness.cell.tokens import decode

    device = next(base.parameters()).device
    trial.evidence["base_says"] = decode(_by_forward(trial, base, device)[0])
    trial.expect(trial.evidence["base_says"] == "2", f"the base says {trial.evidence['base_says']!r} before training")
    # Named, because early releases of PEFT have no default for every family.
    options = {"target_modules": ["q_proj", "v_proj"]} if trial.method == LORA else {"virtual_tokens": VIRTUAL_TOKENS}
    sample = _inputs(trial, f"{QUESTION}{ANSWER}</s>", device)
    model, log = teach(base, trial.method, sample, answer=NEW_TOKENS, **options)
    trial.evidence.update(log)
    return model


def _by_forward(trial: Trial, model: Any, device: torch.device) -> torch.Tensor:
    """Extend the question greedily by plain forward calls: neither ``generate`` nor a cache."""
    import torch

    from harness.cell.models import image_inputs

    ids = _inputs(trial, QUESTION, device)["input_ids"]
    with torch.no_grad():
        for _ in range(NEW_TOKENS):
            logits = model(input_ids=ids, **image_inputs(trial.model, ids)).logits
            ids = torch.cat([ids, logits[:, -1:].argmax(-1)], dim=1)
    return ids[:, -NEW_TOKENS:]


def _by_generate(trial: Trial, model: Any, device: torch.device, *, use_cache: bool = True) -> torch.Tensor:
    """Answer the question with ``generate`` and the mask of a tokenizer, counting what the model is fed."""
    import torch

    from harness.cell.counters import ForwardCounter
    from harness.cell.oracles import greedy_by_generate

    inputs = _inputs(trial, QUESTION, device)
    mask = torch.ones_like(inputs["input_ids"])
    with ForwardCounter(model.get_base_model()) as counter:
        try:
            return greedy_by_generate(model, attention_mask=mask, new_tokens=NEW_TOKENS, use_cache=use_cache, **inputs)
        finally:
            trial.counters.update(counter.summary())


def _teacher_forced(trial: Trial, model: Any, device: torch.device) -> torch.Tensor:
    import torch

    with torch.no_grad():
        return model(**_inputs(trial, f"{QUESTION}{ANSWER}", device)).logits


def _says(trial: Trial, model: Any, device: torch.device, *, use_cache: bool = True) -> None:
    """Check the answer of the forward loop, then that of ``generate``."""
    _compare(trial, "the forward loop", _by_forward(trial, model, device))
    _compare(trial, f"generate(use_cache={use_cache})", _by_generate(trial, model, device, use_cache=use_cache))


def _compare(trial: Trial, who: str, tokens: torch.Tensor) -> None:
    from harness.cell.tokens import EOS, decode

    said = decode(tokens[0])
    trial.evidence[who] = said
    ended = int(tokens[0, -1]) == EOS
    trial.expect(said == ANSWER and ended, f"{who} says {said!r}{'' if ended else ' without an end'}, not {ANSWER!r}")
