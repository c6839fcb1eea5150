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
STEPS = 150
LEARNT = 0.01
"""The loss at which training stops: every token then has more than 0.97 of the probability."""
LEARNING_RATES = {
    "prefix_tuning": 0.05,
    "prefix_tuning_projection": 0.01,
    "prompt_tuning": 0.05,
    "p_tuning": 0.01,
    "lora": 0.01,
}

VARIANTS = (
    Variants(
        axes={
            "model": ("llama", "gpt2", "qwen2", "bloom", "idefics"),
            "method": ("prefix_tuning",),
            "aspect": ("in_memory", "after_reload", "first_step_cache"),
        },
    ),
    Variants(
        axes={
            "model": ("llama", "qwen2"),
            "method": ("prefix_tuning_projection", "prompt_tuning", "p_tuning", "lora"),
            "aspect": ("in_memory", "after_reload"),
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
    """Check one aspect; the latency is that of the trained model, cached and not."""
    from harness.cell.latency import interleave
    from harness.cell.oracles import greedy_by_generate

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
    ids, mask, extra = _question(trial, device)
    _says(trial, model, device)

    def generate(*, use_cache: bool) -> torch.Tensor:
        return greedy_by_generate(model, ids, mask, new_tokens=NEW_TOKENS, use_cache=use_cache, **extra)

    _compare(trial, "generate without the cache", generate(use_cache=False))
    arms = {"cached": lambda: generate(use_cache=True), "uncached": lambda: generate(use_cache=False)}
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
    from harness.cell.counters import ForwardCounter
    from harness.cell.methods import attach
    from harness.cell.oracles import greedy_by_generate

    model = attach(_base(trial, device), trial.method, virtual_tokens=VIRTUAL_TOKENS)
    ids, mask, extra = _question(trial, device)
    with ForwardCounter(model.get_base_model()) as counter:
        greedy_by_generate(model, ids, mask, new_tokens=NEW_TOKENS, use_cache=True, **extra)
    trial.counters.update(counter.summary())
    cached = trial.counters["cache_per_call"]
    trial.expect(
        cached[0] == VIRTUAL_TOKENS,
        f"the first forward inside generate finds {cached[0]} positions in the cache, not {VIRTUAL_TOKENS}",
    )
    full = VIRTUAL_TOKENS + ids.shape[1]
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


def _question(trial: Trial, device: torch.device, text: str = QUESTION) -> tuple[torch.Tensor, torch.Tensor, Any]:
    """Give the ids and mask of a text, and the image that a vision-text family wants beside it."""
    import torch

    from harness.cell.models import image_inputs
    from harness.cell.tokens import encode

    ids = encode(text, device=device)
    return ids, torch.ones_like(ids), image_inputs(trial.model, ids)


def _taught(trial: Trial, base: Any) -> Any:
    """Train an adapter on the one sample, and give the model in evaluation mode."""
    import torch

    from harness.cell.methods import LORA, attach
    from harness.cell.tokens import decode

    device = next(base.parameters()).device
    trial.evidence["base_says"] = decode(_by_forward(trial, base, device))
    trial.expect(trial.evidence["base_says"] == "2", f"the base says {trial.evidence['base_says']!r} before training")
    options = {} if trial.method == LORA else {"virtual_tokens": VIRTUAL_TOKENS}
    model = attach(base, trial.method, **options)
    ids, mask, extra = _question(trial, device, f"{QUESTION}{ANSWER}</s>")
    labels = torch.cat([torch.full_like(ids[:, :-NEW_TOKENS], -100), ids[:, -NEW_TOKENS:]], dim=1)
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.Adam(trainable, lr=LEARNING_RATES[trial.method])
    for step in range(STEPS):
        loss = model(input_ids=ids, attention_mask=mask, labels=labels, **extra).loss
        trial.evidence.update(steps=step, loss=float(loss))
        if trial.evidence["loss"] < LEARNT:
            break
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.eval()


def _by_forward(trial: Trial, model: Any, device: torch.device) -> torch.Tensor:
    """Extend the question greedily by plain forward calls: the image's mask grows with the text."""
    import torch

    from harness.cell.models import image_inputs

    ids, _, _ = _question(trial, device)
    with torch.no_grad():
        for _ in range(NEW_TOKENS):
            logits = model(input_ids=ids, attention_mask=torch.ones_like(ids), **image_inputs(trial.model, ids)).logits
            ids = torch.cat([ids, logits[:, -1:].argmax(-1)], dim=1)
    return ids[0, -NEW_TOKENS:]


def _teacher_forced(trial: Trial, model: Any, device: torch.device) -> torch.Tensor:
    import torch

    ids, mask, extra = _question(trial, device, f"{QUESTION}{ANSWER}")
    with torch.no_grad():
        return model(input_ids=ids, attention_mask=mask, **extra).logits


def _says(trial: Trial, model: Any, device: torch.device) -> None:
    """Check the answer of the forward loop and of ``generate`` with the cache, counting its forwards."""
    from harness.cell.counters import ForwardCounter
    from harness.cell.oracles import greedy_by_generate

    _compare(trial, "the forward loop", _by_forward(trial, model, device)[None])
    ids, mask, extra = _question(trial, device)
    with ForwardCounter(model.get_base_model()) as counter:
        generated = greedy_by_generate(model, ids, mask, new_tokens=NEW_TOKENS, use_cache=True, **extra)
    trial.counters.update(counter.summary())
    _compare(trial, "generate", generated)


def _compare(trial: Trial, who: str, tokens: torch.Tensor) -> None:
    from harness.cell.tokens import EOS, decode

    said = decode(tokens[0])
    trial.evidence[who] = said
    ended = int(tokens[0, -1]) == EOS
    trial.expect(said == ANSWER and ended, f"{who} says {said!r}{'' if ended else ' without an end'}, not {ANSWER!r}")
