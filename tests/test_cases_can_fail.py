"""Every case of the library is seen to fail: a fault is planted in real releases, and its check says ``wrong``.

The control beside each is the same variant without the fault, which passes. Both run in one environment, in forks of
one worker.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from harness.contracts.job import Request
from harness.matrix.cases import load_cases
from tests.jobs import copy_of_cases, make_task, measure

if TYPE_CHECKING:
    from harness.environments.build import Environment

pytestmark = pytest.mark.slow

PLANTED = '''"""Run another case's check with a fault in the packages under test."""
import contextlib, importlib
from unittest import mock
from harness.interface import Variants
DOCUMENT = None
VARIANTS = (Variants(axes={"real": ("none",)}),)


def check(trial):
    with FAULTS[trial.fault]():
        importlib.import_module(f"cases.{trial.real}").check(trial)


def generate_forgets():
    """The adapter is not used by generate."""
    import peft
    real = peft.PeftModelForCausalLM.generate
    def forgets(self, *args, **kwargs):
        if not self.active_peft_config.is_prompt_learning:
            with self.disable_adapter():
                return real(self, *args, **kwargs)
        return self.get_base_model().generate(*args, **kwargs)
    return mock.patch.object(peft.PeftModelForCausalLM, "generate", forgets)


def forward(change):
    """What forward is given is changed on the way."""
    def fault():
        import peft
        real = peft.PeftModelForCausalLM.forward
        def forward(self, input_ids=None, **kwargs):
            return real(self, **change(dict(kwargs, input_ids=input_ids)))
        return mock.patch.object(peft.PeftModelForCausalLM, "forward", forward)
    return fault


def loading(wanted):
    """Some of what is loaded is lost."""
    def fault():
        import peft, torch
        real = peft.PeftModel.from_pretrained
        def loads(*args, **kwargs):
            model = real(*args, **kwargs)
            with torch.no_grad():
                for name, weight in model.named_parameters():
                    if any(part in name for part in wanted):
                        weight.mul_(0.5)
            return model
        return mock.patch.object(peft.PeftModel, "from_pretrained", loads)
    return fault


def method(owner, name, replacement):
    """A method does something else."""
    def fault():
        module, _, kind = owner.rpartition(".")
        found = importlib.import_module(module)
        return mock.patch.object(getattr(found, kind) if kind else found, name, replacement)
    return fault


def flat_or_none(mask):
    return mask if mask.dim() < 3 else None


def weaker(self, **_):
    self.get_input_embeddings().weight.data.mul_(0.9)


def prompt(change):
    """What get_prompt makes of the stored numbers is changed: a tensor, or a tensor for each layer."""
    def fault():
        import peft
        real = peft.PeftModel.get_prompt
        def changed(self, *args, **kwargs):
            found = real(self, *args, **kwargs)
            return tuple(change(one) for one in found) if isinstance(found, tuple) else change(found)
        return mock.patch.object(peft.PeftModel, "get_prompt", changed)
    return fault


def to_base(change):
    """What the base model inside is given is changed, there alone."""
    def fault():
        import peft
        real = peft.PeftModelForCausalLM.forward
        def forward(self, *args, **kwargs):
            hook = lambda module, given, named: (given, change(dict(named)))
            handle = self.get_base_model().register_forward_pre_hook(hook, with_kwargs=True)
            try:
                return real(self, *args, **kwargs)
            finally:
                handle.remove()
        return mock.patch.object(peft.PeftModelForCausalLM, "forward", forward)
    return fault


def first_masked(named):
    named["attention_mask"] = named["attention_mask"].clone()
    named["attention_mask"][:, 0] = 0
    return named


def one_further(named):
    import torch
    length = named["inputs_embeds"].shape[1]
    return {**named, "position_ids": torch.arange(1, length + 1)[None]}


def rows_reversed():
    """What is saved has its virtual tokens in the other order."""
    import peft
    real = peft.PeftModel.get_prompt_embedding_to_save
    reversed_ = lambda self, *args: real(self, *args).flip(0).contiguous()
    return mock.patch.object(peft.PeftModel, "get_prompt_embedding_to_save", reversed_)


def eval_drops():
    """Evaluation mode does not switch dropout off."""
    import torch
    real = torch.nn.functional.dropout
    drops = lambda given, p=0.5, training=True, inplace=False: real(given, p, p > 0, inplace)
    return mock.patch.object(torch.nn.functional, "dropout", drops)


def forward_leaves_a_hook():
    """Each forward leaves a hook on the base model."""
    import peft
    real = peft.PeftModelForCausalLM.forward
    def forward(self, *args, **kwargs):
        self.get_base_model().register_forward_hook(lambda *_: None)
        return real(self, *args, **kwargs)
    return mock.patch.object(peft.PeftModelForCausalLM, "forward", forward)


KEPT = []


def forward_keeps_its_answer():
    """Each answer is kept for ever."""
    import peft
    real = peft.PeftModelForCausalLM.forward
    def forward(self, *args, **kwargs):
        KEPT.append(real(self, *args, **kwargs))
        return KEPT[-1]
    return mock.patch.object(peft.PeftModelForCausalLM, "forward", forward)


def base_is_trained():
    """The base model's weights are not frozen."""
    import peft
    real = peft.get_peft_model
    def made(*args, **kwargs):
        model = real(*args, **kwargs)
        model.get_base_model().get_output_embeddings().weight.requires_grad_(True)
        return model
    return mock.patch.object(peft, "get_peft_model", made)


def loaded_to_train():
    """What is loaded is in training mode."""
    import peft
    real = peft.PeftModel.from_pretrained
    return mock.patch.object(peft.PeftModel, "from_pretrained", lambda *a, **k: real(*a, **k).train())


def first_task_for_all():
    """Every row gets the prompt of the first task."""
    from peft.tuners.multitask_prompt_tuning.model import MultitaskPromptEmbedding
    real = MultitaskPromptEmbedding.forward
    first = lambda self, indices, task_ids: real(self, indices, task_ids * 0)
    return mock.patch.object(MultitaskPromptEmbedding, "forward", first)


FAULTS = {
    "none": contextlib.nullcontext,
    "prompt_one_in_a_thousand": prompt(lambda found: found * 1.001),
    "prompt_reversed": prompt(lambda found: found.flip(1)),
    "prompt_twice_its_first_half": prompt(lambda found: found[:, :10].repeat(1, 2, 1)),
    "first_virtual_token_masked": to_base(first_masked),
    "positions_one_further": to_base(one_further),
    "projection_without_tanh": method("torch.nn.Tanh", "forward", lambda self, given: given),
    "first_task_for_all": first_task_for_all,
    "eval_drops": eval_drops,
    "forward_leaves_a_hook": forward_leaves_a_hook,
    "forward_keeps_its_answer": forward_keeps_its_answer,
    "base_is_trained": base_is_trained,
    "loaded_to_train": loaded_to_train,
    "gradient_one_in_a_hundred": prompt(lambda found: found + (found - found.detach()) * 0.01),
    "fresh_zeros": method("torch.nn.Embedding", "reset_parameters", lambda self: self.weight.data.zero_()),
    "rows_reversed": rows_reversed,
    "generate_forgets": generate_forgets,
    "one_row_for_all": forward(lambda k: {**k, "input_ids": k["input_ids"][:1].expand_as(k["input_ids"])}),
    "labels_shifted": forward(lambda k: {**k, "labels": k["labels"].roll(1, -1) if "labels" in k else None}),
    "adapter_names_lost": forward(lambda k: {name: value for name, value in k.items() if name != "adapter_names"}),
    "no_mask": forward(lambda k: {**k, "attention_mask": None}),
    "square_mask_lost": forward(lambda k: {**k, "attention_mask": flat_or_none(k["attention_mask"])}),
    "half_embeddings": forward(lambda k: {**k, "inputs_embeds": k["inputs_embeds"] / 2} if "inputs_embeds" in k else k),
    "loaded_adapter_lost": loading(("prompt_encoder", "lora_")),
    "loaded_head_lost": loading(("score", "classifier", "qa_outputs")),
    "loaded_embeddings_lost": loading(("embed_tokens",)),
    "compiled_without": method("torch.", "compile", lambda model, **_: model.get_base_model()),
    "checkpointing_changes": method("transformers.PreTrainedModel", "gradient_checkpointing_enable", weaker),
    "pixels_lost": forward(lambda k: {**k, "pixel_values": k["pixel_values"] * 0}),
    "state_dict_ignored": method("peft.", "set_peft_model_state_dict", lambda *_, **__: None),
    "never_switches": method("peft.PeftModel", "set_adapter", lambda *_, **__: None),
    "never_disables": method("peft.PeftModel", "disable_adapter", lambda *_: contextlib.nullcontext()),
    "never_deletes": method("peft.LoraModel", "delete_adapter", lambda *_: None),
    "merge_forgets": method("peft.LoraModel", "merge_and_unload", lambda self, **_: self.unload()),
}
'''

PROMPT, LORA = "prompt_tuning", "lora"
SEEN = (
    # case, the variant's values, the fault
    ("assisted_decoding", ("llama", LORA, "assistant"), "generate_forgets"),
    ("beam_search", ("gpt2", PROMPT, "cached"), "generate_forgets"),
    ("by_hand_forward", ("gpt2", PROMPT, "alone"), "prompt_one_in_a_thousand"),
    ("by_hand_forward", ("gpt2", "prefix_tuning", "alone"), "prompt_one_in_a_thousand"),
    ("by_hand_forward", ("gpt_neox", "p_tuning", "alone"), "prompt_one_in_a_thousand"),
    ("by_hand_forward", ("gpt2", PROMPT, "alone"), "prompt_twice_its_first_half"),
    ("by_hand_forward", ("opt", "p_tuning_lstm", "alone"), "first_virtual_token_masked"),
    ("by_hand_forward", ("gpt2", PROMPT, "right"), "positions_one_further"),
    ("by_hand_forward", ("bloom", "prefix_tuning_projection", "alone"), "projection_without_tanh"),
    ("by_hand_forward", ("gpt2", "multitask_prompt_tuning", "right"), "first_task_for_all"),
    ("by_hand_generate", ("gpt2", PROMPT, "alone"), "prompt_one_in_a_thousand"),
    ("by_hand_generate", ("opt", PROMPT, "left"), "generate_forgets"),
    ("by_hand_generate", ("gpt2", LORA, "left"), "generate_forgets"),
    ("by_hand_loaded", ("gpt2", "p_tuning", "forward"), "rows_reversed"),
    ("by_hand_loaded", ("gpt2", PROMPT, "generate"), "loaded_adapter_lost"),
    ("by_hand_loaded", ("opt", LORA, "forward"), "loaded_adapter_lost"),
    ("callers_cache", ("llama", LORA, "second_turn"), "generate_forgets"),
    ("classification_head", ("gpt2", LORA), "loaded_head_lost"),
    ("compiled_forward", ("llama", PROMPT), "compiled_without"),
    ("configurations", ("gpt2", PROMPT, "15"), "prompt_one_in_a_thousand"),
    ("configurations", ("gpt2", "p_tuning", "05"), "generate_forgets"),
    ("configurations", ("gpt2", "p_tuning", "05"), "eval_drops"),
    ("deeper_base", ("gpt2", PROMPT, "loaded"), "loaded_adapter_lost"),
    ("deeper_base", ("llama", "p_tuning", "state_dict"), "prompt_reversed"),
    ("deeper_base", ("gpt2", "prefix_tuning", "state_dict"), "state_dict_ignored"),
    ("delete_adapter", ("gpt2", LORA, "inactive"), "never_deletes"),
    ("encoder_decoder_inputs", ("t5", PROMPT, "embedded"), "prompt_one_in_a_thousand"),
    ("encoder_inputs", ("bert", PROMPT, "embedded"), "prompt_one_in_a_thousand"),
    ("four_dimensional_mask", ("llama", LORA, "additive"), "square_mask_lost"),
    ("forward_arguments", ("gpt2", PROMPT, "tuple"), "prompt_one_in_a_thousand"),
    ("fresh_adapter", ("gpt2", "prompt_tuning_text", "loaded"), "loaded_adapter_lost"),
    ("frozen_answers", ("gpt2", PROMPT, "0.9.0"), "prompt_reversed"),
    ("frozen_answers", ("bert", PROMPT, "0.13.2"), "prompt_one_in_a_thousand"),
    ("frozen_answers", ("gpt2", "prefix_tuning_projection", "0.9.0"), "prompt_one_in_a_thousand"),
    ("frozen_answers", ("t5", LORA, "0.9.0"), "loaded_adapter_lost"),
    ("gradient_checkpointing", ("gpt2", PROMPT, "after"), "checkpointing_changes"),
    ("half_precision", ("gpt2", PROMPT, "generate"), "generate_forgets"),
    ("image_that_matters", ("llava", LORA, "cached"), "generate_forgets"),
    ("image_that_matters", ("idefics", PROMPT, "lengthened"), "prompt_one_in_a_thousand"),
    ("image_that_matters", ("idefics", PROMPT, "lengthened"), "pixels_lost"),
    ("image_that_matters", ("llava", LORA, "forward"), "pixels_lost"),
    ("inputs_embeds", ("gpt2", PROMPT, "forward"), "half_embeddings"),
    ("longest_text", ("gpt2", PROMPT, "all_positions"), "generate_forgets"),
    ("loss_by_hand", ("gpt2", PROMPT, "right"), "labels_shifted"),
    ("loss_over_the_answer", ("gpt2", PROMPT), "labels_shifted"),
    ("merging_is_refused", ("llama", LORA, "merge_and_unload"), "merge_forgets"),
    ("mixed_batch", ("gpt2", PROMPT, "forward"), "adapter_names_lost"),
    ("mixed_batch", ("gpt2", LORA, "forward"), "adapter_names_lost"),
    ("padded_batch", ("gpt2", PROMPT, "right"), "one_row_for_all"),
    ("padded_batch", ("gpt2", LORA, "left"), "no_mask"),
    ("resized_embeddings", ("llama", PROMPT, "auto"), "loaded_embeddings_lost"),
    ("sampling_with_a_seed", ("gpt2", PROMPT, "cached"), "generate_forgets"),
    ("save_and_load", ("gpt2", PROMPT, "safetensors"), "loaded_adapter_lost"),
    ("several_adapters", ("gpt2", PROMPT, "switch"), "never_switches"),
    ("several_adapters", ("gpt2", PROMPT, "disable_nested"), "never_disables"),
    ("several_adapters_state", ("bloom", PROMPT, "saved"), "rows_reversed"),
    ("several_adapters_state", ("gpt2", LORA, "switched"), "never_switches"),
    ("several_adapters_state", ("gpt2", PROMPT, "disabled"), "never_disables"),
    ("several_adapters_state", ("gpt2", PROMPT, "base_after"), "forward_leaves_a_hook"),
    ("several_adapters_state", ("gpt2", PROMPT, "alive"), "forward_keeps_its_answer"),
    ("sizes_of_an_adapter", ("gpt2", "p_tuning", "default_width"), "prompt_one_in_a_thousand"),
    ("static_cache", ("llama", LORA), "generate_forgets"),
    ("training_gradients", ("gpt2", PROMPT, "one"), "gradient_one_in_a_hundred"),
    ("training_gradients", ("bloom", "p_tuning", "three"), "gradient_one_in_a_hundred"),
    ("training_gradients", ("gpt2", PROMPT, "frozen"), "base_is_trained"),
    ("training_gradients", ("gpt2", "prefix_tuning", "fresh"), "fresh_zeros"),
    ("training_gradients", ("gpt2", PROMPT, "mode"), "loaded_to_train"),
    ("ways_to_load", ("gpt2", PROMPT, "subfolder"), "loaded_adapter_lost"),
    ("ways_to_load", ("gpt2", "prefix_tuning", "device_map_auto"), "loaded_adapter_lost"),
    ("ways_to_load", ("gpt2", PROMPT, "offloaded_state_dict"), "prompt_one_in_a_thousand"),
    ("without_a_mask", ("gpt2", PROMPT, "generate"), "generate_forgets"),
    ("written_by_another_release", ("gpt2", PROMPT, "0.9.0"), "loaded_adapter_lost"),
)
NO_CONTROL = {("compiled_forward", "none")}
"""Tracing costs seconds; the matrix has this control."""
SEEN_ELSEWHERE = {
    # test_family_cases.py plants faults in these: the old release cannot wrap classifiers, and
    # encoder_decoder_generate fails by itself on releases of its matrix.
    "adaption_prompt_cache", "by_hand_classification", "classification", "cpt_generate", "encoder_decoder_generate",
    "generate_families", "multitask_prompt", "prompt_learning_properties",
    # The mutants in harness/selfcheck/mutants/by_hand plant faults in these: they ask for what the old release lacks.
    "classifier_heads", "config_defaults", "prefix_from_text", "question_answering",
    # Counts and times: test_growth.py and test_compare.py plant what is counted.
    "generate_cost_growth",
}  # fmt: skip

FAILS_BY_ITSELF = {"duplicate_adapter_name": ("gpt2", PROMPT)}
"""What the old release of these tests does wrong without any help."""


def named_variant(case: str, values: tuple[str, ...]) -> dict[str, str]:
    """Return the first variant of a case that begins with these values."""
    (found,) = (one for one in load_cases() if one.name == case)
    return next(one for one in found.variants if tuple(one.values())[: len(values)] == values)


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory, old_environment: Environment) -> dict[str, dict[str, str]]:
    """Measure everything at once; give the record's outcome and message under ``CASE VALUES FAULT``."""
    folder = tmp_path_factory.mktemp("faults")
    root = copy_of_cases(folder)
    (root / "cases" / "planted.py").write_text(PLANTED, encoding="utf-8")
    asked = [(*one[:2], fault) for one in SEEN for fault in (one[2], "none")]
    asked += [(case, values, "none") for case, values in FAILS_BY_ITSELF.items()]
    requests = [
        Request(
            key=" ".join((case, *values, fault)),
            case="planted",
            document=None,
            variant={**named_variant(case, values), "real": case, "fault": fault, "device": "cpu"},
        )
        for case, values, fault in dict.fromkeys(asked)
        if (case, fault) not in NO_CONTROL
    ]
    task = make_task(folder, old_environment, root, requests, limit_s=120, timed=True)
    return measure(task, old_environment, folder)


@pytest.mark.parametrize(
    ("case", "values", "fault"), SEEN, ids=lambda part: part if isinstance(part, str) else "-".join(part)
)
def test_a_planted_fault_is_seen(
    case: str, values: tuple[str, ...], fault: str, outcomes: dict[str, dict[str, str]]
) -> None:
    """With the fault the check says ``wrong``, without it ``passed``."""
    name = " ".join((case, *values))
    found = outcomes[f"{name} {fault}"]
    assert found["outcome"] == "wrong", found
    assert (case, "none") in NO_CONTROL or outcomes[f"{name} none"]["outcome"] == "passed", outcomes[f"{name} none"]


@pytest.mark.parametrize("case", FAILS_BY_ITSELF)
def test_an_old_release_fails_by_itself(case: str, outcomes: dict[str, dict[str, str]]) -> None:
    """Where the release of these tests has the defect, nothing has to be planted."""
    assert outcomes[" ".join((case, *FAILS_BY_ITSELF[case], "none"))]["outcome"] == "wrong"


def test_no_case_of_the_library_is_left_out() -> None:
    """Each case that no document stands behind was seen to fail, here or in the tests named beside it."""
    names = {case.name for case in load_cases() if case.document is None}
    assert names - SEEN_ELSEWHERE <= {case for case, _, _ in SEEN} | FAILS_BY_ITSELF.keys()
