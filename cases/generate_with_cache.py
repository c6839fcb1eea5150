"""Greedy ``generate`` gives the same tokens with the cache, without it, and by plain forward calls.

Document 000; huggingface/peft#2131 (the 37 / 57 report) and huggingface/peft#2123.
A case of ``cached`` asks for ``generate`` as users call it; ``workaround`` asks the same of
``use_cache=False``, which the document recommends.
"""

from __future__ import annotations

from typing import Any

import torch

from harness.kit import (
    Claim,
    Expectation,
    ForwardCounter,
    Trial,
    Variants,
    attach,
    count_operators,
    encode,
    first_difference,
    generating_arms,
    greedy_by_forward,
    greedy_by_generate,
    interleave,
    make_model,
    same_tokens,
)

DOCUMENT = "000"
UPSTREAM = ("https://github.com/huggingface/peft/issues/2131", "https://github.com/huggingface/peft/issues/2123")
ORACLE = "cache"
VIRTUAL_TOKENS = 20
NEW_TOKENS = 8
QUESTION = "3+4=7</s>2+2=4</s>5+1=6</s>8+8=16</s>9+0=9</s> 1+1="

VARIANTS = (
    Variants(
        axes={
            "model": ("llama", "gpt2", "bloom", "qwen2", "opt"),
            "method": ("prompt_tuning", "prefix_tuning", "prefix_tuning_projection", "p_tuning"),
            "aspect": ("cached", "workaround"),
        },
    ),
)

CLAIMS = (
    Claim(
        id="000.error-in-0.13.0",
        quote="在PEFT 0.13.0版本中…特别是在使用model.generate()方法时,默认启用的use_cache=True选项会导致维度冲突",
        english="In PEFT 0.13.0 generate() with its default use_cache=True ends in a dimension conflict.",
        where={"peft": "==0.13.0"},
        only={"aspect": ("cached",)},
        outcome=("error",),
        signature="expanded size|must match",
        quantifier="any",
    ),
    Claim(
        id="000.workaround",
        quote="在调用model.generate()时显式设置use_cache=False参数。这种方法虽然能解决问题",
        english="Calling generate(use_cache=False) solves the problem.",
        where={"peft": "==0.13.0"},
        only={"aspect": ("workaround",)},
        outcome=("passed",),
    ),
    Claim(
        id="000.fixed-in-0.13.1",
        quote="升级到PEFT 0.13.1或更高版本。该版本已经修复了这一问题",
        english="Upgrading to PEFT 0.13.1 or later fixes it.",
        where={"peft": ">=0.13.1"},
        only={"aspect": ("cached",)},
        outcome=("passed",),
    ),
    Claim(
        id="000.prompt-tuning",
        quote="实现Prompt Tuning、Prefix Tuning和P-Tuning等基于提示的微调方法时…张量维度不匹配错误",
        english="It meets prompt tuning.",
        where={"peft": "==0.13.0"},
        only={"aspect": ("cached",), "method": ("prompt_tuning",)},
        outcome=("error",),
        signature="expanded size|must match",
        quantifier="any",
    ),
    Claim(
        id="000.prefix-tuning",
        quote="实现Prompt Tuning、Prefix Tuning和P-Tuning等基于提示的微调方法时…张量维度不匹配错误",
        english="It meets prefix tuning.",
        where={"peft": "==0.13.0"},
        only={"aspect": ("cached",), "method": ("prefix_tuning", "prefix_tuning_projection")},
        outcome=("error",),
        signature="expanded size|must match",
        quantifier="any",
    ),
    Claim(
        id="000.p-tuning",
        quote="实现Prompt Tuning、Prefix Tuning和P-Tuning等基于提示的微调方法时…张量维度不匹配错误",
        english="It meets p-tuning.",
        where={"peft": "==0.13.0"},
        only={"aspect": ("cached",), "method": ("p_tuning",)},
        outcome=("error",),
        signature="expanded size|must match",
        quantifier="any",
    ),
    Claim(
        id="000.uncached-is-slower",
        quote="但可能会影响生成效率,因为禁用了缓存机制",
        english="Without the cache generation may be less efficient.",
        only={"aspect": ("cached",)},
        outcome=("passed",),
        minimum={"latency.ratio": 1.0},
        quantifier="any",
    ),
    Claim(
        id="000.newest-stable",
        quote="始终使用最新稳定版本的PEFT库",
        english="The newest stable PEFT is free of it.",
        where={"peft": ">=0.21.2"},
        only={"aspect": ("cached",)},
        outcome=("passed",),
    ),
)

EMBEDDING_METHODS = ("prompt_tuning", "p_tuning")
PREFIX_METHODS = ("prefix_tuning", "prefix_tuning_projection")
ROTARY = ("llama", "qwen2")
REPORT = "https://github.com/huggingface/peft/issues/2131"
REWORK = "https://github.com/huggingface/peft/pull/1832"
CACHE_IN_GENERATE = "https://github.com/huggingface/peft/pull/2106"
UNCACHED_PREFIX = "docs/findings.md#generate-without-the-cache-and-prefix-tuning"

EXPECTATIONS = (
    # Early peft builds prefixes of the full number of heads, also where keys are grouped (peft #1901).
    Expectation(
        where={"peft": ">=0.8.2,<=0.11.1", "transformers": ">=4.37.2,<=4.47.1"},
        only={"model": ("llama",), "method": ("prefix_tuning",)},
        outcome="error",
        signature="Sizes of tensors must match except in dimension",
        link="https://github.com/huggingface/peft/pull/1901",
    ),
    Expectation(
        where={"peft": ">=0.8.2,<=0.11.1", "transformers": ">=4.37.2,<=4.41.2"},
        only={"model": ("qwen2",), "method": ("prefix_tuning",)},
        outcome="error",
        signature="Sizes of tensors must match except in dimension",
        link="https://github.com/huggingface/peft/pull/1901",
    ),
    Expectation(
        where={"peft": ">=0.8.2,<=0.11.1", "transformers": ">=4.37.2,<=4.41.2"},
        only={"model": ROTARY, "method": ("prefix_tuning_projection",)},
        outcome="error",
        signature="Sizes of tensors must match except in dimension",
        link="https://github.com/huggingface/peft/pull/1901",
    ),
    Expectation(
        where={"peft": "==0.8.2", "transformers": "==4.37.2"},
        only={"model": ("qwen2",), "method": EMBEDDING_METHODS, "aspect": ("cached",)},
        outcome="error",
        signature="The size of tensor a .*AttentionMaskConverter",
        link="https://github.com/huggingface/peft/issues/1391",
    ),
    # An early peft with a transformers of a year later: document 003's pair.
    Expectation(
        where={"peft": "==0.8.2", "transformers": "==4.48.3"},
        only={"model": ("bloom", "qwen2"), "method": EMBEDDING_METHODS, "aspect": ("cached",)},
        outcome="error",
        signature="KeyError: 'Cache only has",
        link="https://github.com/huggingface/peft/issues/2379",
    ),
    Expectation(
        where={"peft": ">=0.8.2,<=0.11.1", "transformers": ">=4.42.4,<=4.53.3"},
        only={"model": ("llama",), "method": EMBEDDING_METHODS, "aspect": ("cached",)},
        outcome="error",
        signature="KeyError: 'Cache only has",
        link="https://github.com/huggingface/peft/issues/2379",
    ),
    Expectation(
        where={"peft": ">=0.8.2,<=0.13.2", "transformers": ">=4.46.3"},
        only={"model": ("llama",), "method": EMBEDDING_METHODS, "aspect": ("workaround",)},
        outcome="error",
        signature="KeyError: 'past_key_values'",
        link=REWORK,
    ),
    Expectation(
        where={"peft": "==0.8.2", "transformers": "==4.48.3"},
        only={"model": ("qwen2",), "method": EMBEDDING_METHODS, "aspect": ("workaround",)},
        outcome="error",
        signature="KeyError: 'past_key_values'",
        link=REWORK,
    ),
    Expectation(
        where={"peft": "==0.8.2", "transformers": "==4.48.3"},
        only={"model": ("gpt2", "opt")},
        outcome="error",
        signature="KeyError: 'past_key_values'",
        link=REWORK,
    ),
    Expectation(
        where={"peft": ">=0.8.2,<=0.13.2", "transformers": ">=4.48.3,<=4.50.3"},
        only={"model": ("llama",), "method": ("prefix_tuning",)},
        outcome="error",
        signature="'tuple' object has no attribute 'get_seq_length'",
        link=REWORK,
    ),
    Expectation(
        where={"peft": ">=0.9.0,<=0.13.2", "transformers": ">=4.54.1"},
        only={"model": ("llama",), "method": ("prefix_tuning",)},
        outcome="error",
        signature="'tuple' object has no attribute 'get_seq_length'",
        link=REWORK,
    ),
    Expectation(
        where={"peft": "==0.8.2", "transformers": "==4.48.3"},
        only={"model": ("qwen2",), "method": ("prefix_tuning",)},
        outcome="error",
        signature="'tuple' object has no attribute 'get_seq_length'",
        link=REWORK,
    ),
    Expectation(
        where={"peft": "==0.8.2", "transformers": "==4.48.3"},
        only={"model": ROTARY, "method": ("prefix_tuning_projection",)},
        outcome="error",
        signature="'tuple' object has no attribute 'get_seq_length'",
        link=REWORK,
    ),
    Expectation(
        where={"peft": ">=0.12.0,<=0.13.2", "transformers": ">=4.41.2,<=4.42.4"},
        only={"model": ("llama",), "method": ("prefix_tuning",), "aspect": ("workaround",)},
        outcome="error",
        signature="'tuple' object has no attribute 'get_seq_length'",
        link=REWORK,
    ),
    Expectation(
        where={"peft": "==0.8.2", "transformers": "==4.48.3"},
        only={"model": ("bloom",), "method": EMBEDDING_METHODS, "aspect": ("workaround",)},
        outcome="error",
        signature="The size of tensor a",
        link=REWORK,
    ),
    # transformers 4.44 moved Bloom to the new cache; its old layout of keys no longer fits.
    Expectation(
        where={"peft": ">=0.8.2,<=0.12.0", "transformers": ">=4.44.2,<=4.48.3"},
        only={"model": ("bloom",), "method": PREFIX_METHODS},
        outcome="error",
        signature="Tensors must have same number of dimensions",
        link="https://github.com/huggingface/peft/pull/1969",
    ),
    Expectation(
        where={"peft": "==0.12.0", "transformers": "==4.44.2"},
        only={"model": ("bloom",), "method": EMBEDDING_METHODS},
        outcome="error",
        signature="The expanded size of the tensor",
        link="https://github.com/huggingface/peft/pull/1969",
    ),
    # The silent half of documents 000 and 001: generate answers as the base model does.
    Expectation(
        where={"peft": ">=0.13.0,<=0.13.1", "transformers": "==4.45.1"},
        only={"model": ("llama",), "method": ("p_tuning", "prefix_tuning", "prompt_tuning"), "aspect": ("cached",)},
        outcome="wrong",
        signature="drops the prompt",
        link="https://github.com/huggingface/peft/issues/2123",
    ),
    Expectation(
        where={"peft": "==0.12.0", "transformers": ">=4.42.4,<=4.57.6"},
        only={"model": ("llama",), "method": EMBEDDING_METHODS, "aspect": ("cached",)},
        outcome="wrong",
        signature="drops the prompt",
        link="https://github.com/huggingface/peft/issues/2123",
    ),
    Expectation(
        where={"peft": ">=0.12.0,<=0.13.2", "transformers": ">=4.56.2,<=4.57.6"},
        only={"model": ("llama",), "method": EMBEDDING_METHODS, "aspect": ("cached",)},
        outcome="wrong",
        signature="drops the prompt",
        link="https://github.com/huggingface/peft/issues/2123",
    ),
    Expectation(
        where={"peft": ">=0.12.0,<=0.13.2", "transformers": ">=5.1.0"},
        only={"model": ("llama",), "method": EMBEDDING_METHODS, "aspect": ("cached",)},
        outcome="wrong",
        signature="drops the prompt",
        link="https://github.com/huggingface/peft/issues/2123",
    ),
    Expectation(
        where={"peft": ">=0.12.0,<=0.13.1", "transformers": ">=4.43.3,<=4.45.1"},
        only={"model": ("qwen2",), "method": ("p_tuning", "prefix_tuning", "prompt_tuning"), "aspect": ("cached",)},
        outcome="wrong",
        signature="drops the prompt",
        link="https://github.com/huggingface/peft/issues/2123",
    ),
    Expectation(
        where={"peft": ">=0.12.0,<=0.13.1", "transformers": ">=4.43.3,<=4.45.1"},
        only={"model": ROTARY, "method": ("prefix_tuning_projection",), "aspect": ("cached",)},
        outcome="wrong",
        signature="drops the prompt",
        link="https://github.com/huggingface/peft/issues/2123",
    ),
    Expectation(
        where={"peft": "==0.12.0", "transformers": ">=4.42.4,<=4.47.1"},
        only={"model": ("llama",), "method": ("prefix_tuning",), "aspect": ("cached",)},
        outcome="wrong",
        signature="drops the prompt",
        link="https://github.com/huggingface/peft/issues/2123",
    ),
    Expectation(
        where={"peft": "==0.12.0", "transformers": ">=4.42.4,<=4.44.2"},
        only={"model": ("llama",), "method": EMBEDDING_METHODS, "aspect": ("workaround",)},
        outcome="wrong",
        signature="leaves the forward loop",
        link="https://github.com/huggingface/peft/pull/1969",
    ),
    Expectation(
        where={"peft": "==0.12.0", "transformers": ">=4.43.3,<=4.44.2"},
        only={"model": ("qwen2",), "method": EMBEDDING_METHODS, "aspect": ("workaround",)},
        outcome="wrong",
        signature="leaves the forward loop",
        link="https://github.com/huggingface/peft/pull/1969",
    ),
    # The report itself. peft 0.13.1 alone does not cure it, transformers 4.45.2 alone does.
    Expectation(
        where={"peft": ">=0.13.0,<=0.13.1", "transformers": "==4.45.1"},
        only={"model": ("bloom",), "aspect": ("cached",)},
        outcome="error",
        signature="The expanded size of the tensor",
        link=REPORT,
    ),
    Expectation(
        where={"peft": ">=0.12.0,<=0.13.2", "transformers": ">=4.43.3,<=4.45.2"},
        only={"model": ROTARY, "method": PREFIX_METHODS, "aspect": ("workaround",)},
        outcome="error",
        signature="'tuple' object has no attribute 'get_seq_length'",
        link=CACHE_IN_GENERATE,
    ),
    Expectation(
        where={"peft": ">=0.13.0,<=0.13.2", "transformers": ">=4.45.1,<=4.45.2"},
        only={"model": ("bloom",), "method": PREFIX_METHODS, "aspect": ("workaround",)},
        outcome="error",
        signature="'tuple' object has no attribute 'get_seq_length'",
        link=CACHE_IN_GENERATE,
    ),
    # From here on found by this suite: use_cache=False with a prefix, up to the newest releases.
    Expectation(
        where={"peft": ">=0.16.0", "transformers": ">=4.54.1,<=5.3.0"},
        only={"model": ("llama",), "method": ("prefix_tuning",), "aspect": ("workaround",)},
        outcome="error",
        signature="The expanded size of the tensor",
        link=UNCACHED_PREFIX,
    ),
    Expectation(
        where={"peft": ">=0.17.1,<=0.18.1", "transformers": ">=4.55.4,<=4.57.3"},
        only={"model": ("llama",), "method": ("prefix_tuning_projection",), "aspect": ("workaround",)},
        outcome="error",
        signature="The expanded size of the tensor",
        link=UNCACHED_PREFIX,
    ),
    Expectation(
        where={"peft": ">=0.17.1,<=0.18.1", "transformers": ">=4.55.4,<=4.57.3"},
        only={"model": ("bloom",), "method": PREFIX_METHODS, "aspect": ("workaround",)},
        outcome="error",
        signature="doesn't match the broadcast shape",
        link=UNCACHED_PREFIX,
    ),
    Expectation(
        where={"peft": ">=0.19.1", "transformers": ">=5.4.0"},
        only={"model": ("llama",), "method": ("prefix_tuning",), "aspect": ("workaround",)},
        outcome="error",
        signature="mat1 and mat2 shapes cannot be multiplied",
        link=UNCACHED_PREFIX,
    ),
    Expectation(
        where={"peft": ">=0.19.1", "transformers": ">=5.14.1"},
        only={"model": ("llama",), "method": ("prefix_tuning_projection",), "aspect": ("workaround",)},
        outcome="error",
        signature="mat1 and mat2 shapes cannot be multiplied",
        link=UNCACHED_PREFIX,
    ),
    Expectation(
        where={"peft": "==0.20.0", "transformers": "==5.14.1"},
        only={"model": ("opt",), "method": PREFIX_METHODS, "aspect": ("workaround",)},
        outcome="error",
        signature="The size of tensor a",
        link=UNCACHED_PREFIX,
    ),
    Expectation(
        where={"peft": ">=0.19.1", "transformers": ">=5.18.0"},
        only={"model": ("opt",), "method": PREFIX_METHODS, "aspect": ("workaround",)},
        outcome="wrong",
        signature="leaves the forward loop",
        link=UNCACHED_PREFIX,
    ),
    # Releases far apart, as the grid has them; docs/grid.md reads them.
    Expectation(
        where={"peft": ">=0.9.0,<=0.11.1", "transformers": ">=4.42.4,<=4.44.2"},
        only={"model": ("llama",), "method": EMBEDDING_METHODS, "aspect": ("workaround",)},
        outcome="error",
        signature="KeyError: 'Cache only has",
        link="https://github.com/huggingface/peft/issues/2379",
    ),
    Expectation(
        where={"peft": ">=0.9.0,<=0.13.2", "transformers": ">=4.51.3,<=4.53.3"},
        only={"model": ("llama",), "method": ("prefix_tuning",)},
        outcome="error",
        signature="ValueError: The `past_key_values` should be either a",
        link="docs/grid.md",
    ),
    Expectation(
        where={"peft": ">=0.9.0,<=0.11.1", "transformers": ">=4.54.1,<=4.57.6"},
        only={"model": ("llama",), "method": EMBEDDING_METHODS, "aspect": ("cached",)},
        outcome="error",
        signature="AttributeError: 'NoneType' object has no attribute 'shape'",
        link="docs/grid.md",
    ),
    Expectation(
        where={"peft": ">=0.9.0,<=0.13.2", "transformers": "==5.0.0"},
        only={"model": ("llama",), "method": EMBEDDING_METHODS, "aspect": ("cached",)},
        outcome="error",
        signature="KeyError: 'past_key_values'",
        link="docs/grid.md",
    ),
    Expectation(
        where={"peft": ">=0.12.0,<=0.13.2", "transformers": ">=4.46.3,<=4.47.1"},
        only={"model": ("llama",), "method": ("prefix_tuning",), "aspect": ("workaround",)},
        outcome="error",
        signature="KeyError: 'past_key_values'",
        link="docs/grid.md",
    ),
    Expectation(
        where={"peft": ">=0.9.0,<=0.11.1", "transformers": ">=5.1.0"},
        only={"model": ("llama",), "method": EMBEDDING_METHODS, "aspect": ("cached",)},
        outcome="error",
        signature="TypeError: 'DynamicCache' object is not subscriptable",
        link="docs/grid.md",
    ),
    Expectation(
        where={"peft": ">=0.12.0,<=0.13.2", "transformers": "==4.40.2"},
        only={"model": ("llama",), "method": ("prefix_tuning",), "aspect": ("workaround",)},
        outcome="error",
        signature="AttributeError: 'tuple' object has no attribute 'update'",
        link="docs/grid.md",
    ),
    Expectation(
        where={"peft": ">=0.13.0,<=0.13.2", "transformers": "==4.42.4"},
        only={"model": ("llama",), "method": ("prefix_tuning",), "aspect": ("cached",)},
        outcome="error",
        signature="AttributeError: 'tuple' object has no attribute",
        link="docs/grid.md",
    ),
    Expectation(
        where={"peft": ">=0.14.0,<=0.15.2", "transformers": ">=5.0.0"},
        only={"model": ("llama",), "method": ("prefix_tuning",)},
        outcome="error",
        signature="AttributeError: type object 'DynamicCache' has no attribute",
        link="docs/grid.md",
    ),
    Expectation(
        where={"peft": ">=0.16.0", "transformers": ">=4.43.4,<=4.44.2"},
        only={"model": ("llama",), "method": ("p_tuning", "prefix_tuning", "prompt_tuning")},
        outcome="error",
        signature="TypeError: argument of type 'LlamaConfig' is not iterable",
        link="docs/grid.md",
    ),
    Expectation(
        where={"peft": ">=0.16.0", "transformers": "==4.45.2"},
        only={"model": ("llama",), "method": ("prefix_tuning",), "aspect": ("cached",)},
        outcome="error",
        signature="IndexError: index",
        link="docs/grid.md",
    ),
)


def check(trial: Trial, benchmark: Any) -> None:
    """Compare cached, uncached and forward-loop tokens, and with the base model's."""
    device = trial.torch_device()
    base = make_model(trial.model, device=device, trained=False)
    ids = encode(QUESTION, device=device)
    mask = torch.ones_like(ids)
    base_tokens, _ = greedy_by_forward(base, ids, mask, new_tokens=NEW_TOKENS)
    model = attach(base, trial.method, virtual_tokens=VIRTUAL_TOKENS)
    reference, margin = greedy_by_forward(model, ids, mask, new_tokens=NEW_TOKENS)
    trial.evidence.update(
        input_tokens=ids.shape[1],
        virtual_tokens=VIRTUAL_TOKENS,
        margin=margin,
        reference=reference[0].tolist(),
        base=base_tokens[0].tolist(),
    )
    # The first token, because a prompt may be dropped at the first step alone.
    trial.expect(int(reference[0, 0]) != int(base_tokens[0, 0]), "the prompt does not change what forward says")

    use_cache = trial.aspect == "cached"
    with ForwardCounter(model.get_base_model(), use_cache=use_cache) as counter:
        generated = greedy_by_generate(model, ids, mask, new_tokens=NEW_TOKENS, use_cache=use_cache)
    trial.evidence["generated"] = generated[0].tolist()
    trial.counters.update(counter.summary())
    if not same_tokens(generated, reference):
        trial.evidence["first_difference"] = first_difference(generated, reference)
        like = "drops the prompt and" if same_tokens(generated, base_tokens) else "uses the prompt but"
        trial.expect(False, f"generate(use_cache={use_cache}) {like} leaves the forward loop")  # noqa: FBT003

    if use_cache and trial.timed:
        arms = generating_arms(model, ids, mask, new_tokens=NEW_TOKENS)
        trial.counters.update(count_operators(arms["cached"]))
        trial.latency.update(
            interleave(benchmark, arms, model=model.get_base_model(), device=device, timing=trial.timing)
        )
