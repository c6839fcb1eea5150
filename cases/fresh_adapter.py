"""A fresh adapter is what its config asks for: a text's embeddings, words of the vocabulary, another task's prompt.

huggingface/peft#1053, #1333 and #1519 (text), #1144 (multitask from source tasks), #3128 (a prefix of zeros). Every
other case overwrites the initial numbers. The reference is the base model's own table, read by the ids of the text.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import peft
import torch

from harness.kit import (
    INIT_TEXT,
    TASKS,
    Trial,
    Unsupported,
    Variants,
    adapted,
    bare_model,
    by_forward,
    encode,
    expect_logits,
    fill,
    fresh_base,
    in_file,
    in_memory,
    make_adapter_config,
    make_batch,
    make_tokenizer,
    need_adaption_prompt,
    task_of,
)

DOCUMENT = None
UPSTREAM = (
    "https://github.com/huggingface/peft/issues/1519",
    "https://github.com/huggingface/peft/issues/1144",
    "https://github.com/huggingface/peft/pull/3128",
)
ORACLE = "by hand"
RING = "references"
VARIANTS = (
    # t5 has a prompt for its decoder as well, which begins where the encoder's ends.
    Variants(
        axes={
            "model": ("llama", "gpt2", "bert", "t5"),
            "method": ("prompt_tuning_text",),
            "aspect": ("as_long", "longer_text", "shorter_text", "loaded"),
        },
    ),
    Variants(axes={"model": ("llama", "gpt2"), "method": ("prompt_tuning",), "aspect": ("sampled",)}),
    Variants(
        axes={
            "model": ("llama", "gpt2"),
            "method": ("multitask_prompt_tuning",),
            "aspect": ("average", "exact", "exact_pickled", "shared"),
        },
    ),
    Variants(axes={"model": ("llama", "gpt2"), "method": ("cpt",), "aspect": ("tokens",)}),
    Variants(axes={"model": ("llama", "gpt2"), "method": ("prefix_tuning",), "aspect": ("zeros",)}),
    Variants(
        axes={"model": ("llama", "mistral", "gpt2"), "method": ("adaption_prompt",), "aspect": ("gate", "topmost")},
    ),
)
LENGTHS = {"as_long": len(INIT_TEXT), "longer_text": 7, "shorter_text": 2 * len(INIT_TEXT) + 5, "loaded": 9}
"""Virtual tokens; the text has one for each of its characters."""


def check(trial: Trial) -> None:
    """Compare the numbers with those that the config names, one by one (by hand)."""
    match trial.method:
        case "prompt_tuning_text":
            _text(trial)
        case "prompt_tuning":
            _sampled(trial)
        case "multitask_prompt_tuning":
            _from_tasks(trial)
        case "cpt":
            ids = encode(INIT_TEXT, device=trial.torch_device())[0, 1:]
            model = _fresh(trial, cpt_token_ids=ids.tolist())
            _expect_table(trial, model, ids)
        case "prefix_tuning":
            if "init_weights" not in {field.name for field in dataclasses.fields(peft.PrefixTuningConfig)}:
                text = "this peft cannot begin a prefix as zeros"
                raise Unsupported(text)
            found = in_memory(_fresh(trial, init_weights="zero"), trial.method).tensors["embedding.weight"]
            trial.expect(not found.any(), "a prefix that was to begin as zeros does not")
        case "adaption_prompt":
            _adaption(trial)


def _fresh(trial: Trial, **options: Any) -> Any:
    """Wrap a base with an adapter, and leave its numbers as they are drawn."""
    torch.manual_seed(1)
    config = make_adapter_config(trial.method, task=task_of(trial.model), **options)
    return peft.get_peft_model(fresh_base(trial), config).eval()


def _expect_table(trial: Trial, model: Any, ids: torch.Tensor) -> None:
    """Compare the table of virtual tokens with the base model's embeddings of ids, bit for bit."""
    found = in_memory(model, trial.method).tensors["embedding.weight"]
    wanted = bare_model(trial.model, trial.torch_device()).get_input_embeddings().weight.detach()[ids]
    trial.evidence["rows"] = list(found.shape)
    trial.expect(found.shape == wanted.shape, "the prompt has another length than its config")
    trial.evidence["equal_rows"] = (found == wanted).all(dim=1).int().tolist()
    trial.expect(torch.equal(found, wanted), "the prompt does not begin as the embeddings of its tokens")


def _text(trial: Trial) -> None:
    """Begin as a text: cut at its end where it is too long, repeated from its start where it is too short."""
    folder = trial.scratch / "tokenizer"
    make_tokenizer().save_pretrained(folder)
    length = LENGTHS[trial.aspect]
    model = _fresh(trial, num_virtual_tokens=length, tokenizer_name_or_path=str(folder))
    text = encode(INIT_TEXT, device=trial.torch_device())[0, 1:]
    rows = length * (2 if trial.model == "t5" else 1)
    ids = text.repeat(1 + rows // len(text))[:rows]
    _expect_table(trial, model, ids)
    if trial.aspect != "loaded":
        return
    # With the tokenizer gone, and other numbers than those of the text: nothing may begin as it again.
    fill(model, seed=7, std=0.8, only=lambda name: "prompt_encoder" in name)
    model.save_pretrained(trial.scratch / "adapter")
    stored = in_file(trial.scratch / "adapter", trial.method).tensors["prompt_embeddings"]
    loaded = peft.PeftModel.from_pretrained(fresh_base(trial), str(trial.scratch / "adapter"))
    found = in_memory(loaded, trial.method).tensors["embedding.weight"]
    trial.expect(torch.equal(found, stored), "a loaded prompt is not what its file has")


def _sampled(trial: Trial) -> None:
    """Begin as words drawn from the vocabulary: each row is a row of its table, and not all are the same."""
    if not hasattr(peft.PromptTuningInit, "SAMPLE_VOCAB"):
        text = "this peft cannot begin as words of the vocabulary"
        raise Unsupported(text)
    found = in_memory(_fresh(trial, prompt_tuning_init="SAMPLE_VOCAB"), trial.method).tensors["embedding.weight"]
    words = bare_model(trial.model, trial.torch_device()).get_input_embeddings().weight.detach()
    same = (found[:, None] == words[None]).all(dim=2)
    trial.evidence["drawn"] = same.int().argmax(dim=1).tolist()
    trial.expect(bool(same.any(dim=1).all()), "a virtual token is no word of the vocabulary")
    trial.expect(len(set(trial.evidence["drawn"])) > 5, "the words are not drawn: they are all the same")


def _from_tasks(trial: Trial) -> None:
    """Begin from the adapter of source tasks: their mean, one of them, or what they share."""
    source = adapted(trial, num_ranks=2)
    source.save_pretrained(trial.scratch)
    stored = in_file(trial.scratch, trial.method).tensors
    name = "adapter_model.safetensors"
    if trial.aspect == "exact_pickled":
        source.save_pretrained(trial.scratch, safe_serialization=False)
        name = "adapter_model.bin"
    how = trial.aspect.removesuffix("_pickled")
    begins = {"average": "AVERAGE_SOURCE_TASKS", "exact": "EXACT_SOURCE_TASK", "shared": "ONLY_SOURCE_SHARED"}
    model = _fresh(
        trial,
        num_ranks=2,
        num_tasks=TASKS if trial.aspect == "shared" else 1,
        prompt_tuning_init=begins[how],
        prompt_tuning_init_task=1,
        prompt_tuning_init_state_dict_path=str(trial.scratch / name),
    )
    found = in_memory(model, trial.method).tensors
    trial.expect(torch.equal(found["embedding.weight"], stored["prompt_embeddings"]), "the shared prompt is another")
    for name in ("prefix_task_cols", "prefix_task_rows"):
        if trial.aspect == "shared":
            trial.expect(found[name].shape == stored[name].shape, f"{name} is not one for each task")
            trial.expect(bool(found[name].any()) and float(found[name].std()) < 0.1, f"{name} is not drawn afresh")
            continue
        wanted = stored[name][1:2] if how == "exact" else stored[name].sum(0, keepdim=True) / TASKS
        trial.evidence[name] = float((found[name] - wanted).abs().max())
        trial.expect(trial.evidence[name] < 1e-6, f"{name} is not that of the source tasks")


def _adaption(trial: Trial) -> None:
    """Check that a fresh adaption prompt has a closed gate and changes nothing, and that one layer is the last one."""
    need_adaption_prompt(trial.model)
    base, batch = bare_model(trial.model, trial.torch_device()), make_batch("alone", device=trial.torch_device())
    model = _fresh(trial, adapter_layers=1)
    named = [name for name, _ in model.named_parameters() if name.endswith("adaption_prompt")]
    trial.evidence["prompts"] = named
    if trial.aspect == "topmost":
        trial.expect(len(named) == 1, "another number of layers has a prompt than the config's")
        trial.expect(".1." in named[0], "the prompt is not in the topmost layer")
        return
    expect_logits(
        trial,
        "fresh",
        by_forward(model, trial.model, batch),
        by_forward(base, trial.model, batch),
    )
    table = dict(model.named_parameters())[named[0]]
    trial.evidence["std"] = float(table.detach().std())
    trial.expect(abs(trial.evidence["std"] - 1) < 0.1, "the prompt is not spread as its class says")
