"""What people do with prompt learning, as ``advise`` asks it: each use by the cases that stand for it (pure)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

COMMON_METHODS = ("prompt_tuning", "prefix_tuning", "p_tuning")
"""What is asked about when nobody names a method."""

COMMON_FAMILIES = ("llama", "qwen2", "gpt2", "bloom", "opt")
"""What is asked about when nobody names a family: one for each layout of attention that is measured most."""

_LIKE = {"t5": "bart", "bart": "t5", "bert": "roberta", "roberta": "bert"}
_MOST_MEASURED = "llama"

_METHOD_OF_CASE = {
    "multitask_prompt": "multitask_prompt_tuning",
    "adaption_prompt_cache": "adaption_prompt",
    "prompt_tuning_guide": "prompt_tuning",
}

_NAMES = {
    "prompt_tuning": "prompt tuning", "prefix_tuning": "prefix tuning", "p_tuning": "p-tuning", "lora": "LoRA",
    "prefix_tuning_projection": "prefix tuning with a projection", "p_tuning_lstm": "p-tuning with an LSTM",
    "multitask_prompt_tuning": "multitask prompt tuning", "adaption_prompt": "adaption prompts", "cpt": "CPT",
    "prompt_tuning_text": "prompt tuning from a text", "cartridge": "cartridges",
    "llama": "Llama", "qwen2": "Qwen2", "gpt2": "GPT-2", "bloom": "Bloom", "opt": "OPT", "mistral": "Mistral",
    "t5": "T5",
    "bart": "BART", "bert": "BERT", "roberta": "RoBERTa", "falcon": "Falcon", "gemma2": "Gemma 2", "gemma3": "Gemma 3",
    "gpt_neox": "GPT-NeoX", "gpt_bigcode": "GPT-BigCode", "qwen2_moe": "Qwen2-MoE", "qwen3": "Qwen3",
    "idefics": "Idefics", "llava": "Llava", "modules": "auto_model = ...", "module_model": "model[0].model = ...",
    "add_adapter": "model.add_adapter", "load_adapter": "model.load_adapter", "peft_model": "the name of an adapter",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Use:
    """One thing to do: what a sentence says of it (nothing of plain ``generate``), and a case expression that asks it.

    ``axis`` is the axis of variants on which a person has a given place, ``model``, or may choose one: any ``attach``
    that works is enough. ``packages`` are those whose versions decide.
    """

    name: str
    words: str
    expression: str
    axis: str = "model"
    packages: tuple[str, ...] = ("peft", "transformers")

    @property
    def may_choose(self) -> bool:
        """Return whether one value of the axis that works is enough."""
        return self.axis == "attach"


_USES = (
    Use(
        name="generate",
        words="",
        expression="generate_with_cache:-cached,generate_families:-cached,encoder_decoder_generate:-cached,"
        "multitask_prompt:-cached,cpt_generate:-cached,adaption_prompt_cache:-cached,by_hand_generate:-alone",
    ),
    Use(
        name="without-cache",
        words="with use_cache=False",
        expression="generate_with_cache:-workaround,generate_families:-workaround,encoder_decoder_generate:-workaround,"
        "multitask_prompt:-workaround,cpt_generate:-workaround,adaption_prompt_cache:-workaround",
    ),
    Use(
        name="left-padding",
        words="on batches padded on the left",
        expression="padded_batch:-left,padded_batch:-left_generate,prompt_learning_properties:-left,by_hand_generate:-left",
    ),
    Use(name="right-padding", words="on batches padded on the right", expression="padded_batch:-right"),
    Use(
        name="sentence-transformers",
        words="in a SentenceTransformer",
        expression="sentence_transformer_pooling:runs,sentence_transformer_pooling:-pooled",
        axis="attach",
        packages=("peft", "transformers", "sentence-transformers"),
    ),
    Use(name="beams", words="in beam search", expression="beam_search:-cached"),
    Use(name="assisted", words="in assisted decoding", expression="assisted_decoding"),
    Use(name="training", words="in training", expression="training_gradients,loss_over_the_answer"),
    Use(name="checkpointing", words="with gradient checkpointing", expression="gradient_checkpointing"),
    Use(
        name="trainer",
        words="under a Trainer that loads the best model",
        expression="load_best_model_at_end:-load_best",
    ),
    Use(name="saving", words="saved and loaded", expression="save_and_load"),
    Use(name="classification", words="for classification", expression="classification"),
    Use(name="adapters", words="among several adapters", expression="several_adapters"),
)
USES: Mapping[str, Use] = {one.name: one for one in _USES}
DEFAULT = "generate"


def method_of(case: str, variant: Mapping[str, str]) -> str:
    """Return the method of a variant; a case about a single method has no axis for it."""
    return variant.get("method") or _METHOD_OF_CASE.get(case, "")


def like(family: str) -> str:
    """Return the family that stands in for one where it was not measured: of its kind, and measured most."""
    return _LIKE.get(family, _MOST_MEASURED)


def spoken(value: str) -> str:
    """Return a method, family or way of attaching as people write it."""
    return _NAMES.get(value, value)


def typed(text: str) -> str:
    """Return what a person typed for a method or family as the cases spell it: ``Prefix tuning`` as prefix_tuning."""
    text = text.strip()
    by_name = {name.lower(): value for value, name in _NAMES.items()}
    return by_name.get(text.lower(), text.lower().replace("-", "_").replace(" ", "_"))
