"""Each check can fail: faults planted in a real release, one for each thing that no release was seen to break."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import pytest

from harness.environments.build import build
from harness.environments.index import clean_environment
from harness.environments.locks import lock_book
from harness.matrix.read import load_matrix
from harness.paths import ROOT

PROGRAM = """
import importlib, json, sys, tempfile
from pathlib import Path
sys.path[:0] = {overlays}
sys.path += {behind} + [{root!r}]
import torch, peft, transformers
from unittest.mock import patch
from harness.kit import Trial
from harness.kit.outcomes import classify, message
from peft.tuners.multitask_prompt_tuning.model import MultitaskPromptEmbedding as Multitask
from peft.tuners.adaption_prompt.layer import AdaptedAttention as Adapted
from peft.tuners.cpt.model import CPTEmbedding as Cpt
from peft.tuners.prompt_tuning.model import PromptEmbedding as Prompt

def changed(owner, name, change):
    original = getattr(owner, name)
    return patch.object(owner, name, lambda self, *args, **kwargs: change(self, original, *args, **kwargs))

def first_task(self, original, indices, task_ids):
    return original(self, indices, torch.zeros_like(task_ids))

def first_row(self, original, indices, task_ids):
    return original(self, indices, task_ids)[:1].repeat(len(task_ids), 1, 1)

def no_tasks_in_generate(self, original, task_ids, **kwargs):
    return original(self, task_ids=torch.zeros_like(task_ids), **kwargs)

def without_columns(self, original, state):
    return Prompt._load_adapter_state_dict(self, dict(prompt_embeddings=state["prompt_embeddings"]))

def shifted(self, original, indices):
    return original(self, indices).roll(1, -2)

def open_gate(self, original, *args, **kwargs):
    original(self, *args, **kwargs)
    self.adaption_gate.data.fill_(1.0)

def forgets(self, original, **kwargs):
    past = kwargs.get("past_key_values")
    if past is not None and past.get_seq_length(self.model.layer_idx) and kwargs["hidden_states"].shape[1] == 1:
        return self.model(**kwargs)
    return original(self, **kwargs)

def base_answers(self, original, input_ids=None, attention_mask=None, labels=None, **kwargs):
    return self.base_model(input_ids=input_ids, attention_mask=attention_mask, labels=labels)

def sees_padding(self, original, input_ids=None, attention_mask=None, **kwargs):
    return original(self, input_ids=input_ids, attention_mask=torch.ones_like(attention_mask), **kwargs)

def loses_some_later(self, original, *args, **kwargs):
    inputs = original(self, *args, **kwargs)
    if inputs.get("inputs_embeds") is None:
        for layer in inputs["past_key_values"].layers:
            layer.keys[:, :, :5] = 0.0
    return inputs

Lm, Seq, Tok = peft.PeftModelForCausalLM, peft.PeftModelForSequenceClassification, peft.PeftModelForTokenClassification
prepare = "prepare_inputs_for_generation"
plants = {{
    "no fault": lambda: changed(Multitask, "forward", lambda self, original, *args: original(self, *args)),
    "one task for all": lambda: changed(Multitask, "forward", first_task),
    "the first row's task for all": lambda: changed(Multitask, "forward", first_row),
    "generate has one task": lambda: changed(Lm, "generate", no_tasks_in_generate),
    "task columns not loaded": lambda: changed(Multitask, "_load_adapter_state_dict", without_columns),
    "words in another order": lambda: changed(Cpt, "forward", shifted),
    "words of text in another order": lambda: changed(Prompt, "forward", shifted),
    "gate not closed": lambda: changed(Adapted, "__init__", open_gate),
    "forgotten with the cache": lambda: changed(Adapted, "forward", forgets),
    "the base classifies": lambda: changed(Seq, "forward", base_answers),
    "the base tags": lambda: changed(Tok, "forward", base_answers),
    "padding is seen by the classifier": lambda: changed(Seq, "forward", sees_padding),
    "padding is seen by the tagger": lambda: changed(Tok, "forward", sees_padding),
    "virtual tokens are lost later": lambda: changed(Lm, prepare, loses_some_later),
}}
for line in sys.stdin:
    fault, case, variant = json.loads(line)
    trial = Trial(variant=dict(variant, device="cpu", dtype="float32"), scratch=Path(tempfile.mkdtemp(dir=".")))
    with plants[fault]():
        try:
            importlib.import_module("cases." + case).check(trial)
            outcome, words = "passed", ""
        except Exception as error:
            outcome, words = str(classify(error)[0]), message(error)
    print("RESULT" + json.dumps([outcome, words]), flush=True)
"""

MULTITASK = ("multitask_prompt", {"model": "llama"})
PROPERTIES = ("prompt_learning_properties", {"model": "llama", "method": "prompt_tuning"})
PROMPTED = {"model": "bert", "method": "prompt_tuning"}
CLASSIFIER = ("classification", {"task": "sequence", **PROMPTED})
TAGGER = ("classification", {"task": "token", **PROMPTED})
BY_HAND = ("by_hand_classification", {"task": "sequence", **PROMPTED, "layout": "alone", "types": "none"}, "")
FAULTS: list[tuple[str, str, dict[str, str], str]] = [
    ("no fault", *MULTITASK, "by_hand"),
    ("no fault", *MULTITASK, "cached"),
    ("no fault", *PROPERTIES, "cache"),
    ("no fault", *PROPERTIES, "right"),
    ("one task for all", *MULTITASK, "by_hand"),
    ("the first row's task for all", *MULTITASK, "batch"),
    ("generate has one task", *MULTITASK, "cached"),
    ("generate has one task", *MULTITASK, "workaround"),
    ("task columns not loaded", *MULTITASK, "reload"),
    ("words in another order", "cpt_generate", {"model": "llama", "method": "cpt"}, "forward"),
    ("words in another order", "cpt_generate", {"model": "llama", "method": "cpt"}, "cached"),
    ("words of text in another order", "cpt_generate", {"model": "gpt2", "method": "prompt_tuning_text"}, "forward"),
    ("virtual tokens are lost later", "cpt_generate", {"model": "gpt2", "method": "prompt_tuning_text"}, "cached"),
    ("gate not closed", "adaption_prompt_cache", {"model": "llama"}, "closed"),
    ("forgotten with the cache", "adaption_prompt_cache", {"model": "llama"}, "cached"),
    ("the base classifies", *CLASSIFIER, "used"),
    ("padding is seen by the classifier", *CLASSIFIER, "batch"),
    ("no fault", *BY_HAND),
    ("words of text in another order", *BY_HAND),
    ("the base tags", *TAGGER, "used"),
    ("padding is seen by the tagger", *TAGGER, "batch"),
    ("virtual tokens are lost later", *PROPERTIES, "cache"),
    ("virtual tokens are lost later", "generate_families", {"model": "qwen3", "method": "p_tuning_lstm"}, "cached"),
]


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    """Run every planted fault in one process of the newest cell."""
    matrix = load_matrix("families")
    newest = matrix.cells[0]
    lock = lock_book(matrix).get(newest)
    assert lock is not None
    environment = build(lock, newest.python)
    folder = tmp_path_factory.mktemp("planted")
    overlays, behind = [[str(path) for path in paths] for paths in (environment.overlays, environment.behind)]
    program = folder / "program.py"
    program.write_text(PROGRAM.format(overlays=overlays, behind=behind, root=str(ROOT)), encoding="utf-8")
    asked = "".join(json.dumps([fault, case, {**axes, "aspect": a}]) + "\n" for fault, case, axes, a in FAULTS)
    command = [str(environment.python), "-P", str(program)]
    environ = clean_environment({"TRANSFORMERS_VERBOSITY": "error"})
    done = subprocess.run(command, input=asked, capture_output=True, text=True, env=environ, cwd=folder, check=False)
    assert done.returncode == 0, done.stderr
    told = [json.loads(line.removeprefix("RESULT")) for line in done.stdout.splitlines() if line.startswith("RESULT")]
    return list(zip(FAULTS, told, strict=True))


def test_a_planted_fault_is_a_wrong_answer(outcomes: list[Any]) -> None:
    """Every check says wrong where its fault is, and passes where there is none."""
    expected = {
        (fault, case, aspect): "passed" if fault == "no fault" else "wrong" for fault, case, _, aspect in FAULTS
    }
    seen = {(fault, case, aspect): outcome for (fault, case, _, aspect), (outcome, _) in outcomes}
    assert seen == expected, [(one[0], one[1], one[3], words) for one, (_, words) in outcomes]
