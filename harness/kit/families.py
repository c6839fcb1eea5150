"""The model families, each as the config of a tiny model: where prompt learning differs, a family is here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from harness.kit.tokens import VOCAB_SIZE

HIDDEN, LAYERS, HEADS, KEY_VALUE_HEADS, INTERMEDIATE, POSITIONS = 64, 2, 4, 2, 96, 160
IMAGE_SIZE = 8
PRIME_VOCABULARY = 61
"""A vocabulary of which no other size of a model is a multiple: PEFT takes the first matrix of as many rows for the
word embeddings. The tokenizer's alphabet is shorter, and the last id is left for :data:`IMAGE_TOKEN`."""

IMAGE_TOKEN = PRIME_VOCABULARY - 1
"""What stands for a patch of the image in the text of a family that reads images as tokens."""

IMAGE_PATCHES = 4
WINDOW = 32
"""Positions that a sliding layer sees: fewer than the cases feed, so that the window does slide."""

_IDS = {"vocab_size": VOCAB_SIZE, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": None}
_SIZES = {
    "hidden_size": HIDDEN,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "intermediate_size": INTERMEDIATE,
    "max_position_embeddings": POSITIONS,
}
_ROTARY = {**_IDS, **_SIZES, "num_key_value_heads": KEY_VALUE_HEADS, "tie_word_embeddings": False}
# A head of 32 where hidden / heads is 16.
_WIDE_HEADS = {**_ROTARY, "head_dim": HIDDEN // 2}
_GEMMA = {**_WIDE_HEADS, "query_pre_attn_scalar": HIDDEN // 2, "sliding_window": WINDOW}
_BERT = {"vocab_size": VOCAB_SIZE, "pad_token_id": 0, **_SIZES}


UNTRAINED_SEEDS = {
    "llama": 2,
    "gpt2": 1,
    "bloom": 12,
    "qwen2": 33,
    "opt": 15,
    "mistral": 17,
    "qwen3": 139,
    "gemma2": 23,
    "gemma3": 92,
    "gpt_neox": 214,
    "falcon": 44,
    "gpt_bigcode": 13,
    "qwen2_moe": 26,
    "t5": 44,
    "bart": 161,
    "idefics": 70,
    "llava": 17,
}
"""Seeds at which each method's prompt changes the very first token, by a clear margin. A prompt
that is dropped at the first step alone could otherwise go unseen."""

UNTRAINED_STD = {"gemma2": 0.2, "bart": 0.12}
"""Gemma multiplies its embeddings by eight and BART normalises after each layer: at the usual 0.5
the tokens fed would drown what the layers add, or the other way round."""

LOUD_POSITIONS = {"bart": 0.6}
"""Its head is its embedding: with quieter positions it repeats its last token, whatever it is asked."""

LORA_TARGETS = {
    "mistral": ["q_proj", "v_proj"],
    "qwen3": ["q_proj", "v_proj"],
    "gemma2": ["q_proj", "v_proj"],
    "gemma3": ["q_proj", "v_proj"],
    "gpt_neox": ["query_key_value"],
    "falcon": ["query_key_value"],
    "gpt_bigcode": ["c_attn"],
    "qwen2_moe": ["q_proj", "v_proj"],
    "t5": ["q", "v"],
    "bart": ["q_proj", "v_proj"],
    "roberta": ["query", "value"],
}
"""Where LoRA goes. Not every peft has a default for each family, and the control must not fail for that."""


@dataclass(frozen=True, kw_only=True)
class Family:
    """How to make one family's tiny model: class names in transformers, and the config."""

    config: str
    model: str
    options: dict[str, Any]


FAMILIES = {
    "llama": Family(config="LlamaConfig", model="LlamaForCausalLM", options=_ROTARY),
    "qwen2": Family(config="Qwen2Config", model="Qwen2ForCausalLM", options=_ROTARY),
    "gpt2": Family(
        config="GPT2Config",
        model="GPT2LMHeadModel",
        options={
            **_IDS,
            "n_embd": HIDDEN,
            "n_layer": LAYERS,
            "n_head": HEADS,
            "n_inner": INTERMEDIATE,
            "n_positions": POSITIONS,
        },
    ),
    "bloom": Family(
        config="BloomConfig",
        model="BloomForCausalLM",
        options={**_IDS, "hidden_size": HIDDEN, "n_layer": LAYERS, "n_head": HEADS},
    ),
    "opt": Family(
        config="OPTConfig",
        model="OPTForCausalLM",
        options={
            **_IDS,
            "hidden_size": HIDDEN,
            "word_embed_proj_dim": HIDDEN,
            "num_hidden_layers": LAYERS,
            "num_attention_heads": HEADS,
            "ffn_dim": INTERMEDIATE,
            "max_position_embeddings": POSITIONS,
        },
    ),
    "idefics": Family(
        config="IdeficsConfig",
        model="IdeficsForVisionText2Text",
        options={
            **_IDS,
            **_SIZES,
            "tie_word_embeddings": False,
            # One cross-attention layer, before the first of the two text layers.
            "cross_layer_interval": LAYERS,
            "freeze_text_layers": False,
            "freeze_vision_layers": False,
            "vision_config": {
                "embed_dim": 16,
                "image_size": IMAGE_SIZE,
                "patch_size": IMAGE_SIZE // 2,
                "intermediate_size": 16,
                "num_hidden_layers": 1,
                "num_attention_heads": 2,
            },
        },
    ),
    "bert": Family(config="BertConfig", model="BertModel", options=_BERT),
    # The families below have no file: nothing of theirs is trained.
    "mistral": Family(
        config="MistralConfig",
        model="MistralForCausalLM",
        # All its layers slide: with WINDOW alone no prompt would reach the last token.
        options={**_ROTARY, "sliding_window": 2 * WINDOW},
    ),
    "qwen3": Family(config="Qwen3Config", model="Qwen3ForCausalLM", options=_WIDE_HEADS),
    # Every other layer slides.
    "gemma2": Family(config="Gemma2Config", model="Gemma2ForCausalLM", options=_GEMMA),
    "gemma3": Family(
        config="Gemma3TextConfig",
        model="Gemma3ForCausalLM",
        # The same said twice: releases before 4.53 know the pattern, later ones the list.
        options={**_GEMMA, "sliding_window_pattern": 2, "layer_types": ["sliding_attention", "full_attention"]},
    ),
    "gpt_neox": Family(
        config="GPTNeoXConfig", model="GPTNeoXForCausalLM", options={**_IDS, **_SIZES, "tie_word_embeddings": False}
    ),
    # One key and one value head for all query heads.
    "falcon": Family(
        config="FalconConfig",
        model="FalconForCausalLM",
        options={
            **_IDS,
            "hidden_size": HIDDEN,
            "num_hidden_layers": LAYERS,
            "num_attention_heads": HEADS,
            "max_position_embeddings": POSITIONS,
            "multi_query": True,
            "new_decoder_architecture": False,
            "alibi": False,
        },
    ),
    "gpt_bigcode": Family(
        config="GPTBigCodeConfig",
        model="GPTBigCodeForCausalLM",
        options={
            **_IDS,
            "n_embd": HIDDEN,
            "n_layer": LAYERS,
            "n_head": HEADS,
            "n_inner": INTERMEDIATE,
            "n_positions": POSITIONS,
            "multi_query": True,
        },
    ),
    # Four experts, of which two answer for each token.
    "qwen2_moe": Family(
        config="Qwen2MoeConfig",
        model="Qwen2MoeForCausalLM",
        options={
            **_ROTARY,
            "num_experts": 4,
            "num_experts_per_tok": 2,
            "moe_intermediate_size": 32,
            "shared_expert_intermediate_size": 48,
            "decoder_sparse_step": 1,
            "mlp_only_layers": [],
        },
    ),
    "t5": Family(
        config="T5Config",
        model="T5ForConditionalGeneration",
        options={
            "vocab_size": VOCAB_SIZE,
            "pad_token_id": 0,
            "eos_token_id": None,
            "decoder_start_token_id": 0,
            "d_model": HIDDEN,
            "d_kv": HIDDEN // HEADS,
            "d_ff": INTERMEDIATE,
            "num_layers": LAYERS,
            "num_heads": HEADS,
        },
    ),
    "bart": Family(
        config="BartConfig",
        model="BartForConditionalGeneration",
        options={
            **_IDS,
            "decoder_start_token_id": 1,
            "forced_eos_token_id": None,
            "d_model": HIDDEN,
            "encoder_layers": LAYERS,
            "decoder_layers": LAYERS,
            "encoder_attention_heads": HEADS,
            "decoder_attention_heads": HEADS,
            "encoder_ffn_dim": INTERMEDIATE,
            "decoder_ffn_dim": INTERMEDIATE,
            "max_position_embeddings": POSITIONS,
        },
    ),
    # The patches of an image are tokens of its text. Its word embeddings stand behind the weights for images.
    "llava": Family(
        config="LlavaConfig",
        model="LlavaForConditionalGeneration",
        options={
            "text_config": {**_ROTARY, "vocab_size": PRIME_VOCABULARY},
            "vision_config": {
                "model_type": "clip_vision_model",
                "hidden_size": 16,
                "projection_dim": 16,
                "image_size": IMAGE_SIZE,
                "patch_size": IMAGE_SIZE // 2,
                "intermediate_size": 24,
                "num_hidden_layers": 1,
                "num_attention_heads": 2,
            },
            "image_token_index": IMAGE_TOKEN,
            "image_seq_length": IMAGE_PATCHES,
            "vision_feature_layer": -1,
            "vision_feature_select_strategy": "default",
            "tie_word_embeddings": False,
            "pad_token_id": 0,
            "bos_token_id": 1,
            "eos_token_id": None,
        },
    ),
    "roberta": Family(config="RobertaConfig", model="RobertaModel", options={**_BERT, "type_vocab_size": 1}),
}
