"""However an adapter is saved and loaded, the numbers that it had answer, and its config is what it was.

huggingface/peft#3619 (device maps without a GPU: one entry, ``auto``, a layer on the disk), #2043 (saving), #1960
(low_cpu_mem_usage). Names, subfolders, a selection of adapters, a config that is handed over, state dicts and the
automatic classes are ways of their own in PEFT. Where a layer is on the disk, ``offloaded`` loads the adapter, and
``offloaded_state_dict`` makes one there and hands it the numbers.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import peft
import torch
import transformers

from harness.kit import (
    LORA,
    ByHand,
    Stored,
    Trial,
    Variants,
    adapted,
    adapter_of,
    attach,
    bare_model,
    base_alone_can,
    by_forward,
    by_generate,
    expect_logits,
    fill,
    fresh_base,
    in_file,
    in_memory,
    logits,
    make_adapter_config,
    make_batch,
    readings,
    strengthen,
    task_inputs,
    wanted_by_forward,
    wanted_by_generate,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

DOCUMENT = None
UPSTREAM = (
    "https://github.com/huggingface/peft/issues/3619",
    "https://github.com/huggingface/peft/issues/2043",
    "https://github.com/huggingface/peft/pull/1960",
)
ORACLE = "by hand"
RING = "references"
VARIANTS = (
    Variants(
        axes={
            "model": ("gpt2", "llama"),
            "method": (
                "prompt_tuning",
                "prefix_tuning",
                "p_tuning",
                "multitask_prompt_tuning",
                "cpt",
                "cartridge",
                "lora",
            ),
            "aspect": (
                "named",
                "subfolder",
                "selected",
                "little_memory",
                "config_given",
                "automatic",
                "state_dict",
                "device_map",
                "device_map_auto",
                "offloaded",
                "offloaded_state_dict",
            ),
        },
        # LoRA's own weights lie in the layers that are on the disk: no control of what stands before them.
        without=({"method": "lora", "aspect": "offloaded"}, {"method": "lora", "aspect": "offloaded_state_dict"}),
    ),
    Variants(
        axes={
            "model": ("gpt2",),
            "method": ("prompt_tuning", "prefix_tuning", "p_tuning", "multitask_prompt_tuning", "cpt", "cartridge"),
            "aspect": ("trainable_is_refused",),
        },
    ),
    Variants(
        axes={
            "model": ("gpt2",),
            "method": ("prompt_tuning", "prefix_tuning", "p_tuning", "multitask_prompt_tuning"),
            "aspect": ("other_sizes_are_refused",),
        },
    ),
    Variants(
        axes={
            "model": ("gpt2",),
            "method": ("prompt_tuning", "prefix_tuning", "lora"),
            "aspect": ("another_process",),
        },
    ),
)
NAME = "mine"
CHANGED_BY_SAVING = {"inference_mode", "base_model_name_or_path", "peft_version"}
REFUSED = "Cannot set a prompt learning adapter to trainable when loading pretrained adapter."


def check(trial: Trial) -> None:
    """Compare what was loaded with the numbers in the file and in memory, by forward and by ``generate`` (by hand)."""
    made, before = _made(trial)
    if trial.aspect == "trainable_is_refused":
        _refused(trial, made)
        return
    if trial.aspect == "other_sizes_are_refused":
        _other_sizes(trial, made)
        return
    if trial.aspect == "another_process":
        _another_process(trial, made)
        return
    loaded, stored = _loaded(trial, made)
    batch = make_batch("alone", device=trial.torch_device())
    base = bare_model(trial.model, trial.torch_device())
    inputs = task_inputs(trial.method, batch)

    def by_forward_wanted(one: ByHand, **how: Any) -> list[torch.Tensor]:
        return wanted_by_forward(one, trial.model, batch, **how)

    wanted = by_forward_wanted(ByHand(base, trial.model, before))
    expect_logits(trial, "the file", by_forward_wanted(ByHand(base, trial.model, stored)), wanted)
    other = readings(trial, stored, batch, by_forward_wanted, base=base)
    expect_logits(trial, "loaded", by_forward(loaded, trial.model, batch, **inputs), wanted, other)
    trial.expect(
        isinstance(loaded.get_base_model(), transformers.PreTrainedModel),
        "the base model is handed out as something else",
    )
    if not trial.aspect.startswith(("device_map", "offloaded")):
        # As Accelerate marks what it moves between devices.
        moved = [name for name, module in loaded.named_modules() if hasattr(module, "_hf_hook")]
        trial.expect(not moved, "a model without a device map is given one")
    found = loaded.peft_config[loaded.active_adapter]
    trial.expect(found.inference_mode is True, "an adapter that was loaded to be used is in training")
    if trial.method != LORA:
        # LoRA's config is filled in from the layers that it meets.
        _expect_config(trial, before.facts, stored.facts, "the config in the file is not what it was")
        _expect_config(trial, before.facts, found.to_dict(), "the config is not what it was")
    said = by_generate(loaded, batch, **inputs)

    def by_generate_wanted(one: ByHand, **how: Any) -> list[torch.Tensor]:
        return wanted_by_generate(one, trial.model, batch, said.tokens, **how)

    other = readings(trial, stored, batch, by_generate_wanted, base=base)
    expect_logits(trial, "generate", said.scores, by_generate_wanted(ByHand(base, trial.model, before)), other)


def _made(trial: Trial) -> tuple[Any, Stored]:
    """Make the adapter that is saved, and read its numbers from memory."""
    match trial.aspect:
        case "named" | "subfolder":
            config = make_adapter_config(trial.method, **adapter_of(trial))
            model = peft.get_peft_model(fresh_base(trial), config, adapter_name=NAME)
            strengthen(model, trial.method)
            return model.eval(), in_memory(model, trial.method, NAME)
        case "selected":
            model = adapted(trial)
            model.add_adapter(NAME, make_adapter_config(trial.method, **adapter_of(trial, virtual_tokens=6)))
            std = 0.3 if trial.method == LORA else 0.8
            prompt = (".lora_", "prompt_encoder")
            fill(
                model, seed=11, std=std, only=lambda name: f".{NAME}." in name and any(part in name for part in prompt)
            )
            return model, in_memory(model, trial.method, NAME)
        case "automatic":
            fresh_base(trial).save_pretrained(trial.scratch / "base")
            base = transformers.AutoModelForCausalLM.from_pretrained(trial.scratch / "base")
            model = attach(base.to(trial.torch_device()), trial.method, **adapter_of(trial))
            # What is added later has to name its base as well.
            model.add_adapter(NAME, make_adapter_config(trial.method, **adapter_of(trial)))
            return model, in_memory(model, trial.method)
        case _:
            model = adapted(trial)
            return model, in_memory(model, trial.method)


def _loaded(trial: Trial, made: Any) -> tuple[Any, Stored]:  # noqa: PLR0911 - a way each
    """Save and load in the variant's way; return the model and what the file has."""
    folder = Path(trial.scratch) / "adapter"
    if trial.aspect.endswith("state_dict"):
        return _by_state_dict(trial, made)
    made.save_pretrained(folder, **({"selected_adapters": [NAME]} if trial.aspect == "selected" else {}))
    own = folder / NAME if trial.aspect in {"named", "subfolder", "selected"} else folder
    stored = in_file(own, trial.method)
    load = peft.PeftModel.from_pretrained
    match trial.aspect:
        case "named":
            return load(fresh_base(trial), str(own), adapter_name="again"), stored
        case "subfolder":
            return load(fresh_base(trial), str(folder), subfolder=NAME), stored
        case "selected":
            unasked = (folder / "adapter_model.safetensors").exists()
            trial.expect(not unasked, "an adapter is saved that was not selected")
            return load(fresh_base(trial), str(own)), stored
        case "little_memory":
            return load(fresh_base(trial), str(folder), low_cpu_mem_usage=True), stored
        case "config_given":
            config = peft.PeftConfig.from_pretrained(str(folder))
            return load(fresh_base(trial), str(folder), config=config), stored
        case "automatic":
            for one in (stored, in_file(folder / NAME, trial.method)):
                named = one.facts["base_model_name_or_path"]
                trial.expect(named == str(trial.scratch / "base"), "the file names another base")
            model = peft.AutoPeftModelForCausalLM.from_pretrained(str(folder))
            return model.to(trial.torch_device()), stored
        case "offloaded":
            return load(_placed(trial), str(folder), offload_folder=str(trial.scratch / "offload")), stored
        case _:
            return load(_placed(trial), str(folder)), stored


def _placed(trial: Trial) -> Any:
    """Load the base model under the variant's device map.

    Raises :class:`Unsupported` where the base alone cannot do this, or answers otherwise there.
    """
    whole = fresh_base(trial)
    whole.save_pretrained(trial.scratch / "base")
    device = str(trial.torch_device())
    options: dict[str, Any] = {"device_map": "auto" if trial.aspect == "device_map_auto" else {"": device}}
    if trial.aspect.startswith("offloaded"):
        options = {"device_map": dict(_places(whole, device)), "offload_folder": str(trial.scratch / "offload")}
    ids = make_batch("alone", device=trial.torch_device()).ids

    def placed() -> Any:
        return transformers.AutoModelForCausalLM.from_pretrained(trial.scratch / "base", **options).eval()

    base_alone_can(lambda: logits(placed(), input_ids=ids).argmax(-1), logits(whole, input_ids=ids).argmax(-1))
    base = placed()
    trial.evidence["device map"] = {name: str(where) for name, where in getattr(base, "hf_device_map", {}).items()}
    return base


def _places(module: Any, device: str, path: str = "") -> Iterator[tuple[str, str]]:
    """Put the last of each stack of layers on the disk and all else on ``device``, by the names of modules."""
    for name, child in module.named_children():
        if isinstance(child, torch.nn.ModuleList):
            last = len(child) - 1
            yield from ((f"{path}{name}.{index}", "disk" if index == last else device) for index in range(len(child)))
        elif any(isinstance(part, torch.nn.ModuleList) for part in child.modules()):
            yield from _places(child, device, f"{path}{name}.")
        else:
            yield f"{path}{name}", device


def _by_state_dict(trial: Trial, made: Any) -> tuple[Any, Stored]:
    """Hand the numbers over as a state dict: what Accelerate and trainers do that save on their own."""
    numbers = peft.get_peft_model_state_dict(made)
    facts = made.peft_config["default"].to_dict()
    # A prompt that is made by a network is handed over as what the network gives: the model that takes it is in use.
    config = make_adapter_config(trial.method, **adapter_of(trial), inference_mode=True)
    base = fresh_base(trial) if trial.aspect == "state_dict" else _placed(trial)
    model = peft.get_peft_model(base, config).eval()
    peft.set_peft_model_state_dict(model, numbers)
    return model, Stored(method=trial.method, tensors=numbers, facts=facts)


def _expect_config(trial: Trial, before: Mapping[str, Any], after: Mapping[str, Any], otherwise: str) -> None:
    """Check that a config has the value that each key had in memory when it was saved."""

    def plain(facts: Mapping[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(json.dumps(dict(facts), default=sorted))
        return found

    facts, read = plain(before), plain(after)
    changed = [key for key in facts if key not in CHANGED_BY_SAVING and read.get(key) != facts[key]]
    trial.evidence["changed"] = changed
    trial.expect(not changed, otherwise)


def _other_sizes(trial: Trial, made: Any) -> None:
    """A file whose numbers are of other sizes than its config says is refused, with both sizes."""
    folder, wrong = Path(trial.scratch) / "right", Path(trial.scratch) / "wrong"
    for one in (folder, wrong):
        made.save_pretrained(one)
    config = json.loads((wrong / "adapter_config.json").read_text(encoding="utf-8"))
    config["num_virtual_tokens"] += 1
    (wrong / "adapter_config.json").write_text(json.dumps(config), encoding="utf-8")
    loaded = peft.PeftModel.from_pretrained(fresh_base(trial), str(folder))
    calls: dict[str, Callable[[], object]] = {
        "from_pretrained": lambda: peft.PeftModel.from_pretrained(fresh_base(trial), str(wrong)),
        "load_adapter": lambda: loaded.load_adapter(str(wrong), "again"),
    }
    for what, call in calls.items():
        try:
            call()
        except RuntimeError as error:
            trial.evidence[what] = str(error)
            sizes = (config["num_virtual_tokens"] - 1, config["num_virtual_tokens"])
            trial.expect(all(str(size) in str(error) for size in sizes), f"{what} refuses, and names no sizes")
        else:
            trial.expect(False, f"{what} loads numbers of other sizes than the config's")  # noqa: FBT003


def _another_process(trial: Trial, made: Any) -> None:
    """The main process alone writes: config, numbers and a card; another one writes nothing."""
    folder, other = Path(trial.scratch) / "main", Path(trial.scratch) / "other"
    made.save_pretrained(folder)
    made.save_pretrained(other, is_main_process=False)
    written = {name: sorted(one.stem for one in path.glob("*")) for name, path in (("main", folder), ("other", other))}
    trial.evidence.update(written)
    trial.expect(not written["other"], "a process that is not the main one writes files")
    trial.expect(
        written["main"] == ["README", "adapter_config", "adapter_model"],
        "the main process writes other files than the config, the numbers and the card",
    )


def _refused(trial: Trial, made: Any) -> None:
    """What a file has of a prompt cannot be trained on, and PEFT says so, whichever call asks for it."""
    made.save_pretrained(trial.scratch)
    loaded = peft.PeftModel.from_pretrained(fresh_base(trial), str(trial.scratch))
    folder, wish = str(trial.scratch), {"is_trainable": True}
    calls: dict[str, Callable[[], object]] = {
        "from_pretrained": lambda: peft.PeftModel.from_pretrained(fresh_base(trial), folder, **wish),
        "load_adapter": lambda: loaded.load_adapter(folder, "again", **wish),
    }
    for what, call in calls.items():
        try:
            call()
        except (TypeError, ValueError) as error:
            trial.evidence[what] = str(error)
            trial.expect(str(error) == REFUSED, f"{what} refuses for another reason")
        else:
            trial.expect(False, f"{what} does not refuse to train what was loaded")  # noqa: FBT003
