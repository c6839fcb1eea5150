"""A prefix that was made from a text is that text: the model answers as if the text stood before the question.

peft #2953: cartridges, and prefixes that begin as the cache of a text. The reference is the base model alone, which
reads the text and the question in one forward; a composed cartridge is its parts, one behind the other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import peft
import torch

from harness.kit import (
    INIT_TEXT,
    ByHand,
    Stored,
    Trial,
    Unsupported,
    Variants,
    adapted,
    adapter_of,
    bare_model,
    by_forward,
    by_generate,
    encode,
    expect_logits,
    far,
    fresh_base,
    in_file,
    in_memory,
    make_adapter_config,
    make_batch,
    make_tokenizer,
    wanted_by_forward,
)

if TYPE_CHECKING:
    from pathlib import Path

DOCUMENT = None
UPSTREAM = ("https://github.com/huggingface/peft/pull/2953",)
ORACLE = "by hand"
RING = "references"
VARIANTS = (
    Variants(
        axes={
            "model": ("llama", "gpt2", "bloom"),
            "method": ("prefix_tuning", "cartridge"),
            "aspect": ("text", "chat", "cache", "second"),
        },
    ),
    Variants(axes={"model": ("llama", "gpt2"), "method": ("cartridge",), "aspect": ("composed",)}),
)
LENGTH = 20
TEMPLATE = "{% for message in messages %}{{ bos_token }}{{ message['role'] }}: {{ message['content'] }}{% endfor %}"


def check(trial: Trial) -> None:
    """Compare with the base model's logits behind the text itself, or with the numbers of both parts (by hand)."""
    if not hasattr(peft, "initialize_kv_prefix_from_text"):
        text = "this peft cannot make a prefix from a text"
        raise Unsupported(text)
    if trial.aspect == "composed":
        _composed(trial)
        return
    torch.manual_seed(1)
    config = make_adapter_config(trial.method, **adapter_of(trial, virtual_tokens=LENGTH))
    model = peft.get_peft_model(fresh_base(trial), config).eval()
    base, batch = bare_model(trial.model, trial.torch_device()), make_batch("alone", device=trial.torch_device())
    name = _begin(trial, model, base)
    model.set_adapter(name)
    (row,) = batch.rows
    before = _text(trial)[:, :LENGTH]
    with torch.no_grad():
        wanted = base(input_ids=torch.cat([before, row], dim=1)).logits[0, LENGTH:].float()
        alone = base(input_ids=row).logits[0].float()
    trial.expect(far(wanted, alone) > 0.1, "the text changes nothing")
    expect_logits(trial, "forward", by_forward(model, trial.model, batch), [wanted])
    said = by_generate(model, batch)
    both = torch.cat([before, row, said.tokens[:, :-1]], dim=1)
    with torch.no_grad():
        steps = base(input_ids=both).logits[0, -said.tokens.shape[1] :].float()
    expect_logits(trial, "generate", said.scores, [steps])


def _text(trial: Trial) -> torch.Tensor:
    """Name the ids of the text, longer than the prefix, as the aspect's tokenizer reads it."""
    if trial.aspect == "chat":
        return encode(f"system: {INIT_TEXT}", device=trial.torch_device())
    return encode(INIT_TEXT, device=trial.torch_device())[:, 1:]


def _begin(trial: Trial, model: Any, base: Any) -> str:
    """Make the prefix from the text, and return the name of its adapter."""
    tokenizer = make_tokenizer()
    match trial.aspect:
        case "text":
            peft.initialize_kv_prefix_from_text(model, tokenizer, text=INIT_TEXT)
        case "chat":
            tokenizer.chat_template = TEMPLATE
            peft.initialize_kv_prefix_from_text(model, tokenizer, text=INIT_TEXT)
        case "cache":
            with torch.no_grad():
                cache = base(input_ids=_text(trial), use_cache=True).past_key_values
            peft.initialize_kv_prefix_from_past_key_values(model, past_key_values=cache)
        case _:
            # Into the adapter that is named, which is not the one in use: that one stays as it was drawn.
            model.add_adapter("other", make_adapter_config(trial.method, **adapter_of(trial, virtual_tokens=LENGTH)))
            before = in_memory(model, trial.method).tensors
            tokenizer.chat_template = TEMPLATE  # not asked for
            peft.initialize_kv_prefix_from_text(
                model, tokenizer, text=INIT_TEXT, adapter_name="other", use_chat_template=False
            )
            after = in_memory(model, trial.method).tensors
            same = all(torch.equal(before[name], after[name]) for name in before)
            trial.expect(same, "another adapter is overwritten than the one that is named")
            return "other"
    return "default"


def _composed(trial: Trial) -> None:
    """Compose two cartridges of unequal lengths: the file has the first one's rows, and the second one's behind."""
    # Where it was at first; later releases may offer it elsewhere, which is then an error of the variant.
    from peft.tuners.cartridge.utils import compose_cartridge_adapters

    base, batch = bare_model(trial.model, trial.torch_device()), make_batch("alone", device=trial.torch_device())

    def answers(what: str, folder: Path, stored: Stored) -> None:
        loaded = peft.PeftModel.from_pretrained(fresh_base(trial), str(folder)).eval()
        by_hand = wanted_by_forward(ByHand(base, trial.model, stored), trial.model, batch)
        expect_logits(trial, what, by_forward(loaded, trial.model, batch), by_hand)

    parts = []
    # What is frozen of the second one is frozen no longer.
    for place, (length, frozen) in enumerate(((6, 2), (9, 1))):
        folder = trial.scratch / str(place)
        adapted(trial, virtual_tokens=length, seed=7 + place, num_frozen_tokens=frozen).save_pretrained(folder)
        parts.append(in_file(folder, trial.method))
        answers(f"part {place}", folder, parts[-1])
    compose_cartridge_adapters([trial.scratch / "0", trial.scratch / "1"], output_path=trial.scratch / "both")
    stored = in_file(trial.scratch / "both", trial.method)
    wanted = torch.cat([one.tensors["prompt_embeddings"] for one in parts])
    trial.expect(torch.equal(stored.tensors["prompt_embeddings"], wanted), "the parts do not follow one another")
    facts = {name: stored.facts[name] for name in ("num_virtual_tokens", "num_frozen_tokens")}
    trial.evidence.update(facts)
    trial.expect(facts == {"num_virtual_tokens": 15, "num_frozen_tokens": 2}, "the config counts other tokens")
    answers("both", trial.scratch / "both", stored)
