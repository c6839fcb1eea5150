"""A forward leaves what its caller hands over as it was, and hands back what it is asked for.

huggingface/peft#2168 (CPT's types). Whoever asks twice with the same tensors is answered twice alike. Hidden states and
plain tuples are asked for by trainers, and by who looks into a model. The reference is by hand, from memory.
"""

from __future__ import annotations

from typing import Any

import torch
import transformers

from harness.kit import (
    ByHand,
    Trial,
    Variants,
    adapted,
    bare_model,
    by_generate,
    encode,
    expect_logits,
    in_memory,
    make_batch,
    start_of,
    task_inputs,
)

DOCUMENT = None
UPSTREAM = ("https://github.com/huggingface/peft/pull/2168",)
ORACLE = "by hand"
RING = "references"
METHODS = ("prompt_tuning", "prefix_tuning", "p_tuning", "lora")
METHODS_OF_DECODERS = (
    "prompt_tuning",
    "prefix_tuning",
    "p_tuning",
    "lora",
    "multitask_prompt_tuning",
    "cpt",
    "cartridge",
)
VARIANTS = (
    Variants(
        axes={
            "model": ("gpt2", "llama"),
            "method": METHODS_OF_DECODERS,
            "aspect": ("unchanged", "unchanged_by_generate", "hidden_states", "tuple", "generation_config"),
        },
    ),
    Variants(
        axes={"model": ("bert", "t5"), "method": METHODS, "aspect": ("unchanged", "hidden_states", "tuple")},
    ),
)


def check(trial: Trial) -> None:
    """Compare the inputs with copies of them, and what comes back with the numbers by hand (by hand)."""
    model = adapted(trial)
    base, batch = bare_model(trial.model, trial.torch_device()), make_batch("right", device=trial.torch_device())
    inputs: dict[str, Any] = {
        "input_ids": batch.ids,
        "attention_mask": batch.mask,
        **task_inputs(trial.method, batch),
    }
    before = {name: one.clone() for name, one in inputs.items()}
    if trial.aspect == "unchanged_by_generate":
        one = make_batch("alone", device=trial.torch_device())
        given = task_inputs(trial.method, one)
        ids, mask = one.ids.clone(), one.mask.clone()
        by_generate(model, one, **given)
        trial.expect(torch.equal(ids, one.ids) and torch.equal(mask, one.mask), "generate changes what it was given")
        return
    if trial.aspect == "generation_config":
        _generation_config(trial, model)
        return
    more: dict[str, Any] = {}
    if trial.model in {"gpt2", "llama"} and trial.aspect == "unchanged":
        inputs["position_ids"] = batch.positions()
        inputs["labels"] = batch.ids.clone()
        if trial.method == "cpt":
            inputs["input_type_mask"] = torch.full_like(batch.ids, 4)
        before = {name: one.clone() for name, one in inputs.items()}
    answer = None
    if trial.model == "t5":
        answer = encode("16 is 8", device=trial.torch_device())
        answer[0, 0] = start_of(base)
        inputs["decoder_input_ids"] = answer.expand(len(batch.rows), -1)
    if trial.aspect == "hidden_states":
        more["output_hidden_states"] = True
    if trial.aspect == "tuple":
        more["return_dict"] = False
    by_hand = ByHand(base, trial.model, in_memory(model, trial.method))
    wanted = [
        by_hand.logits(row, task=int(task), answer=answer) for row, task in zip(batch.rows, batch.tasks, strict=True)
    ]
    for time in range(2):
        with torch.no_grad():
            output = model(**inputs, **more)
        found = _answer(trial, model, output, before=inputs)
        rows = list(found) if answer is not None else _of_texts(found, batch)
        expect_logits(trial, f"call {time}", rows, wanted)
    changed = [name for name, one in before.items() if not torch.equal(one, inputs[name])]
    trial.evidence["changed"] = changed
    trial.expect(not changed, "forward changes what it was given")


def _generation_config(trial: Trial, model: Any) -> None:
    """``generate`` goes by what is set as the model's generation config: three tokens are asked for, and come."""
    batch = make_batch("alone", device=trial.torch_device())
    given = task_inputs(trial.method, batch)
    wanted = by_generate(model, batch, **given).tokens[:, :3]
    model.generation_config = transformers.GenerationConfig(max_new_tokens=3, do_sample=False, pad_token_id=0)
    with torch.no_grad():
        said = model.generate(input_ids=batch.ids, attention_mask=batch.mask, **given)
    # Some releases leave the text out where PEFT hands over embeddings.
    new = said.shape[1] - batch.ids.shape[1] if said.shape[1] > batch.ids.shape[1] else said.shape[1]
    trial.evidence.update(new_tokens=new, said=said[:, -new:].tolist(), wanted=wanted.tolist())
    trial.expect(new == wanted.shape[1], "generate goes by another generation config than the model's")
    trial.expect(torch.equal(said[:, -new:], wanted), "generate says otherwise by the model's generation config")


def _of_texts(found: torch.Tensor, batch: Any) -> list[torch.Tensor]:
    """Take each text's places; what stands before the texts belongs to the prompt."""
    found = found[:, -batch.ids.shape[1] :]
    return [one[place] for one, place in zip(found, batch.places, strict=True)]


def _answer(trial: Trial, model: Any, output: Any, *, before: dict[str, Any]) -> torch.Tensor:
    """Take logits, or an encoder's states, from what a forward hands back, as the aspect asks for it."""
    if trial.aspect == "tuple":
        trial.expect(isinstance(output, tuple), "a plain tuple was asked for")
        return output[1 if "labels" in before else 0].float()
    if trial.aspect == "hidden_states":
        states = output.decoder_hidden_states if trial.model == "t5" else output.hidden_states
        trial.expect(states is not None, "no hidden states come back")
        trial.expect(len(states) == 1 + model.get_base_model().config.num_hidden_layers, "layers are missing")
        if trial.model == "bert":
            return states[-1].float()
        if trial.model in {"gpt2", "llama"}:
            with torch.no_grad():
                return model.get_base_model().lm_head(states[-1]).float()
    return (output.last_hidden_state if trial.model == "bert" else output.logits).float()
