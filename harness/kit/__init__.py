"""What the author of a case imports: ``from harness.kit import Trial, Variants, attach, greedy_by_generate``.

The imports below are the list, by the module that defines each name. A module is imported when the first of its names
is asked for: whoever needs a trial or an outcome alone needs no torch, and nothing here imports peft, so that a worker
can load all of it before it forks for another peft.
"""

from __future__ import annotations

import ast
import importlib
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harness.interface import Oracle, Outcome, Variants
    from harness.kit.answers import (
        NEW_TOKENS,
        QUESTION,
        VIRTUAL_TOKENS,
        adapter_config,
        adapter_options,
        add_adapter,
        base_alone_can,
        expect_equal,
        expect_near,
        expect_same_tokens,
        far,
        greedy,
        hold,
        logits,
        make_base,
        question,
        with_one_adapter,
        wrap,
    )
    from harness.kit.by_hand.check import (
        Bare,
        Batch,
        Gap,
        adapted,
        adapter_of,
        apart,
        bare_model,
        batch_of,
        by_forward,
        by_generate,
        chosen_by_scores,
        expect_logits,
        fresh_base,
        lora_options,
        make_batch,
        need_adaption_prompt,
        need_base_alone,
        readings,
        start_of,
        task_inputs,
        task_of,
        wanted_by_forward,
        wanted_by_generate,
    )
    from harness.kit.by_hand.embeddings import virtual_embeddings
    from harness.kit.by_hand.references import ByHand, Stored, encoder_by_hand, in_file, in_memory, token_types
    from harness.kit.counters import count_operators, counted
    from harness.kit.families import (
        FAMILIES,
        HIDDEN,
        IMAGE_PATCHES,
        IMAGE_SIZE,
        IMAGE_TOKEN,
        LAYERS,
        LORA_TARGETS,
        PRIME_VOCABULARY,
    )
    from harness.kit.methods import (
        INIT_TEXT,
        LORA,
        TASKS,
        attach,
        make_adapter_config,
        strengthen,
        teach,
        untaught,
    )
    from harness.kit.models import (
        encode_for,
        fill,
        hashed_uniform,
        image_inputs,
        make_model,
        make_model_config,
    )
    from harness.kit.oracles import (
        beams_by_forward,
        expect_prompt_used,
        expect_same_generation,
        first_difference,
        greedy_by_decoder,
        greedy_by_forward,
        greedy_by_generate,
        near,
        same_tokens,
        samples_by_forward,
    )
    from harness.kit.outcomes import NoDevice, Unsupported, WrongAnswer
    from harness.kit.properties import for_all_examples
    from harness.kit.shared import made_once
    from harness.kit.timing import generating_arms, grow, interleave
    from harness.kit.tokens import EOS, VOCAB_SIZE, VOCABULARY, decode, encode, make_tokenizer
    from harness.kit.trial import Trial


def _defining_modules() -> dict[str, str]:
    """Return the module of each name in the list above."""
    tree = ast.parse(Path(__file__).read_text(encoding="utf-8"))
    (listed,) = [node for node in tree.body if isinstance(node, ast.If)]
    imports = [node for node in listed.body if isinstance(node, ast.ImportFrom)]
    return {name.name: str(node.module) for node in imports for name in node.names}


_MODULES = _defining_modules()


def __getattr__(name: str) -> object:
    """Import a name of the list from its module (PEP 562)."""
    if name not in _MODULES:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    return getattr(importlib.import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    """List the names for ``dir`` and completion."""
    return sorted(_MODULES)
