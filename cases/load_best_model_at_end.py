"""What the Trainer saves each epoch can be loaded again, by the Trainer and by hand.

Document 004; huggingface/peft#2256 and huggingface/transformers#35087. The oracle is the model itself:
what it answered in memory when a checkpoint was written is what it has to answer when that checkpoint
is back, by ``load_best_model_at_end`` (``load_best``), ``PeftModel.from_pretrained`` (``workaround``),
``resume_from_checkpoint`` (``resume``) or in place (``load_adapter``). ``head_trained`` asks what all
of them take for granted: that the classification head is trained beside the prompt.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any

import peft
import torch
import transformers

from harness.kit import Trial, Unsupported, Variants, encode, made_once, make_model, untaught

DOCUMENT = "004"
UPSTREAM = ("https://github.com/huggingface/peft/issues/2256", "https://github.com/huggingface/transformers/pull/35087")
ORACLE = "reload"
VIRTUAL_TOKENS = 10
STEPS_AN_EPOCH = 4
TOLERANCE = 1e-4
"""Of a logit: a projection is folded into what is saved, which is another order of sums."""
HEADS = {"llama": "LlamaForSequenceClassification", "bert": "BertForSequenceClassification"}

VARIANTS = (
    Variants(
        axes={
            "model": ("llama", "bert"),
            "method": ("prefix_tuning_projection", "prefix_tuning", "prompt_tuning", "p_tuning", "lora"),
            "aspect": ("load_best", "workaround", "resume", "load_adapter"),
        },
        without=({"model": "llama", "method": "lora"},),
    ),
    # BERT, because prefix tuning on the grouped queries of Llama fails by itself before peft 0.12.
    Variants(
        axes={
            "model": ("bert",),
            "method": ("prefix_tuning_projection",),
            "aspect": ("message", "early_stopping"),
        },
    ),
    Variants(axes={"model": ("bert",), "method": ("lora",), "aspect": ("early_stopping",)}),
    Variants(
        axes={
            "model": ("bert",),
            "method": ("prefix_tuning", "prompt_tuning", "p_tuning", "lora"),
            "aspect": ("head_trained",),
        },
    ),
)


def check(trial: Trial) -> None:
    """Train for a few steps with the real Trainer, then check one way back to an earlier epoch."""
    if trial.aspect in {"workaround", "load_adapter", "resume"}:
        _back_by_hand(trial)
        return
    model = _model(trial)
    seen = _watch(trial)
    trainer = _trainer(trial, model, seen, load_best_model_at_end=trial.aspect in {"load_best", "message"})
    if trial.aspect == "early_stopping":
        _early_stopping(trial, trainer)
        return
    if trial.aspect == "message":
        _message(trial, trainer)
        return
    head = _head(model)
    trainer.train()
    if trial.aspect == "head_trained":
        moved = any(not weight.equal(head[name]) for name, weight in _head(model).items())
        trial.expect(moved, "training leaves the classification head as it was")
        return
    best = _best(trial, seen)
    chosen = trainer.state.best_model_checkpoint
    wanted = str(trial.scratch / f"checkpoint-{best}")
    trial.expect(chosen == wanted, "the Trainer's best checkpoint is not the one of the lowest loss")
    _same(trial, "the model after training", _logits(trial, model), seen.logits[best])


def _back_by_hand(trial: Trial) -> None:
    """Check a way back that begins when training has ended; one training serves all of them."""
    trained = made_once(lambda: _trained(trial), trial.model, trial.method, str(trial.torch_device()))
    best = _best(trial, trained)
    checkpoint = trial.scratch / f"checkpoint-{best}"
    for name, data in trained.files[best].items():
        (checkpoint / name).parent.mkdir(parents=True, exist_ok=True)
        (checkpoint / name).write_bytes(data)
    match trial.aspect:
        case "workaround":
            again = peft.PeftModel.from_pretrained(_base(trial), str(checkpoint))
            _same(trial, "the checkpoint on a fresh base", _logits(trial, again), trained.logits[best])
        case "load_adapter":
            trained.model.load_adapter(str(checkpoint), adapter_name="default")
            _same(trial, "the checkpoint loaded in place", _logits(trial, trained.model), trained.logits[best])
        case "resume":
            resumed = _watch(trial, begins_with=trained.logits[best])
            trainer = _trainer(trial, _model(trial), resumed, load_best_model_at_end=False)
            trainer.train(resume_from_checkpoint=str(checkpoint))


@dataclass(frozen=True, kw_only=True)
class _Trained:
    """A model after training; by step its logits, its losses and the files of its checkpoints."""

    model: Any
    logits: dict[int, torch.Tensor]
    losses: dict[int, float]
    files: dict[int, dict[str, bytes]]


def _trained(trial: Trial) -> _Trained:
    model, seen = _model(trial), _watch(trial)
    _trainer(trial, model, seen, load_best_model_at_end=False).train()
    files = {}
    for step in seen.losses:
        folder = trial.scratch / f"checkpoint-{step}"
        files[step] = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    return _Trained(model=model, logits=seen.logits, losses=seen.losses, files=files)


def _best(trial: Trial, seen: Any) -> int:
    """Return the step of the lowest loss, which has to stand out from the last one."""
    losses: dict[int, float] = seen.losses
    best, last = min(losses, key=lambda step: losses[step]), max(losses)
    trial.evidence.update(losses=losses, best_step=best, last_step=last)
    apart = _difference(seen.logits[best], seen.logits[last])
    trial.expect(best < last and apart > 20 * TOLERANCE, f"the best epoch does not stand out: step {best}, {apart:.4f}")
    return best


def _early_stopping(trial: Trial, trainer: Any) -> None:
    """Check that training stops at the first epoch which is worse than the best one."""
    trainer.add_callback(transformers.EarlyStoppingCallback(early_stopping_patience=1))
    trainer.train()
    trial.evidence["last_step"] = trainer.state.global_step
    wanted = 2 * STEPS_AN_EPOCH
    trial.expect(trainer.state.global_step == wanted, f"stopped at step {trainer.state.global_step}, not {wanted}")


def _message(trial: Trial, trainer: Any) -> None:
    """Check that a checkpoint which does not fit is answered with what to do about it."""
    try:
        trainer.train()
    except RuntimeError as error:
        if "size mismatch" not in f"{error} {error.__cause__}":
            raise
        text = " ".join(str(error).split())
    else:
        message = "load_best_model_at_end raises nothing here: there is no message to judge"
        raise Unsupported(message)
    trial.evidence["text"] = text
    helps = "prompt learning" in text and "PeftModel.from_pretrained" in text
    trial.expect(helps, f"the message names neither prompt learning nor a way out: {text}")


def _trainer(trial: Trial, model: Any, seen: Any, *, load_best_model_at_end: bool) -> Any:
    """Make the Trainer on data of which the first epoch is the best.

    All it trains on is of class 1, all it is evaluated on of class 0: what it learns makes the
    evaluation worse.
    """
    known = inspect.signature(transformers.TrainingArguments).parameters
    evaluation = "eval_strategy" if "eval_strategy" in known else "evaluation_strategy"
    cpu = "use_cpu" if "use_cpu" in known else "no_cuda"
    arguments = transformers.TrainingArguments(
        output_dir=str(trial.scratch),
        # A third epoch, so that there is something for early stopping to leave out.
        num_train_epochs=3 if trial.aspect == "early_stopping" else 2,
        per_device_train_batch_size=8 // STEPS_AN_EPOCH,
        learning_rate=0.03,
        save_strategy="epoch",
        load_best_model_at_end=load_best_model_at_end,
        metric_for_best_model="eval_loss",
        greater_is_better=False,
        label_names=["labels"],
        report_to="none",
        disable_tqdm=True,
        **{evaluation: "epoch", cpu: trial.torch_device().type == "cpu"},
    )
    rows = [{"input_ids": row, "attention_mask": [1] * len(row)} for row in _rows(trial)["input_ids"].tolist()]
    train, held_out = ([{**row, "labels": label} for row in rows] for label in (1, 0))
    return transformers.Trainer(model, arguments, train_dataset=train, eval_dataset=held_out, callbacks=[seen])


def _watch(trial: Trial, *, begins_with: torch.Tensor | None = None) -> Any:
    """Make a callback that keeps the model's logits and its evaluation loss by step.

    ``begins_with`` are the logits which a resumed model has to begin with: they are compared at
    once, because what the Trainer restores afterwards (the random state) can fail by itself.
    """
    # Asking transformers for this imports its Trainer, which is a finding where it fails.
    from transformers import TrainerCallback

    class Seen(TrainerCallback):  # type: ignore[misc]  # transformers is Any where this is checked
        def __init__(self) -> None:
            self.logits: dict[int, torch.Tensor] = {}
            self.losses: dict[int, float] = {}

        def on_train_begin(self, _args: Any, _state: Any, _control: Any, *, model: Any, **_: Any) -> None:
            if begins_with is not None:
                _same(trial, "the resumed model before its first step", _logits(trial, model), begins_with)

        def on_evaluate(self, _args: Any, state: Any, _control: Any, *, model: Any, metrics: Any, **_: Any) -> None:
            self.losses[state.global_step] = metrics["eval_loss"]
            self.logits[state.global_step] = _logits(trial, model)

    return Seen()


def _base(trial: Trial) -> Any:

    options: dict[str, Any] = {"model_class": HEADS[trial.model], "num_labels": 2}
    if trial.model == "bert":
        # Without dropout training goes the same way in every release.
        options.update(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    return make_model(trial.model, device=trial.torch_device(), **options)


def _model(trial: Trial) -> Any:

    return untaught(_base(trial), trial.method, virtual_tokens=VIRTUAL_TOKENS, task="SEQ_CLS")


def _head(model: Any) -> dict[str, torch.Tensor]:
    """Copy what belongs to the classification head, the frozen original and the trained copy."""
    weights = model.state_dict().items()
    return {name: weight.clone() for name, weight in weights if "classifier" in name or "score" in name}


def _rows(trial: Trial) -> dict[str, torch.Tensor]:
    """Give eight sums, all of one length: padding is another case's matter."""
    ids = torch.cat([encode(f"{n}+{n + 1}=", device=trial.torch_device()) for n in range(8)])
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


def _logits(trial: Trial, model: Any) -> torch.Tensor:

    with torch.no_grad():
        return model.eval()(**_rows(trial)).logits.float().cpu()


def _difference(first: torch.Tensor, second: torch.Tensor) -> float:
    return float((first - second).abs().max())


def _same(trial: Trial, who: str, found: torch.Tensor, wanted: torch.Tensor) -> None:
    difference = _difference(found, wanted)
    trial.evidence[who] = difference
    trial.expect(difference < TOLERANCE, f"{who} is not what it was in memory: logits differ by {difference:.4f}")
