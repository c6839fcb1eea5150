"""Short scripts for an issue (pure): a random model of the right config, a seed, one call.

A template is one behaviour as a maintainer would write it down, for the cases that ask for it. Whether a short script
shows what the case shows is not known here: :mod:`harness.repro.verify` runs both in the cell.
"""

from __future__ import annotations

import ast
import json
import textwrap
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any

from harness.environments.resolve import name_of
from harness.matrix.source import redact
from harness.packages import MODULES_UNDER_TEST, PACKAGES
from harness.paths import ROOT

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.environments.resolve import Lock
    from harness.matrix.cases import Case

MOST_LINES = 40
SEEDS = (0, 1, 2, 3)
"""Random weights do not always tell two answers apart; the first seed that shows it is the script's."""

_WIDTH = 100
_VIRTUAL = 10
_ENCODER_DECODERS = frozenset({"t5", "bart"})
_UNCACHED = frozenset({"workaround", "uncached"})
_CLASSES = {
    "bert": {
        "sequence": "BertForSequenceClassification",
        "token": "BertForTokenClassification",
        "question": "BertForQuestionAnswering",
    },
    "roberta": {
        "sequence": "RobertaForSequenceClassification",
        "token": "RobertaForTokenClassification",
        "question": "RobertaForQuestionAnswering",
    },
}
_TASKS = {"sequence": "SEQ_CLS", "token": "TOKEN_CLS", "question": "QUESTION_ANS"}
_METHODS = {
    "prompt_tuning": "PromptTuningConfig({prompt})",
    "prefix_tuning": "PrefixTuningConfig({prompt})",
    "prefix_tuning_projection": "PrefixTuningConfig({prompt}, prefix_projection=True, encoder_hidden_size=32)",
    "p_tuning": "PromptEncoderConfig({prompt}, encoder_hidden_size=32)",
    "p_tuning_lstm": 'PromptEncoderConfig({prompt}, encoder_reparameterization_type="LSTM", encoder_hidden_size=32)',
    "multitask_prompt_tuning": "MultitaskPromptTuningConfig({prompt}, num_tasks=3)",
    "cartridge": "CartridgeConfig({prompt})",
    "lora": "LoraConfig(task_type={task}, r=4{targets}, init_lora_weights=False)",
    "cpt": (
        "CPTConfig(task_type={task}, cpt_token_ids=list(range(10, 20)), cpt_mask=[1] * 10, "
        "cpt_tokens_type_mask=[1] * 9 + [4], opt_projection_epsilon=100.0)"
    ),
}


@dataclass(frozen=True, kw_only=True)
class Template:
    """One behaviour: what the script says in its first line, and its lines after the model.

    ``says`` and ``body`` have places for the variant's facts. ``loud`` fills the weights with large numbers, so that
    every token counts. ``imports`` are lines beside the three libraries'. With ``bare`` the body makes model and
    adapter by itself. ``fixed`` are options of the family's config, ``task`` is that of an encoder's head.
    """

    says: str
    body: str
    imports: tuple[str, ...] = ()
    loud: bool = True
    bare: bool = False
    adapter_name: str = ""
    fixed: Mapping[str, Any] = field(default_factory=dict)
    task: str = ""


_FORWARD_LOOP = """\
expected = text
for _ in range(6):
    logits = model(input_ids=expected, attention_mask=torch.ones_like(expected)).logits
    expected = torch.cat([expected, logits[:, -1:].argmax(-1)], dim=1)
print("generate:", answer[0, 12:].tolist(), "forward:", expected[0, 12:].tolist())
assert torch.equal(answer, expected), "generate leaves the forward loop"
"""
"""Holds ``answer``, which was generated for ``text``, against what forward says."""

_GENERATE = Template(
    says="Greedy generate says what a plain loop over forward says.",
    body="""
text = torch.randint(7, 60, (1, 12))
answer = model.generate(
    input_ids=text, attention_mask=torch.ones_like(text), max_new_tokens=6, do_sample=False, use_cache={use_cache}
)
"""
    + _FORWARD_LOOP,
)
_GENERATE_SEQ2SEQ = Template(
    says="Greedy generate says what a plain loop over forward says.",
    body="""
text = torch.randint(7, 60, (1, 12))
answer = model.generate(
    input_ids=text, attention_mask=torch.ones_like(text), max_new_tokens=6, do_sample=False, use_cache={use_cache}
)
expected = torch.full((1, 1), config.decoder_start_token_id)
for _ in range(6):
    outputs = model(input_ids=text, attention_mask=torch.ones_like(text), decoder_input_ids=expected)
    expected = torch.cat([expected, outputs.logits[:, -1:].argmax(-1)], dim=1)
print("generate:", answer[0, 1:].tolist(), "forward:", expected[0, 1:].tolist())
assert torch.equal(answer, expected), "generate leaves the forward loop"
""",
)
_LEFT_PADDING = Template(
    says="A row that is padded on the left has the logits that it has alone.",
    body="""
text, padding = torch.randint(7, 60, (1, 12)), torch.zeros(1, 30, dtype=torch.long)
alone = model(input_ids=text, attention_mask=torch.ones_like(text)).logits[0, -1]
mask = torch.cat([padding, torch.ones_like(text)], dim=1)
padded = model(input_ids=torch.cat([padding, text], dim=1), attention_mask=mask{positions}).logits[0, -1]
print("largest difference of a logit:", (alone - padded).abs().max().item())
assert torch.allclose(alone, padded, atol=1e-3), "padding moves the logits"
""",
)
_LEFT_GENERATE = Template(
    says="A row of a batch that is padded on the left is answered as it is alone.",
    body="""
text, padding = torch.randint(7, 60, (1, 12)), torch.zeros(1, 8, dtype=torch.long)
options = dict(max_new_tokens=6, do_sample=False, pad_token_id=0)
alone = model.generate(input_ids=text, attention_mask=torch.ones_like(text), **options)
mask = torch.cat([padding, torch.ones_like(text)], dim=1)
padded = model.generate(input_ids=torch.cat([padding, text], dim=1), attention_mask=mask, **options)
print("alone:", alone[0, -6:].tolist(), "padded:", padded[0, -6:].tolist())
assert torch.equal(alone[:, -6:], padded[:, -6:]), "padding changes the answer"
""",
)
_LOADED = Template(
    task="sequence",
    says="Weights that are loaded into the model which was trained answer as they did when they were saved.",
    imports=("import tempfile",),
    body="""
for weight in model.parameters():  # as if it had been trained
    torch.nn.init.normal_(weight) if weight.requires_grad else None
text = torch.randint(7, 60, (1, 12))
before = model(input_ids=text, attention_mask=torch.ones_like(text)).logits
with tempfile.TemporaryDirectory() as folder:
    model.save_pretrained(folder)
    model.load_adapter(folder, "default", is_trainable=True)  # what load_best_model_at_end does
after = model.eval()(input_ids=text, attention_mask=torch.ones_like(text)).logits
print("largest difference of a logit:", (before - after).abs().max().item())
assert torch.allclose(before, after, atol=1e-3), "loaded again it says otherwise"
""",
)
_ASSISTED = Template(
    says="Assisted greedy decoding says what a plain loop over forward says.",
    body="""
text = torch.randint(7, 60, (1, 12))
answer = model.generate(
    input_ids=text, attention_mask=torch.ones_like(text), max_new_tokens=6, do_sample=False, {assisted}
)
"""
    + _FORWARD_LOOP,
)
_FOUR_DIMENSIONS = Template(
    says="forward takes a causal mask of four dimensions, as the model without the adapter does.",
    loud=False,
    body="""
text = torch.randint(7, 60, (1, 12))
mask = torch.ones(1, 1, 12, 12).tril(){additive}
base(input_ids=text, attention_mask=mask)
model(input_ids=text, attention_mask=mask)
""",
)
_EMBEDDINGS = Template(
    says="generate takes embeddings in the place of ids, as the model without the adapter does.",
    loud=False,
    body="""
embeddings = base.get_input_embeddings()(torch.randint(7, 60, (1, 12))).detach()
mask = torch.ones(1, 12, dtype=torch.long)
base.generate(inputs_embeds=embeddings, attention_mask=mask, max_new_tokens=2, do_sample=False)
model.generate(inputs_embeds=embeddings, attention_mask=mask, max_new_tokens=2, do_sample=False)
""",
)
_MERGE = Template(
    says="A refusal to merge says that it is prompt learning which cannot be merged.",
    loud=False,
    body="""
try:
    model.{aspect}()
except Exception as error:
    print(type(error).__name__, error)
    assert "prompt" in str(error).lower(), "the refusal does not say why"
""",
)
_CHECKPOINTING = Template(
    says="A training step with gradient checkpointing, switched on after the adapter as Trainer does.",
    loud=False,
    body="""
text = torch.randint(7, 60, (1, 12))
model.gradient_checkpointing_enable(gradient_checkpointing_kwargs=dict(use_reentrant=False))
model.train()
model(input_ids=text, attention_mask=torch.ones_like(text), labels=text).loss.backward()
""",
)
_STATIC = Template(
    says="generate with a static cache runs.",
    loud=False,
    body="""
text = torch.randint(7, 60, (1, 12))
model.generate(
    input_ids=text, attention_mask=torch.ones_like(text), max_new_tokens=6, do_sample=False,
    cache_implementation="static",
)
""",
)
_CONVERSATION = Template(
    says="The second turn with the first turn's cache says what it says without a cache.",
    body="""
text, more = torch.randint(7, 60, (1, 12)), torch.randint(7, 60, (1, 5))
options = dict(max_new_tokens=6, do_sample=False)


def talk(**cache):
    said = model.generate(input_ids=text, attention_mask=torch.ones_like(text), **options, **cache)
    whole = torch.cat([said, more], dim=1)
    return model.generate(input_ids=whole, attention_mask=torch.ones_like(whole), **options, **cache)[0, -6:].tolist()


with_cache, without = talk(past_key_values=transformers.DynamicCache()), talk()
print("with the cache:", with_cache, "without:", without)
assert with_cache == without, "the cache changes the answer"
""",
)
_CLASSIFY = Template(
    says="A classifier with a prompt gives a loss.",
    loud=False,
    fixed={"num_labels": 3},
    body="""
text = torch.randint(7, 60, (1, 12))
labels = {labels}
print(model(input_ids=text, attention_mask=torch.ones_like(text), labels=labels).loss)
""",
)
_CPT_STEP = Template(
    says="An adapter that is not called default takes a training step.",
    loud=False,
    adapter_name="digits",
    body="""
text = torch.randint(7, 60, (1, 12))
kinds = torch.full_like(text, 2)
model(input_ids=text, attention_mask=torch.ones_like(text), labels=text, input_type_mask=kinds).loss.backward()
""",
)
_ALL_USED = Template(
    says="Every trained number of the prompt has an effect on the answer.",
    body="""
text = torch.randint(7, 60, (1, 12))
logits = model(input_ids=text, attention_mask=torch.ones_like(text), decoder_input_ids=text).logits
(logits * torch.randn_like(logits)).mean().backward()
for name, weight in model.named_parameters():
    if weight.requires_grad:
        unused = (weight.grad == 0).float().mean().item()
        print(name, "without a gradient:", unused)
        assert unused == 0, "trained numbers have no effect"
""",
)
_DECODER_IDS = Template(
    says="forward takes the decoder's ids, as the model without the adapter does.",
    loud=False,
    body="""
text = torch.randint(7, 60, (1, 12))
mask = torch.ones_like(text)
base(input_ids=text, attention_mask=mask, decoder_input_ids=text)
model(input_ids=text, attention_mask=mask, decoder_input_ids=text{task_ids})
""",
)
_SENTENCES = """
folder = tempfile.mkdtemp()
words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefghijklmnop"]
pathlib.Path(folder, "vocab.txt").write_text("\\n".join(words))
transformers.BertTokenizerFast(str(pathlib.Path(folder, "vocab.txt"))).save_pretrained(folder)
base.save_pretrained(folder)
sentences = sentence_transformers.SentenceTransformer(folder, device="cpu")
"""
_SENTENCE_IMPORTS = ("import pathlib", "import tempfile", "import sentence_transformers")
_ADD_ADAPTER = Template(
    says="A SentenceTransformer takes a prompt by {attach}.",
    imports=_SENTENCE_IMPORTS,
    loud=False,
    bare=True,
    body=_SENTENCES
    + """{bring}
print(sentences.encode(["a b c"]).shape)
""",
)
_ASSIGNED = Template(
    says="A PEFT model that is put into a SentenceTransformer is used.",
    imports=_SENTENCE_IMPORTS,
    body=_SENTENCES
    + """before = sentences.encode(["a b c"], convert_to_tensor=True)
{assign}
after = sentences.encode(["a b c"], convert_to_tensor=True)
print("largest difference of a number:", (before - after).abs().max().item())
assert not torch.allclose(before, after), "the adapter is not used"
""",
)
_POOLED = Template(
    says="A text in a padded batch has the embedding that it has alone.",
    imports=_SENTENCE_IMPORTS,
    body=_SENTENCES
    + """{assign}
alone = sentences.encode(["a b c"], convert_to_tensor=True)[0]
together = sentences.encode(["a b c", "a b c d e f g h i j k l m"], convert_to_tensor=True)[0]
print("largest difference of a number:", (alone - together).abs().max().item())
assert torch.allclose(alone, together, atol=1e-4), "padding changes the embedding"
""",
)


_MIXED = Template(
    says="Each row of a batch is answered by its own adapter.",
    body="""
model.add_adapter("other", model.peft_config["default"])
text = torch.randint(7, 60, (1, 12))
model.set_adapter("other")
expected = model(input_ids=text).logits
model.set_adapter("default")
found = model(input_ids=text.repeat(2, 1), adapter_names=["default", "other"]).logits[1:]
print("largest difference of a logit:", (expected - found).abs().max().item())
assert torch.allclose(expected, found, atol=1e-3), "the second row has the active adapter"
""",
)
_QUESTION_TYPES = Template(
    says="A question answerer uses the token types that it is given.",
    task="question",
    body="""
text = torch.randint(7, 60, (1, 12))
inputs = {"input_ids": text, "attention_mask": torch.ones_like(text)}
first, second = torch.zeros_like(text), (torch.arange(12) > 5).long()[None]
found = [model(**inputs, token_type_ids=types).start_logits for types in (first, second)]
print("largest difference of a logit:", (found[0] - found[1]).abs().max().item())
assert not torch.allclose(*found), "the token types are not used"
""",
)
_QUESTION_LOSS = Template(
    says="The loss of a question answerer is that of the text's places, before which the prompt stands.",
    task="question",
    body="""
text, place = torch.randint(7, 60, (1, 12)), torch.tensor([4])
inputs = {"input_ids": text, "attention_mask": torch.ones_like(text)}
output = model(**inputs, start_positions=place, end_positions=place)
moved = place + output.start_logits.shape[1] - 12
logits = (output.start_logits, output.end_logits)
expected = sum(torch.nn.functional.cross_entropy(one, moved) for one in logits) / 2
print("loss:", output.loss.item(), "of the text's places:", expected.item())
assert torch.allclose(output.loss, expected), "the places are the prompt's"
""",
)
_CPT_TYPES = Template(
    says="Types that the caller gives are left as they are.",
    body="""
text = torch.randint(7, 60, (1, 12))
types = torch.ones_like(text)
kept = types.clone()
model(input_ids=text, attention_mask=torch.ones_like(text), labels=text, input_type_mask=types)
print("types:", types.tolist())
assert torch.equal(types, kept), "the caller's own tensor is changed"
""",
)

_GENERATION_CONFIG = Template(
    says="What is set as the model's generation config is what generate goes by.",
    body="""
text = torch.randint(7, 60, (1, 12))
model.generation_config = transformers.GenerationConfig(max_new_tokens=3, do_sample=False, pad_token_id=0)
answer = model.generate(input_ids=text, attention_mask=torch.ones_like(text){task_ids})
print("new tokens:", answer.shape[1] - 12)
assert answer.shape[1] == 12 + 3, "generate goes by another generation config than the model's"
""",
)

_DELETE_OF_THREE = Template(
    says="One of three classifiers is deleted, and the others stay.",
    bare=True,
    loud=False,
    task="sequence",
    body="""
model = peft.get_peft_model(base, adapter)
model.add_adapter("other", adapter)
model.add_adapter("third", adapter)
model.set_adapter("third")
model.delete_adapter("third")
print("active:", model.active_adapter)
""",
)
_OTHER_LAYERS = Template(
    says="A prefix of another number of layers than the base has is refused.",
    bare=True,
    imports=("import tempfile",),
    body="""
folder = tempfile.mkdtemp()
peft.get_peft_model(base, adapter).save_pretrained(folder)
config.num_hidden_layers = 1
model = peft.PeftModel.from_pretrained(type(base)(config).eval(), folder)
text = torch.randint(7, 60, (1, 12))
answer = model(input_ids=text, attention_mask=torch.ones_like(text)).logits
print("logits:", tuple(answer.shape))
assert answer is None, "a prefix of two layers answers on a base of one"
""",
)
_KEEPS_ITS_METHOD = Template(
    says="After generate the base model prepares its inputs as it did before.",
    loud=False,
    body="""
before = base.prepare_inputs_for_generation
text = torch.randint(7, 60, (1, 12))
model.generate(input_ids=text, attention_mask=torch.ones_like(text), max_new_tokens=3, do_sample=False)
print("prepares its inputs:", base.prepare_inputs_for_generation.__qualname__)
assert base.prepare_inputs_for_generation == before, "the base model is no longer what it was"
""",
)


def template_of(case: str, variant: Mapping[str, str]) -> Template | None:  # noqa: C901, PLR0911, PLR0912 - one case a line or two
    """Return the template for a variant of a case; None where there is none."""
    aspect, model, layout = variant.get("aspect"), variant.get("model"), variant.get("layout", variant.get("padding"))
    match case:
        case "generate_with_cache" | "generate_families" if aspect in {"cached", "workaround"}:
            return _GENERATE
        case "encoder_decoder_generate" if aspect in {"cached", "workaround"}:
            return _GENERATE_SEQ2SEQ
        case "by_hand_generate":
            return _GENERATE_SEQ2SEQ if model in _ENCODER_DECODERS else _GENERATE
        case "padded_batch" if aspect in {"left", "left_generate"}:
            return _LEFT_PADDING if aspect == "left" else _LEFT_GENERATE
        case "by_hand_forward" if model in _ENCODER_DECODERS:
            return _DECODER_IDS
        case "by_hand_forward" if layout in {None, "left"}:
            return _LEFT_PADDING
        case "configurations" | "load_best_model_at_end" if variant.get("method") != "lora":
            return _LOADED
        case "assisted_decoding":
            return _ASSISTED
        case "four_dimensional_mask":
            return _FOUR_DIMENSIONS
        case "inputs_embeds" if aspect == "generate":
            return _EMBEDDINGS
        case "merging_is_refused":
            return _MERGE
        case "gradient_checkpointing" if aspect == "after":
            return _CHECKPOINTING
        case "static_cache":
            return _STATIC
        case "callers_cache" if aspect == "second_turn":
            return _CONVERSATION
        case "classification":
            return _CLASSIFY
        case "cpt_generate" if aspect == "named":
            return _CPT_STEP
        case "training_gradients" if aspect == "all_used" and model in _ENCODER_DECODERS:
            return _ALL_USED
        case "mixed_batch" if aspect == "forward":
            return _MIXED
        case "question_answering" if aspect in {"typed", "loss"}:
            return _QUESTION_TYPES if aspect == "typed" else _QUESTION_LOSS
        case "forward_arguments" if variant.get("method") == "cpt" and aspect == "unchanged":
            return _CPT_TYPES
        case "forward_arguments" if aspect == "generation_config":
            return _GENERATION_CONFIG
        case "classifier_heads" if aspect == "deleted_of_three" and variant.get("model") == "bert":
            return _DELETE_OF_THREE
        case "deeper_base" if aspect == "shallower":
            return _OTHER_LAYERS
        case "several_adapters_state" if aspect == "base_after" and variant.get("model") in _ENCODER_DECODERS:
            return _KEEPS_ITS_METHOD
        case "sentence_transformer_pooling" if variant["attach"] in {"add_adapter", "load_adapter"}:
            return _ADD_ADAPTER
        case "sentence_transformer_pooling" if variant["attach"] in {"modules", "module_model"}:
            return _ASSIGNED if variant["attach"] == "modules" else _POOLED
    return None


def short_script(case: Case, variant: Mapping[str, str], lock: Lock, python: str, *, seed: int = 0) -> str | None:
    """Write the short script of a variant of a case; None where no template fits, or it is longer than a page."""
    template = template_of(case.name, variant)
    method = variant.get("method", "")
    if template is None or method not in _METHODS:
        return None
    text = _metadata(lock, python) + f'"""{template.says.format(**variant)}"""\n\n' + code(template, variant, seed=seed)
    return text if len(text.splitlines()) <= MOST_LINES else None


def code(template: Template, variant: Mapping[str, str], *, seed: int) -> str:
    """Write the Python of a template for a variant: imports, the model, the adapter, and what is asked of it."""
    family = variant.get("model", "bert")
    task = variant.get("task", template.task if family in _CLASSES else "")
    made = families()[family]
    model = _CLASSES[family][task] if task else made["model"]
    options = {**made["options"], **template.fixed}
    imports = sorted(
        [*template.imports, "import peft", "import torch", "import transformers"],
        key=lambda line: (line.split()[1] not in {"tempfile", "pathlib"}, line),
    )
    standard = sum(line.split()[1] in {"tempfile", "pathlib"} for line in imports)
    lines = [*imports[:standard], *([""] if standard else []), *imports[standard:], "", f"torch.manual_seed({seed})"]
    lines += [_call(f"config = transformers.{made['config']}", options)]
    lines += [f"base = transformers.{model}(config).eval()"]
    if template.loud:
        lines += [
            "for weight in base.parameters():  # loud, so that every token counts",
            "    torch.nn.init.normal_(weight, std=0.5) if weight.dim() > 1 else None",
        ]
    config = _adapter(family, variant.get("method", ""), _TASKS.get(task, _task(family)))
    if template.bare:
        lines += [f"adapter = {config}"]
    else:
        name = f', adapter_name="{template.adapter_name}"' if template.adapter_name else ""
        lines += [_wrap_line(f"model = peft.get_peft_model(base, {config}{name}).eval()")]
    return "\n".join(lines) + "\n" + _body(template, variant).strip("\n") + "\n"


def _body(template: Template, variant: Mapping[str, str]) -> str:
    aspect, attach = variant.get("aspect", ""), variant.get("attach", "")
    assisted = {"assistant": "assistant_model=base", "prompt_lookup": "prompt_lookup_num_tokens=3, eos_token_id=64"}
    bring = {
        "add_adapter": "sentences.add_adapter(adapter)",
        "load_adapter": (
            "adapted = peft.get_peft_model(base, adapter)\nadapted.save_pretrained(folder)\n"
            "sentences.load_adapter(folder)"
        ),
    }
    assign = {
        "modules": 'sentences._modules["0"].auto_model = model',
        "module_model": "sentences[0].model = model",
    }
    # Where positions are counted from the first token, padded or not, the caller gives them.
    positions = "" if variant.get("model") in {"bloom", "opt"} else ", position_ids=(mask.cumsum(1) - 1).clamp(min=0)"
    places = {
        "{positions}": positions,
        "{use_cache}": str(aspect not in _UNCACHED),
        "{assisted}": assisted.get(aspect, ""),
        "{additive}": ".bool()" if aspect == "boolean" else ".sub(1) * 1e9",
        "{aspect}": aspect,
        "{labels}": "torch.tensor([1])" if variant.get("task") == "sequence" else "text % 3",
        "{task_ids}": ", task_ids=torch.tensor([1])" if variant.get("method", "").startswith("multitask") else "",
        "{bring}": bring.get(attach, ""),
        "{assign}": assign.get(attach, ""),
    }
    body = template.body
    for place, text in places.items():
        body = body.replace(place, text)
    return body


def _task(family: str) -> str:
    if family in _CLASSES:
        return "FEATURE_EXTRACTION"
    return "SEQ_2_SEQ_LM" if family in _ENCODER_DECODERS else "CAUSAL_LM"


def _adapter(family: str, method: str, task: str) -> str:
    prompt = f'task_type="{task}", num_virtual_tokens={_VIRTUAL}'
    where = families()[family]["targets"]
    targets = f", target_modules={json.dumps(where)}" if where else ""
    return "peft." + _METHODS[method].format(prompt=prompt, task=f'"{task}"', targets=targets)


def _wrap_line(line: str) -> str:
    """Break the call that makes the model after its first bracket where it is longer than a line."""
    if len(line) <= _WIDTH:
        return line
    head, _, rest = line.partition("base, ")
    inner = textwrap.wrap(f"base, {rest.removesuffix(').eval()')}", _WIDTH - 4, break_on_hyphens=False)
    return "\n".join([head, *(f"    {one}" for one in inner), ").eval()"])


def _call(head: str, options: Mapping[str, Any]) -> str:
    """Write a call with keywords, as many on a line as fit."""
    words = [f"{name}={value!r}".replace("'", '"') + "," for name, value in options.items()]
    lines = textwrap.wrap(" ".join(word.replace(" ", "\0") for word in words), _WIDTH - 4, break_on_hyphens=False)
    body = "\n".join(f"    {line}" for line in lines).replace("\0", " ")
    return f"{head}(\n{body}\n)"


def _metadata(lock: Lock, python: str) -> str:
    """Write the inline metadata of PEP 723: the packages under test at the cell's versions."""
    named = {name_of(pin): redact(pin) for pin in lock.pins}
    shown = [named[name] for name in PACKAGES if name in named and name.replace("-", "_") in MODULES_UNDER_TEST]
    shown += [named["accelerate"]] if "accelerate" in named else []
    lines = ["/// script", f'requires-python = "=={python}.*"', f"dependencies = {json.dumps(shown)}", "///"]
    return "".join(f"# {line}\n" for line in lines)


@cache
def families() -> dict[str, dict[str, Any]]:
    """Return how each family's tiny model is made: ``config``, ``model``, ``options``, and LoRA's ``targets``.

    Read from the kit's module, which runs on the other side of the wall, without what it imports.
    """
    path = ROOT / "harness" / "kit" / "families.py"
    tree = ast.parse(path.read_text(encoding="utf-8"))
    # Nor the import of annotations: as text they would be looked up in a module that nobody has imported.
    tree.body = [
        node
        for node in tree.body
        if not (isinstance(node, ast.ImportFrom) and str(node.module).startswith(("harness", "__future__")))
    ]
    tokens = ast.parse((ROOT / "harness" / "kit" / "tokens.py").read_text(encoding="utf-8"))
    size = next(
        ast.literal_eval(node.value)
        for node in tokens.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "VOCAB_SIZE"
    )
    scope: dict[str, Any] = {"VOCAB_SIZE": size, "__name__": "families"}
    exec(compile(tree, str(path), "exec", dont_inherit=True), scope)  # noqa: S102 - a module of our own
    return {
        name: {
            "config": one.config,
            "model": one.model,
            "options": one.options,
            "targets": scope["LORA_TARGETS"].get(name),
        }
        for name, one in scope["FAMILIES"].items()
    }
