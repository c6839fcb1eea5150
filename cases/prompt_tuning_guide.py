"""The guide's whole way: tokenise, two adapters on one base, train, save, load, switch, generate.

Document 003; huggingface/peft#2379, huggingface/transformers#32060. The guide is the cookbook's
notebook on prompt tuning; its BLOOMZ is the tiny Bloom here, its data sets are sentences made in
place. Its learning rate of 0.003 is raised: on so few sentences it moves nothing that can be seen.
"""

from __future__ import annotations

import inspect
from typing import Any

import peft
import torch

from harness.kit import (
    Trial,
    Variants,
    counted,
    encode,
    made_once,
    make_adapter_config,
    make_model,
    make_tokenizer,
    same_tokens,
)

DOCUMENT = "003"
UPSTREAM = (
    "https://github.com/huggingface/peft/issues/2379",
    "https://github.com/huggingface/transformers/issues/32060",
)
ORACLE = "round trip"
VIRTUAL_TOKENS = 4
LEARNING_RATE = 0.1
EPOCHS = 6
NEW_TOKENS = 8
PENALTY = 1.5
TOLERANCE = 1e-4
"""Of logits near 1 to 10 in float32; another prompt moves them by more than 1e-1."""
QUESTION = "i want you to"
QUESTIONS = (QUESTION, "i want you to act", "you act as a", "act as")
PROMPTS = "i want you to act as a poet. act as a teacher. act as a judge. you act as a guide."
QUOTES = "be the change. so it goes. all is well. to be or not to be. less is more, more or less."
INIT_TEXT = "tell me more"

VARIANTS = (
    Variants(
        axes={
            "model": ("bloom", "llama"),
            "aspect": ("train", "generate", "generate_uncached", "two_adapters", "text_init"),
        },
    ),
)


def check(trial: Trial) -> None:
    """Go the guide's way as far as the variant's aspect needs, and hold each step to an oracle."""
    device = trial.torch_device()
    base = make_model(trial.model, device=device)
    torch.manual_seed(0)
    match trial.aspect:
        case "train":
            _check_train(trial, base)
        case "generate" | "generate_uncached":
            _check_generate(trial, base)
        case "two_adapters":
            _check_two_adapters(trial, base)
        case "text_init":
            _check_text_init(trial, base)


def _check_train(trial: Trial, base: Any) -> None:
    """The loss falls, only the prompt moves, and the adapter that was saved is the one in memory."""
    model = peft.get_peft_model(base, make_adapter_config("prompt_tuning", virtual_tokens=VIRTUAL_TOKENS))
    rows = _rows(PROMPTS)
    frozen = {name: weight.clone() for name, weight in base.state_dict().items()}
    prompt = model.get_prompt(1).detach().clone()
    before = _loss(model, rows)
    _train(trial, model, rows)
    after = _loss(model, rows)
    trial.evidence.update(loss_before=before, loss_after=after)
    trial.expect(after < before - 0.1, f"training leaves the loss at {after:.3f}, from {before:.3f}")
    trial.expect(not torch.equal(model.get_prompt(1), prompt), "training does not change the prompt")
    moved = [name for name, weight in base.state_dict().items() if not torch.equal(weight, frozen[name])]
    trial.expect(not moved, f"training changes weights of the base: {moved[:3]}")

    model.save_pretrained(trial.scratch / "adapter")
    ids = encode(QUESTION, device=base.device)
    fresh = make_model(trial.model, device=base.device)
    loaded = peft.PeftModel.from_pretrained(fresh, trial.scratch / "adapter").eval()
    far = _far(_logits(loaded, ids), _logits(model, ids))
    trial.evidence["reload_difference"] = far
    trial.expect(far < TOLERANCE, f"saved and loaded again, the logits are {far:.2g} away from those in memory")


def _check_generate(trial: Trial, base: Any) -> None:
    """The cookbook's call of ``generate`` says what a plain forward loop says, prompt and penalty included."""
    asked = [encode(question, device=base.device) for question in QUESTIONS]
    ignorant = [_penalised(base, ids)[0] for ids in asked]
    model = made_once(lambda: _trained(trial), trial.model, str(base.device))
    model.save_pretrained(trial.scratch / "adapter")
    # As the guide does it: onto the base that was wrapped before.
    loaded = peft.PeftModel.from_pretrained(
        model.get_base_model(), trial.scratch / "adapter", is_trainable=False
    ).eval()
    for ids, without in zip(asked, ignorant, strict=True):
        reference, margin = _penalised(loaded, ids)
        seen = {"margin": margin, "reference": reference[0].tolist(), "base": without[0].tolist()}
        trial.evidence.setdefault("answers", []).append(seen)
        use_cache = trial.aspect == "generate"
        with counted(trial, loaded, use_cache=use_cache), torch.no_grad():
            generated = loaded.generate(
                input_ids=ids,
                attention_mask=torch.ones_like(ids),
                max_new_tokens=NEW_TOKENS,
                repetition_penalty=PENALTY,
                early_stopping=True,
                pad_token_id=0,
                use_cache=use_cache,
            )[:, ids.shape[1] :]
        seen["generated"] = generated[0].tolist()
        like = "the base model's answer" if same_tokens(generated, without) else "another answer"
        trial.expect(same_tokens(generated, reference), f"generate leaves the forward loop: {like}")
    # A prompt that is dropped for the first token alone shows only where that token depends on it.
    firsts = [seen["reference"][0] != seen["base"][0] for seen in trial.evidence["answers"]]
    trial.expect(any(firsts), "the trained prompt changes no answer's first token: a loss there would go unseen")


def _trained(trial: Trial) -> Any:
    """Train a prompt as the guide does, on a base of its own."""
    base = make_model(trial.model, device=trial.torch_device())
    # Making a model draws random numbers, and the prompt begins with some.
    torch.manual_seed(0)
    model = peft.get_peft_model(base, make_adapter_config("prompt_tuning", virtual_tokens=VIRTUAL_TOKENS))
    _train(trial, model, _rows(PROMPTS))
    return model


def _check_two_adapters(trial: Trial, base: Any) -> None:
    """Two adapters in one model answer, each when it is set, as each does when loaded alone."""
    ids = encode(QUESTION, device=base.device)
    folders = {"default": trial.scratch / "prompts", "quotes": trial.scratch / "quotes"}
    # As the guide does it: both wrap the one base before either is trained.
    models = [
        peft.get_peft_model(base, make_adapter_config("prompt_tuning", virtual_tokens=VIRTUAL_TOKENS)) for _ in folders
    ]
    for model, folder, text in zip(models, folders.values(), (PROMPTS, QUOTES), strict=True):
        _train(trial, model, _rows(text))
        model.save_pretrained(folder)
    alone = {}
    for (name, folder), model in zip(folders.items(), models, strict=True):
        fresh = make_model(trial.model, device=base.device)
        alone[name] = _logits(peft.PeftModel.from_pretrained(fresh, folder), ids)
        far = _far(alone[name], _logits(model, ids))
        trial.expect(far < TOLERANCE, f"adapter {name} is {far:.2g} away from the one that was trained")
    apart = _far(alone["default"], alone["quotes"])
    trial.evidence["adapters_apart"] = apart
    trial.expect(apart > 1000 * TOLERANCE, "the two adapters say the same: they cannot be told apart")

    both = peft.PeftModel.from_pretrained(base, folders["default"], is_trainable=False)
    both.load_adapter(folders["quotes"], adapter_name="quotes")
    for name in ("default", "quotes", "default"):
        both.set_adapter(name)
        far = _far(_logits(both, ids), alone[name])
        trial.expect(far < TOLERANCE, f"with adapter {name} set, the logits are {far:.2g} away from its own")


def _check_text_init(trial: Trial, base: Any) -> None:
    """A prompt initialised from text is the text's embeddings, cut or repeated to its length."""
    # Names that a release may lack are asked for where they are used: there it is a finding.
    from peft import PromptTuningInit

    make_tokenizer().save_pretrained(trial.scratch / "tokenizer")
    words = encode(INIT_TEXT, device=base.device)[0, 1:]
    for length in (VIRTUAL_TOKENS, len(words), 2 * len(words) + 1):
        config = make_adapter_config(
            "prompt_tuning",
            virtual_tokens=length,
            prompt_tuning_init=PromptTuningInit.TEXT,
            prompt_tuning_init_text=INIT_TEXT,
            tokenizer_name_or_path=str(trial.scratch / "tokenizer"),
        )
        prompt = peft.get_peft_model(base, config).get_prompt(1)[0]
        expected = base.get_input_embeddings().weight[words.repeat(3)[:length]]
        trial.expect(torch.equal(prompt, expected), f"a prompt of {length} is not the embeddings of its text")


def _rows(text: str) -> list[dict[str, Any]]:
    """Tokenise each sentence of ``text`` as the guide does: ids and mask, no labels."""
    sentences = [f"{sentence.strip()}.</s>" for sentence in text.split(".") if sentence.strip()]
    ids = [encode(sentence)[0].tolist() for sentence in sentences]
    return [{"input_ids": row, "attention_mask": [1] * len(row)} for row in ids] * 4


def _train(trial: Trial, model: Any, rows: list[dict[str, Any]]) -> None:
    """Train with Trainer and the guide's arguments, by the names that this transformers has."""
    # Asking transformers for these imports its Trainer, which is a finding where it fails.
    from transformers import DataCollatorForLanguageModeling, Trainer, TrainingArguments

    known = inspect.signature(TrainingArguments).parameters
    on_cpu = trial.variant["device"] == "cpu"
    arguments = TrainingArguments(
        output_dir=str(trial.scratch / "run"),
        **{"use_cpu" if "use_cpu" in known else "no_cuda": on_cpu},
        auto_find_batch_size=True,
        learning_rate=LEARNING_RATE,
        num_train_epochs=EPOCHS,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )
    collator = DataCollatorForLanguageModeling(tokenizer=make_tokenizer(), mlm=False)
    Trainer(model=model, args=arguments, train_dataset=rows, data_collator=collator).train()
    model.eval()


def _loss(model: Any, rows: list[dict[str, Any]]) -> float:
    """Return the mean loss over the rows one by one, by forward alone: neither Trainer's nor a collator's."""
    model.eval()
    with torch.no_grad():
        ids = [torch.tensor([row["input_ids"]], device=model.device) for row in rows]
        return sum(float(model(input_ids=row, labels=row).loss) for row in ids) / len(ids)


def _logits(model: Any, ids: Any) -> Any:

    with torch.no_grad():
        return model.eval()(input_ids=ids, attention_mask=torch.ones_like(ids)).logits[:, -ids.shape[1] :].float()


def _far(first: Any, second: Any) -> float:
    return float((first - second).abs().max())


def _penalised(model: Any, ids: Any) -> tuple[Any, float]:
    """Greedy tokens, ``(1, steps)``, by a forward loop that penalises seen tokens as in arXiv:1909.05858."""
    seen, margin = ids, float("inf")
    for _ in range(NEW_TOKENS):
        scores = _logits(model, seen)[0, -1]
        for token in set(seen[0].tolist()):
            scores[token] = scores[token] / PENALTY if scores[token] > 0 else scores[token] * PENALTY
        best = scores.topk(2)
        margin = min(margin, float(best.values[0] - best.values[1]))
        seen = torch.cat([seen, best.indices[:1].unsqueeze(0)], dim=1)
    return seen[:, ids.shape[1] :], margin
